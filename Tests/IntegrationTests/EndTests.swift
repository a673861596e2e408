import Foundation
import Testing

/// How it ends: nothing that was accepted is lost, and nothing stays behind.
@Suite struct EndTests {
    /// SIGTERM and SIGINT under load: every request begun is answered; then connections are refused.
    @Test(arguments: [SIGTERM, SIGINT]) func drainUnderLoad(number: Int32) throws {
        let manifest = Manifest()
        try Martlet.serving(manifest) { martlet throws in
            let kept = try Load(martlet, manifest.host, "/slow?ms=10", clients: 4)
            let fresh = try Load(martlet, manifest.host, "/slow?ms=10", clients: 2, keepsAlive: false)
            let long = try martlet.connect()
            try long.request(manifest.host, "/slow?ms=1500")
            #expect(kept.waitFor { $0.count > 20 })
            martlet.signal(number)
            let answer = try long.readAnswer()
            #expect(answer.status == 200 && answer["Connection"] == "close", "\(answer.fields)")
            #expect(martlet.waitForEnd() == 0, "\(martlet.tail)")
            for load in [kept, fresh] {
                let tally = load.stop()
                #expect(Set(tally.statuses.keys).isSubset(of: [200]), "\(tally.summary)")
                // What failed never got in.
                #expect(tally.failures.allSatisfy { $0.hasPrefix("connect") }, "\(Set(tally.failures))")
            }
        }
    }

    /// Requests that wait for a process when the signal comes are served too.
    @Test func waitingRequestsAreServed() throws {
        let manifest = ColdStartTests.sleeping { $0.environment = [("START_DELAY_MS", "1000")] }
        try Martlet.serving(manifest, ColdStartTests.flags) { martlet throws in
            let load = try Load(martlet, manifest.host, clients: 10, requests: 1)
            #expect(wait { martlet.pods().count == 1 })
            martlet.signal(SIGTERM)
            let tally = load.finish()
            #expect(tally.isPerfect && tally.count == 10, "\(tally.summary)\n\(martlet.tail)")
            #expect(martlet.waitForEnd() == 0)
        }
    }

    /// A second signal does not wait.
    @Test func secondSignal() throws {
        let manifest = Manifest { $0.environment = [("IGNORE_TERM", "1")] }
        try Martlet.serving(manifest) { martlet throws in
            let client = try martlet.connect()
            try client.request(manifest.host, "/hang")
            #expect(try wait { try martlet.get(manifest.host, "/stats").text.contains("\"in_flight\":2") })
            martlet.signal(SIGTERM)
            martlet.expectLog("draining")
            martlet.signal(SIGTERM)
            #expect(martlet.waitForEnd(10) == 1, "\(martlet.tail)")
        }
    }

    /// A request that outlasts the drain deadline is cut, and the exit status tells.
    @Test func drainDeadline() throws {
        let manifest = Manifest()
        try Martlet.serving(manifest, ["--drain-deadline", "1"]) { martlet throws in
            let client = try martlet.connect()
            try client.request(manifest.host, "/hang")
            #expect(try wait { try martlet.get(manifest.host, "/stats").text.contains("\"in_flight\":2") })
            martlet.signal(SIGTERM)
            #expect(martlet.waitForEnd(15) == 2, "\(martlet.tail)")
        }
    }

    /// kill -9 of martlet: neither processes nor what they started survive.
    @Test func killedItself() throws {
        let manifest = Manifest {
            $0.command = ["/bin/sh", "-c", "tail -f /dev/null & exec \(Place.server)"]
            $0.annotations = [("min-scale", "2")]
        }
        try Martlet.serving(manifest, stops: false) { martlet throws in
            #expect(try martlet.get(manifest.host).status == 200)
            #expect(wait { martlet.pods().count == 2 && martlet.pods("tail -f").count == 2 }, "\(martlet.others)")
            martlet.signal(SIGKILL)
            #expect(martlet.waitForEnd() == -SIGKILL)
            martlet.expectNothingLeft()
        }
    }
}
