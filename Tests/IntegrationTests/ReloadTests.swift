import Foundation
import Testing

/// Changed files take effect without losing a request, and broken ones not at all.
@Suite struct ReloadTests {
    static func version(_ number: Int, _ change: (inout Manifest) -> Void = { _ in }) -> Manifest {
        Manifest {
            $0.environment = [("TARGET", "version \(number)"), ("TIMES", "off")]
            change(&$0)
        }
    }

    private func text(_ number: Int) -> String { "Hello version \(number)!\n" }

    /// SIGHUP, a rewritten file and one renamed over it, under load: zero errors, and each new version takes over.
    @Test func newTemplatesUnderLoad() throws {
        let scratch = Scratch()
        try Martlet.serving(Self.version(1), scratch: scratch) { martlet throws in
            let kept = try Load(martlet, "app.default.localhost", clients: 4)
            let fresh = try Load(martlet, "app.default.localhost", clients: 2, keepsAlive: false)
            #expect(kept.waitFor { $0.count > 50 })
            for number in 2...5 {
                let manifest = Self.version(number) {
                    // Slow to be ready: traffic must not move before.
                    if number == 3 { $0.environment.append(("START_DELAY_MS", "600")) }
                }
                if number % 2 == 0 {
                    scratch.replace("service.yaml", manifest.text)
                } else {
                    scratch.write("service.yaml", manifest.text)
                }
                if number == 4 { martlet.signal(SIGHUP) }
                #expect(kept.waitFor { $0.texts[text(number)] ?? 0 > 20 }, "no version \(number):\n\(martlet.tail)")
                #expect(fresh.waitFor { $0.texts[text(number)] ?? 0 > 5 })
            }
            for load in [kept, fresh] {
                let tally = load.stop()
                #expect(tally.isPerfect, "\(tally.summary)\n\(martlet.tail)")
            }
            // The old ones have no route any more: they go at once, not after a window.
            #expect(wait { martlet.pods().count == 1 }, "\(martlet.others)\n\(martlet.tail)")
            #expect(try martlet.get("app.default.localhost").text == text(5))
        }
    }

    /// A request under way when its revision is replaced is finished by the old process.
    @Test func oldRequestsFinish() throws {
        let scratch = Scratch()
        try Martlet.serving(Self.version(1), scratch: scratch) { martlet throws in
            let client = try martlet.connect()
            try client.request("app.default.localhost", "/chunked/400?chunk=100&ms=700")
            #expect(try client.readHead().status == 200)
            let old = try #require(martlet.pods().first)
            scratch.replace("service.yaml", Self.version(2).text)
            #expect(try wait { try martlet.get("app.default.localhost").text == text(2) })
            #expect(martlet.pods().contains(old), "it was stopped with a request under way")
            var body: [UInt8] = []
            while let chunk = try client.readChunk() { body += chunk }
            #expect(body.count == 400)
            #expect(wait { !martlet.pods().contains(old) })
        }
    }

    @Test func aBadFileKeepsTheOldState() throws {
        let scratch = Scratch()
        try Martlet.serving(Self.version(1), scratch: scratch) { martlet throws in
            let pods = martlet.pods()
            scratch.replace("service.yaml", Self.version(2) { $0.container = ["imge: x"] }.text)
            martlet.expectLog("did you mean `image`?")
            martlet.expectLog("reload refused; the old state stays")
            #expect(martlet.log.contains(#/service\.yaml:\d+:\d+: error: /#))
            #expect(try martlet.get("app.default.localhost").text == text(1))
            #expect(martlet.pods() == pods)
            scratch.replace("service.yaml", Self.version(3).text)
            #expect(try wait { try martlet.get("app.default.localhost").text == text(3) }, "\(martlet.tail)")
        }
    }

    /// A new template that cannot start leaves the old revision serving, and the next good one takes over.
    @Test func aBrokenRevisionGetsNoTraffic() throws {
        let scratch = Scratch()
        try Martlet.serving(Self.version(1), scratch: scratch) { martlet throws in
            scratch.replace("service.yaml", Self.version(2) { $0.environment.append(("START_EXIT", "7")) }.text)
            martlet.expectLog("exit code 7")
            for _ in 0..<20 { #expect(try martlet.get("app.default.localhost").text == text(1)) }
            scratch.replace("service.yaml", Self.version(3).text)
            #expect(try wait { try martlet.get("app.default.localhost").text == text(3) }, "\(martlet.tail)")
            #expect(wait { martlet.pods().count == 1 }, "\(martlet.others)")
        }
    }

    /// Only the traffic block changes: no new revision, no new process.
    @Test func onlyTrafficChanges() throws {
        let scratch = Scratch()
        let one = Self.version(1) { $0.revisionName = "app-one" }
        let documents = { (traffic: [String]) in
            one.text + "---\n"
                + Self.version(2) {
                    $0.revisionName = "app-two"
                    $0.traffic = traffic
                }.text
        }
        let share = { (percent: Int) in
            [
                "- revisionName: app-one", "  percent: \(100 - percent)", "- revisionName: app-two",
                "  percent: \(percent)",
            ]
        }
        scratch.write("service.yaml", documents(share(50)))
        try Martlet.serving(["service.yaml"], scratch: scratch) { martlet throws in
            #expect(try wait { try martlet.get("app.default.localhost").text == text(2) })
            let pods = martlet.pods()
            #expect(pods.count == 2)
            let load = try Load(martlet, "app.default.localhost", clients: 3)
            scratch.replace(
                "service.yaml", documents(share(10) + ["- revisionName: app-two", "  tag: new", "  percent: 0"]))
            #expect(try wait { try martlet.get("new-app.default.localhost").status == 200 }, "\(martlet.tail)")
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)")
            var counts: [String: Int] = [:]
            for _ in 0..<100 { counts[try martlet.get("app.default.localhost").text, default: 0] += 1 }
            #expect(counts == [text(1): 90, text(2): 10])
            #expect(martlet.pods() == pods)
        }
    }

    /// Services come and go; another's connections notice nothing.
    @Test func servicesComeAndGo() throws {
        let scratch = Scratch()
        scratch.write("files/a.yaml", Self.version(1).text)
        try Martlet.serving([scratch.path + "/files"], scratch: scratch) { martlet throws in
            let load = try Load(martlet, "app.default.localhost", clients: 2)
            scratch.write("files/b.yaml", Self.version(7) { $0.name = "other" }.text)
            #expect(try wait { try martlet.get("other.default.localhost").text == text(7) }, "\(martlet.tail)")
            #expect(martlet.pods().count == 2)
            let client = try martlet.connect()
            try client.request("other.default.localhost", "/slow?ms=1000")
            _ = try wait { try martlet.get("other.default.localhost", "/stats").text.contains("\"in_flight\":2") }
            unlink(scratch.path + "/files/b.yaml")
            #expect(try wait { try martlet.get("other.default.localhost").status == 404 }, "\(martlet.tail)")
            #expect(try client.readAnswer().status == 200, "a request under way was cut")
            #expect(wait { martlet.pods().count == 1 }, "\(martlet.others)")
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)")
        }
    }

    /// The way Kubernetes mounts a ConfigMap: `..data` is a link that is swapped over.
    @Test func symbolicLinksAreSwapped() throws {
        let scratch = Scratch()
        scratch.write("mount/..v1/service.yaml", Self.version(1).text)
        symlink("..v1", scratch.path + "/mount/..data")
        symlink("..data/service.yaml", scratch.path + "/mount/service.yaml")
        try Martlet.serving([scratch.path + "/mount"], scratch: scratch) { martlet throws in
            #expect(try martlet.get("app.default.localhost").text == text(1))
            scratch.write("mount/..v2/service.yaml", Self.version(2).text)
            symlink("..v2", scratch.path + "/mount/..data_tmp")
            rename(scratch.path + "/mount/..data_tmp", scratch.path + "/mount/..data")
            #expect(try wait { try martlet.get("app.default.localhost").text == text(2) }, "\(martlet.tail)")
        }
    }

    /// Writing the same again changes nothing and says nothing twice.
    @Test func theSameAgain() throws {
        let scratch = Scratch()
        try Martlet.serving(Self.version(1), scratch: scratch) { martlet throws in
            #expect(try martlet.get("app.default.localhost").status == 200)
            let pods = martlet.pods()
            martlet.signal(SIGHUP)
            martlet.expectLog("reloaded")
            #expect(try martlet.get("app.default.localhost").text == text(1))
            #expect(martlet.pods() == pods)
            #expect(martlet.log.ranges(of: "service applied").count == 1, "\(martlet.tail)")
        }
    }
}
