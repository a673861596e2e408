import Foundation
import Testing

/// `serving.knative.dev/rollout-duration`: a new revision takes over step by step.
@Suite(.serialized) struct RolloutTests {
    static let quiet = ["--log-level", "debug", "--access-log", "off"]
    static let modes: [[String]] = [quiet, quiet + SplitTests.flags]

    private func manifest(_ number: Int, seconds: Int, _ change: (inout Manifest) -> Void = { _ in }) -> Manifest {
        ReloadTests.version(number) {
            $0.serviceAnnotations = [("rollout-duration", "\(seconds)s")]
            $0.annotations = SplitTests.fast + [("max-scale", "1")]
            change(&$0)
        }
    }

    private func text(_ number: Int) -> String { "Hello version \(number)!\n" }

    /// The shares of the newest revision, in the order in which the log tells them.
    private func shares(of revision: String, in martlet: Martlet) -> [Int] {
        martlet.log.split(separator: "\n").compactMap { line in
            guard line.contains("rollout"), let found = line.firstMatch(of: /traffic=\S*app-0000[2-9]:(\d+)(?:\s|$)/),
                line.contains("\(revision):\(found.1)")
            else { return nil }
            return Int(found.1)
        }
    }

    /// Whether all of many requests get this answer: the log tells of the last routes a moment before they are in use.
    private func isServed(_ host: String, _ answer: String, by martlet: Martlet) throws -> Bool {
        try (0..<20).allSatisfy { _ in try martlet.get(host).text == answer }
    }

    /// All-in-one and as processes: the share of the new revision grows to the whole, the old one keeps its pod until
    /// it has none, and no request is lost.
    @Test(arguments: modes) func stepByStep(flags: [String]) throws {
        let scratch = Scratch()
        let first = manifest(1, seconds: 5)
        try Martlet.serving(first, flags, scratch: scratch) { martlet throws in
            #expect(try martlet.get(first.host).text == text(1), "\(martlet.tail)")
            let load = try Load(martlet, first.host, "/", clients: 2)
            #expect(load.waitFor { $0.texts[text(1)] ?? 0 > 50 })
            scratch.replace("service.yaml", manifest(2, seconds: 5).text)
            martlet.expectLog("a gradual rollout of the latest revision is in progress reason=RolloutInProgress")
            let begin = Date(), before = load.soFar
            #expect(load.waitFor { $0.texts[text(2)] ?? 0 > 0 }, "\(martlet.tail)")
            #expect(!martlet.log.contains("rollout is done") && martlet.pods().count == 2, "\(martlet.tail)")
            martlet.expectLog("rollout is done", within: 60)
            let duration = Date().timeIntervalSince(begin), after = load.soFar
            // Step by step, up to the whole.
            let shares = shares(of: "app-00002", in: martlet)
            #expect(shares.first == 1 && shares.last == 100 && shares == Set(shares).sorted(), "\(shares)")
            #expect(shares.count >= 3, "\(shares)\n\(martlet.tail)")
            #expect(duration > 3, "it took \(duration) s")
            let (old, new) = (
                (after.texts[text(1)] ?? 0) - (before.texts[text(1)] ?? 0), after.texts[text(2)] ?? 0
            )
            print("rollout \(flags.count): \(shares) in \(duration) s, \(old) requests to the old, \(new) to the new")
            #expect(old * 5 > new && new * 5 > old, "\(old) to the old, \(new) to the new")
            #expect(try wait { try isServed(first.host, text(2), by: martlet) }, "\(martlet.tail)")
            #expect(wait(60) { martlet.pods().count == 1 }, "\(martlet.others)\n\(martlet.tail)")
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)\n\(martlet.tail)")
        }
    }

    /// A newer revision during a rollout: three share the requests, and in the end it has them all.
    @Test(arguments: modes) func anotherOneMeanwhile(flags: [String]) throws {
        let scratch = Scratch()
        let first = manifest(1, seconds: 30)
        try Martlet.serving(first, flags, scratch: scratch) { martlet throws in
            #expect(try martlet.get(first.host).text == text(1), "\(martlet.tail)")
            let load = try Load(martlet, first.host, "/", clients: 2)
            scratch.replace("service.yaml", manifest(2, seconds: 30).text)
            martlet.expectLog("rollout step", count: 3)
            scratch.replace("service.yaml", manifest(3, seconds: 2).text)
            martlet.expectLog(",app-00003:1")
            #expect(martlet.log.contains(#/app-00001:\d+,app-00002:\d+,app-00003:1(?!\d)/#), "\(martlet.tail)")
            martlet.expectLog("rollout is done", within: 60)
            #expect(try wait { try isServed(first.host, text(3), by: martlet) }, "\(martlet.tail)")
            #expect(wait(60) { martlet.pods().count == 1 }, "\(martlet.others)\n\(martlet.tail)")
            let tally = load.stop()
            #expect(tally.isPerfect, "\(tally.summary)\n\(martlet.tail)")
            #expect([1, 2, 3].allSatisfy { tally.texts[text($0)] ?? 0 > 0 }, "\(tally.texts)")
        }
    }

    /// A new revision that never starts begins no rollout, and a wrong duration changes nothing.
    @Test func nothingToRollOut() throws {
        let scratch = Scratch()
        let first = manifest(1, seconds: 4)
        try Martlet.serving(first, Self.quiet, scratch: scratch) { martlet throws in
            #expect(try martlet.get(first.host).text == text(1), "\(martlet.tail)")
            scratch.replace("service.yaml", manifest(2, seconds: -4).text)
            martlet.expectLog("error: rollout-duration=-4s must be positive: metadata.annotations.serving.knative.dev")
            scratch.replace("service.yaml", manifest(2, seconds: 4) { $0.environment += [("START_EXIT", "7")] }.text)
            martlet.expectLog("exit code 7")
            for _ in 0..<20 { #expect(try martlet.get(first.host).text == text(1)) }
            #expect(!martlet.log.contains("RolloutInProgress"), "\(martlet.tail)")
        }
    }
}
