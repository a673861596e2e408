import Foundation
import Testing

/// `martlet run --split`: the roles as processes, seen from outside.
@Suite(.serialized) struct SplitTests {
    static let fast: [(String, String)] = [("window", "6s")]
    static let flags = [
        "--split", "--config-autoscaler", "scale-to-zero-grace-period=6s", "--workers", "1",
    ]

    private func commands(_ martlet: Martlet, _ word: String) -> [pid_t] {
        martlet.others.filter { $0.command.contains(word) }.map(\.pid).sorted()
    }

    /// One of each runs, a request passes all of them, and all end with exit status 0.
    @Test func aRequestPassesAllRoles() throws {
        try Martlet.serving(Manifest(), Self.flags) { martlet throws in
            let answer = try martlet.get("app.default.localhost", "/headers")
            #expect(answer.status == 200, "\(answer.text)\n\(martlet.tail)")
            #expect(wait { commands(martlet, "martlet-queue").count == 1 })
            for role in ["martlet ingress", "martlet activator", "martlet autoscaler"] {
                #expect(commands(martlet, role).count == 1, "\(role)\n\(martlet.tail)")
            }
            #expect(try martlet.get("nobody.default.localhost").status == 404)
            let explained = try Martlet.command(["explain"], scratch: martlet.scratch)
            #expect(explained.status == 0 && explained.out.contains("default/app-00001"), "\(explained)")
            let unknown = try Martlet.command(["explain", "app-0001"], scratch: martlet.scratch)
            #expect(unknown.status == 1 && unknown.log.contains("known: default/app-00001"), "\(unknown)")
        }
    }

    /// `martlet explain` finds an all-in-one run by itself, and says which revisions there are.
    @Test func explainOfAnAllInOneRun() throws {
        let manifest = Manifest { $0.annotations = [("min-scale", "1")] }
        try Martlet.serving(manifest) { martlet throws in
            #expect(try martlet.get(manifest.host).status == 200)
            let known = try Martlet.command(["explain", "app-00001"], scratch: martlet.scratch)
            #expect(known.status == 0 && known.out.contains("because    1 pod"), "\(known)")
            let unknown = try Martlet.command(["explain", "default/app-0001"], scratch: martlet.scratch)
            #expect(unknown.status == 1 && unknown.out.isEmpty, "\(unknown)")
            #expect(unknown.log.contains("did you mean app-00001?\nknown: app-00001"), "\(unknown)")
        }
        let alone = try Martlet.command(["explain"])
        #expect(alone.status == 1 && alone.log.contains("no run of martlet"), "\(alone)")
    }

    /// `--https` without certificates: the ingress serves what this user's authority signs, also for hosts that come
    /// later.
    @Test func localAuthority() throws {
        let scratch = Scratch()
        let made = try Martlet.command(["cert", "--pem"], scratch: scratch)
        #expect(made.status == 0, "\(made)")
        let file = scratch.write("trusted.pem", made.out)
        let manifest = HTTPSTests.hello
        scratch.write("files/a.yaml", manifest.text)
        let flags = [scratch.path + "/files", "--https", "127.0.0.1:0", "--domain", "localhost"]
        try Martlet.serving(flags + Self.flags, scratch: scratch) { martlet throws in
            let first = try martlet.curl(["--cacert", file, "https://app.default.localhost:{https}/"])
            #expect(first.out == "Hello TLS!\n", "\(first)\n\(martlet.tail)")
            let distrusted = try martlet.curl(["https://app.default.localhost:{https}/"])
            #expect(distrusted.status == 60, "\(distrusted)")
            let moved = manifest.text.replacingOccurrences(of: "name: app", with: "name: app\n  namespace: team")
            scratch.write("files/b.yaml", moved)
            let isServed = try wait(30) {
                try martlet.curl(["--cacert", file, "https://app.team.localhost:{https}/"]).out == "Hello TLS!\n"
            }
            #expect(isServed, "\(martlet.tail)")
        }
    }

    /// HTTP/2 all the way: gRPC through ingress, activator and queue-proxy.
    @Test func gRPC() throws {
        let manifest = Foreign.grpc()
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            try martlet.expectCases("grpc_client.py", host: manifest.host)
        }
    }

    /// Probes that the sidecar cannot ask are the supervisor's: a command, and one that holds the others back.
    @Test(arguments: ["readinessProbe: {exec: {command: [\"true\"]}}", "startupProbe: {tcpSocket: {port: 8080}}"])
    func probesOfTheSupervisor(probe: String) throws {
        let manifest = Manifest { $0.container = [probe] }
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            #expect(try martlet.get(manifest.host).status == 200, "\(martlet.tail)")
            martlet.expectLog("revision is ready")
        }
    }

    /// To zero and back: the pod goes when nothing comes, and the next request wakes it.
    @Test func zeroAndBack() throws {
        let manifest = Manifest { $0.annotations = Self.fast }
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            #expect(try martlet.get(manifest.host).status == 200)
            #expect(
                wait(60) { martlet.pods().isEmpty && commands(martlet, "martlet-queue").isEmpty }, "\(martlet.tail)")
            let begin = Date()
            #expect(try martlet.get(manifest.host).status == 200, "\(martlet.tail)")
            print("split: zero to answer \(Int(Date().timeIntervalSince(begin) * 1_000)) ms")
            #expect(martlet.pods().count == 1)
        }
    }

    /// Load scales up, no request is lost while pods come and go.
    @Test func loadScalesUp() throws {
        let manifest = Manifest {
            $0.annotations = Self.fast + [("target", "2"), ("max-scale", "3"), ("min-scale", "1")]
        }
        try Martlet.serving(manifest, Self.flags + ["--activators", "2"]) { martlet throws in
            let load = try Load(martlet, manifest.host, "/slow?ms=100", clients: 20)
            #expect(wait(30) { martlet.pods().count == 3 }, "\(martlet.tail)")
            #expect(load.waitFor { $0.count > 500 })
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)\n\(martlet.tail)")
            let long = try martlet.connect()
            try long.request(manifest.host, "/slow?ms=12000")
            #expect(wait(60) { martlet.pods().count <= 2 }, "\(martlet.tail)")
            #expect(try long.readAnswer().status == 200, "\(martlet.tail)")
        }
    }

    /// A role that is killed comes back, and requests are answered again.
    @Test(arguments: ["martlet activator", "martlet autoscaler", "martlet-queue", "martlet-test-server"])
    func killedProcessesComeBack(word: String) throws {
        let manifest = Manifest { $0.annotations = [("min-scale", "1")] }
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            #expect(try martlet.get(manifest.host).status == 200, "\(martlet.tail)")
            let victim = try #require(commands(martlet, word).first, "\(martlet.tail)")
            kill(victim, SIGKILL)
            #expect(
                wait { commands(martlet, word).count == 1 && commands(martlet, word) != [victim] }, "\(martlet.tail)")
            #expect(try wait { try martlet.get(manifest.host).status == 200 }, "\(martlet.tail)")
        }
    }

    /// A changed file moves traffic to the new revision when it is ready, without a lost request.
    @Test func reload() throws {
        let scratch = Scratch()
        func manifest(_ answer: String) -> Manifest {
            Manifest {
                $0.environment = [("ANSWER", answer)]
                $0.annotations = Self.fast
            }
        }
        let first = manifest("one")
        try Martlet.serving(first, Self.flags, scratch: scratch) { martlet throws in
            #expect(try martlet.get(first.host).status == 200, "\(martlet.tail)")
            let load = try Load(martlet, first.host, "/slow?ms=20", clients: 4)
            scratch.replace("service.yaml", manifest("two").text)
            martlet.expectLog("app-00002")
            #expect(
                wait(60) { martlet.log.contains("revision is ready") && martlet.pods().count == 1 }, "\(martlet.tail)")
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)\n\(martlet.tail)")
        }
    }

    /// What is in flight at SIGTERM is finished.
    @Test func theEndFinishesRequests() throws {
        let manifest = Manifest()
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            #expect(try martlet.get(manifest.host).status == 200, "\(martlet.tail)")
            let long = try martlet.connect()
            try long.request(manifest.host, "/slow?ms=3000")
            #expect(long.isSilent(milliseconds: 500))
            martlet.signal(SIGTERM)
            #expect(try long.readAnswer().status == 200, "\(martlet.tail)")
            #expect(martlet.waitForEnd() == 0, "\(martlet.tail)")
        }
    }

    /// An address that is taken ends the run with 71 and the reason.
    @Test func takenAddress() throws {
        try Martlet.serving(Manifest()) { other throws in
            let port = try other.port()
            let scratch = Scratch()
            let file = scratch.write("service.yaml", Manifest().text)
            let ended = try Martlet.command(["run", "--split", "--http", "127.0.0.1:\(port)", file], scratch: scratch)
            #expect(ended.status == 71 && ended.log.contains("ingress | error: listen"), "\(ended)")
        }
    }

    /// A run that is killed leaves nothing behind.
    @Test func aKilledRunLeavesNothing() throws {
        try Martlet.serving(Manifest(), Self.flags, stops: false) { martlet throws in
            #expect(try martlet.get("app.default.localhost").status == 200, "\(martlet.tail)")
            martlet.signal(SIGKILL)
            _ = martlet.waitForEnd()
        }
    }

    /// Two runs on one machine do not meet.
    @Test func twoRuns() throws {
        try Martlet.serving(Manifest(), Self.flags) { first throws in
            try Martlet.serving(Manifest(), Self.flags) { second throws in
                #expect(try first.get("app.default.localhost").status == 200, "\(first.tail)")
                #expect(try second.get("app.default.localhost").status == 200, "\(second.tail)")
            }
        }
    }
}
