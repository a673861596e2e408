import Foundation
import Testing

/// Applications that die, hang or never live: the others are served, and each failed request says why.
@Suite struct FaultTests {
    /// kill -9 of one of two processes under load: only what had been sent to it fails, with 502, and it comes back.
    @Test func aProcessIsKilledUnderLoad() throws {
        let manifest = Manifest {
            $0.annotations = [("min-scale", "2"), ("max-scale", "2")]
        }
        try Martlet.serving(manifest) { martlet throws in
            #expect(wait { martlet.pods().count == 2 })
            let load = try Load(martlet, manifest.host, "/slow?ms=20", clients: 8, mark: "X-Pod")
            #expect(load.waitFor { $0.marks.count == 2 && $0.count > 40 }, "\(martlet.tail)")
            let victim = try #require(martlet.pods().first)
            kill(victim, SIGKILL)
            martlet.expectLog("pod exited")
            let before = load.soFar.count
            #expect(wait { martlet.pods().count == 2 && !martlet.pods().contains(victim) }, "\(martlet.tail)")
            let successor = try #require(martlet.pods().last)
            #expect(load.waitFor { $0.marks["\(successor)"] ?? 0 > 10 }, "\(load.soFar.marks)\n\(martlet.tail)")
            #expect(load.waitFor { $0.count > before + 100 })
            let tally = load.stop()
            #expect(tally.failures.isEmpty && Set(tally.statuses.keys).isSubset(of: [200, 502]), "\(tally.summary)")
            #expect(tally.statuses[502] ?? 0 <= 8, "more than it can have had: \(tally.summary)")
            martlet.expectLog("status=\"killed by SIGKILL\"")
        }
    }

    /// A process that is stopped answers nothing: its requests end at their time limit, others go on.
    @Test func aProcessIsStopped() throws {
        let manifest = Manifest {
            $0.annotations = [("min-scale", "2"), ("max-scale", "2")]
            $0.revision = ["timeoutSeconds: 2", "responseStartTimeoutSeconds: 2"]
        }
        try Martlet.serving(manifest) { martlet throws in
            #expect(wait { martlet.pods().count == 2 })
            let load = try Load(martlet, manifest.host, clients: 4, mark: "X-Pod")
            #expect(load.waitFor { $0.marks.count == 2 })
            let victim = try #require(martlet.pods().first)
            kill(victim, SIGSTOP)
            #expect(load.waitFor { $0.statuses[504] ?? 0 > 0 }, "\(load.soFar.summary)")
            kill(victim, SIGCONT)
            let tally = load.stop()
            #expect(tally.failures.isEmpty && Set(tally.statuses.keys).isSubset(of: [200, 504]), "\(tally.summary)")
            #expect(tally.statuses[200] ?? 0 > 20)
        }
    }

    /// It exits at once: the reason is in the log, waiting requests get 503 soon, and a corrected file heals it.
    @Test func itCrashesAtOnce() throws {
        let scratch = Scratch()
        let broken = Manifest {
            $0.command = ["/bin/sh", "-c", "echo no database; echo giving up >&2; exit 3"]
        }
        try Martlet.serving(broken, scratch: scratch) { martlet throws in
            let begin = Date()
            let answer = try martlet.get(broken.host)
            #expect(answer.status == 503, "\(answer.text)")
            #expect(Date().timeIntervalSince(begin) < 10)
            martlet.expectLog("exit code 3")
            martlet.expectLog("no database")
            martlet.expectLog("giving up")
            martlet.expectLog("revision fails to start")
            scratch.replace("service.yaml", Manifest().text)
            #expect(try wait { try martlet.get(broken.host).status == 200 }, "\(martlet.tail)")
            #expect(wait { martlet.pods("/bin/sh").isEmpty })
        }
    }

    @Test(
        arguments: [
            (["no-such-program-anywhere"], nil, "no-such-program-anywhere"),
            (["./missing.sh"], nil, "missing.sh"),
            ([Place.server], "no-such-folder", "no-such-folder"),
        ] as [([String], String?, String)])
    func itCannotBeStarted(command: [String], folder: String?, message: String) throws {
        let manifest = Manifest {
            $0.command = command
            $0.workingDir = folder
        }
        try Martlet.serving(manifest) { martlet throws in
            let begin = Date()
            #expect(try martlet.get(manifest.host).status == 503)
            #expect(Date().timeIntervalSince(begin) < 15)
            martlet.expectLog("pod cannot be started")
            #expect(martlet.log.contains(message), "\(martlet.tail)")
        }
    }

    /// Bad answers become 502, with no harm to the next request, which after an exit waits for the next start.
    @Test func badAnswers() throws {
        let manifest = Manifest { $0.revision = ["timeoutSeconds: 8", "responseStartTimeoutSeconds: 8"] }
        try Martlet.serving(manifest) { martlet throws in
            for (path, status) in [("/garbage", 502), ("/reset?at=start", 502), ("/hang", 504), ("/exit?code=5", 502)] {
                let answer = try martlet.get(manifest.host, path)
                #expect(answer.status == status, "\(path): \(answer.text)")
                #expect(try martlet.get(manifest.host).status == 200, "after \(path):\n\(martlet.tail)")
            }
            martlet.expectLog("exit code 5")
            // A body that breaks off must not look whole.
            #expect(throws: Failure.self) { try martlet.get(manifest.host, "/half") }
        }
    }

    @Test func badRequests() throws {
        let manifest = Manifest()
        try Martlet.serving(manifest) { martlet throws in
            let load = try Load(martlet, manifest.host, clients: 2)
            let unknown = try martlet.get("unknown.default.localhost")
            #expect(unknown.status == 404)
            #expect(!unknown.text.contains("app"), "it tells what there is: \(unknown.text)")
            // A head of 1 MiB is refused before all of it is read.
            let large = try martlet.connect()
            let line = "X-Filler: " + String(repeating: "x", count: 8_000) + "\r\n"
            let head = "GET / HTTP/1.1\r\nHost: \(manifest.host)\r\n" + String(repeating: line, count: 131)
            try? large.send(head + "\r\n")
            #expect(try large.readAnswer().status == 431)
            // Half a request, then silence.
            let half = try martlet.connect()
            try half.send("GET / HTTP/1.1\r\nHost: \(manifest.host)\r\nX-")
            #expect(try martlet.get(manifest.host).status == 200)
            let smuggled = try martlet.connect()
            try smuggled.request(
                manifest.host, method: "POST", fields: ["Content-Length: 3", "Transfer-Encoding: chunked"])
            #expect(try smuggled.readAnswer().status == 400)
            #expect(try half.readAnswer().status == 408, "after ten seconds")
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)")
        }
    }
}
