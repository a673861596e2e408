import Foundation
import Testing

/// From zero and back: no request is refused for want of a process.
@Suite struct ColdStartTests {
    /// A service that begins at zero, with the shortest window.
    static func sleeping(_ change: (inout Manifest) -> Void = { _ in }) -> Manifest {
        Manifest {
            $0.annotations = [("initial-scale", "0"), ("window", "6s")]
            change(&$0)
        }
    }
    static let flags = ["--allow-zero-initial-scale"]

    /// Two hundred clients at once meet no process: all are answered.
    @Test(arguments: [0, 10]) func crowdAtZero(concurrency: Int) throws {
        let manifest = Self.sleeping {
            $0.revision = ["containerConcurrency: \(concurrency)"]
            $0.annotations.append(("max-scale", "5"))
            $0.environment = [("START_DELAY_MS", "100")]
        }
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            #expect(martlet.pods().isEmpty, "a process runs before the first request")
            let tally = try Load(martlet, manifest.host, "/overlap-free", clients: 200, requests: 1).finish()
            #expect(tally.failures.isEmpty && tally.count == 200, "\(tally.summary)")
            // The path does not exist: every answer is the application's own 404.
            #expect(tally.statuses == [404: 200], "\(tally.summary)\n\(martlet.tail)")
            martlet.expectLog("cold start")
            #expect(martlet.log.ranges(of: "cold start").count == 1, "one wake-up is one line:\n\(martlet.tail)")
        }
    }

    /// The first request starts the process itself, and is sent the moment it is ready.
    @Test func aColdStartIsTheApplicationsOwn() throws {
        let manifest = Self.sleeping()
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            let begin = Date()
            #expect(try martlet.get(manifest.host).status == 200)
            #expect(Date().timeIntervalSince(begin) < 2, "far from any tick")
            martlet.expectLog("request_to_spawn_us=")
            martlet.expectLog("ready_to_dispatch_us=")
            #expect(martlet.waitForLog(of: 1) { $0.contains("200 CS ") }, "\(martlet.tail)")
        }
    }

    /// To zero and back several times, requests coming at every moment of it: none fails, and nothing is left at zero.
    @Test(.tags(.long)) func thereAndBack() throws {
        let manifest = Self.sleeping()
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            for round in 1...2 {
                #expect(try martlet.get(manifest.host).status == 200)
                #expect(martlet.pods().count == 1)
                #expect(wait(25) { martlet.pods().isEmpty }, "still there in round \(round):\n\(martlet.tail)")
            }
            // Pauses about as long as the way to zero: what comes in its last second must stop it, not follow it.
            for pause in [7.3, 7.9] {
                let until = Date(timeIntervalSinceNow: pause)
                _ = wait(pause + 1) { Date() >= until }
                #expect(try martlet.get(manifest.host).status == 200, "\(martlet.tail)")
            }
            let decisions = martlet.log.split(separator: "\n").filter { $0.contains("INFO scale") }
            #expect(!decisions.contains { $0.contains("desired=1") && $0.contains("(stable)") }, "\(martlet.tail)")
        }
    }

    /// A client that leaves while it waits takes its place in the queue with it.
    @Test func aClientLeavesWhileItWaits() throws {
        let manifest = Self.sleeping {
            $0.revision = ["containerConcurrency: 1"]
            $0.annotations.append(("max-scale", "1"))
        }
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            let slow = try martlet.connect()
            try slow.request(manifest.host, "/slow?ms=1000")
            #expect(wait { martlet.pods().count == 1 })
            var leaving: [Client] = []
            for _ in 0..<5 {
                let client = try martlet.connect()
                try client.request(manifest.host, "/slow?ms=3000")
                leaving.append(client)
            }
            leaving = []  // closed
            let begin = Date()
            #expect(try martlet.get(manifest.host, "/stats").text.contains("\"requests\""))
            #expect(Date().timeIntervalSince(begin) < 4, "it waited for requests whose clients have gone")
            #expect(try slow.readAnswer().status == 200)
            #expect(martlet.waitForLog(of: 1) { $0.ranges(of: " 0 DC").count == 5 }, "\(martlet.tail)")
        }
    }

    /// A slow start is waited for; one that takes longer than `timeoutSeconds` gets 504.
    @Test func slowStart() throws {
        let manifest = Self.sleeping { $0.environment = [("START_DELAY_MS", "1500")] }
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            #expect(try martlet.get(manifest.host).status == 200)
        }
    }

    @Test func itNeverListens() throws {
        let manifest = Self.sleeping {
            $0.command = ["/bin/sh", "-c", "exec tail -f /dev/null"]
            $0.revision = ["timeoutSeconds: 2", "responseStartTimeoutSeconds: 2"]
        }
        try Martlet.serving(manifest, Self.flags) { martlet throws in
            let begin = Date()
            let answer = try martlet.get(manifest.host)
            let seconds = Date().timeIntervalSince(begin)
            #expect(answer.status == 504, "\(answer.text)")
            #expect((1.9...4).contains(seconds), "\(seconds)")
            #expect(martlet.waitForLog(of: 1) { $0.contains(" 504 QT") }, "\(martlet.tail)")
            martlet.expectLog("pod is not ready yet")
        }
    }
}

extension Tag {
    /// Tests that take many seconds because a window must pass.
    @Tag static var long: Self
}
