import Foundation
import Testing

/// How many processes there are, seen from outside.
@Suite struct ScaleTests {
    /// Load above the target scales up by the panic window, to max-scale and no further; then down again to min-scale,
    /// with no request cut off.
    @Test(.tags(.long)) func upAndDown() throws {
        let manifest = Manifest {
            $0.annotations = [
                ("window", "6s"), ("target", "2"), ("min-scale", "1"), ("max-scale", "3"),
                ("target-burst-capacity", "0"),
            ]
        }
        try Martlet.serving(manifest) { martlet throws in
            martlet.expectLog("revision is ready")
            let load = try Load(martlet, manifest.host, "/slow?ms=100", clients: 20, mark: "X-Pod")
            #expect(wait(15) { martlet.pods().count == 3 }, "\(martlet.tail)")
            #expect(load.waitFor { $0.marks.count == 3 }, "\(load.soFar.marks)")
            martlet.expectLog("max-scale is 3")
            let long = try martlet.connect()
            try long.request(manifest.host, "/slow?ms=9000")
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)")
            #expect(wait(40) { martlet.pods().count <= 2 }, "\(martlet.tail)")
            #expect(try long.readAnswer().status == 200)
            #expect(wait(40) { martlet.pods().count == 1 }, "\(martlet.tail)")
        }
    }

    /// A burst on a hard limit starts processes at once, and no process ever has more than its limit, by its own count.
    @Test(arguments: [1, 3]) func concurrencyIsNeverExceeded(limit: Int) throws {
        let manifest = Manifest {
            $0.revision = ["containerConcurrency: \(limit)"]
            $0.annotations = [("max-scale", "3")]
        }
        try Martlet.serving(manifest, ["--workers", "3"]) { martlet throws in
            let load = try Load(martlet, manifest.host, "/slow?ms=10", clients: 24, keepsAlive: false)
            #expect(wait(10) { martlet.pods().count == 3 }, "a burst waits for a tick:\n\(martlet.tail)")
            #expect(load.waitFor { $0.count > 500 })
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)")
            var most: [Int] = []
            for _ in 0..<12 {
                let text = try martlet.get(manifest.host, "/stats").text
                guard let match = text.firstMatch(of: /"max_in_flight": ?(\d+)/), let number = Int(match.1) else {
                    throw Failure(text)
                }
                most.append(number)
            }
            #expect(most.max() == limit, "\(most)")
        }
    }

    /// min-scale processes run without any request, and one that is killed comes back.
    @Test func minScale() throws {
        let manifest = Manifest { $0.annotations = [("min-scale", "2"), ("window", "6s")] }
        try Martlet.serving(manifest) { martlet throws in
            #expect(wait { martlet.pods().count == 2 })
            let victim = try #require(martlet.pods().first)
            kill(victim, SIGKILL)
            #expect(wait { martlet.pods().count == 2 && !martlet.pods().contains(victim) }, "\(martlet.tail)")
        }
    }

    /// Settings of the whole autoscaler: what Knative has in `config-autoscaler`.
    @Test func configAutoscaler() throws {
        let manifest = Manifest()
        let flags = ["--config-autoscaler", "min-scale=2", "--config-autoscaler", "stable-window=6s"]
        try Martlet.serving(manifest, flags) { martlet throws in
            #expect(wait { martlet.pods().count == 2 }, "\(martlet.tail)")
            martlet.expectLog("min-scale is 2")
        }
    }
}
