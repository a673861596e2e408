import Primitives
import Testing

@testable import Knative

private let origin = Instant(nanoseconds: 1_700_000_000_000_000_000)

extension Instant {
    fileprivate static func + (left: Instant, seconds: Double) -> Instant { left.adding(seconds: seconds) }
}

/// A host with these shares, as `a=60 b=40`.
private func host(
    _ shares: String, percent: Int = 100, tag: String = "", _ steps: ConfigurationRollout.Steps = .init()
) -> ConfigurationRollout {
    let revisions = shares.split(separator: " ").map { part in
        let words = part.split(separator: "=")
        return RevisionShare(revision: String(words[0]), percent: Int(words[1]) ?? 0)
    }
    return ConfigurationRollout(name: "svc", tag: tag, percent: percent, revisions: revisions, steps: steps)
}

/// All to one revision.
private func goal(_ revision: String, percent: Int = 100, tag: String = "") -> ConfigurationRollout {
    ConfigurationRollout(name: "svc", tag: tag, percent: percent, revision: revision)
}

extension Rollout {
    /// `a=60 b=40` of the main host, or of a tag's.
    fileprivate func shares(_ tag: String = "") -> String {
        let revisions = configuration("svc", tag: tag)?.revisions ?? []
        return revisions.map { "\($0.revision)=\($0.percent)" }.joined(separator: " ")
    }

    fileprivate func steps(_ tag: String = "") -> ConfigurationRollout.Steps {
        configuration("svc", tag: tag)?.steps ?? .init()
    }
}

/// Steps that are due.
private func steps(_ percent: Int, every seconds: Double = 1, due: Instant = origin) -> ConfigurationRollout.Steps {
    var steps = ConfigurationRollout.Steps()
    steps.startedAt = Instant(nanoseconds: 1)
    steps.nextAt = due
    steps.intervalNanoseconds = UInt64(seconds * 1e9)
    steps.percent = percent
    return steps
}

/// Knative's gradual rollout (spec/autoscaling 6.7).
@Suite struct RolloutTests {
    struct Plan: CustomTestStringConvertible {
        let duration: Int, first: Double, percent: Int
        let interval: Double, size: Int, count: Int
        var testDescription: String { "\(duration) s, first after \(first) s, \(percent) %" }

        init(_ duration: Int, _ first: Double, _ percent: Int, _ interval: Double, _ size: Int, _ count: Int) {
            (self.duration, self.first, self.percent) = (duration, first, percent)
            (self.interval, self.size, self.count) = (interval, size, count)
        }
    }

    /// Duration, seconds until the first percent was served, share; interval, size and number of steps until the end.
    static let plans = [
        Plan(120, 1, 100, 119.0 / 99, 1, 99), Plan(120, 0.004, 100, 119.0 / 99, 1, 99),
        Plan(120, 3, 100, 3, 3, 33), Plan(120, 3, 75, 3, 2, 37), Plan(120, 3, 50, 3, 1, 49),
        Plan(120, 1983, 13, 1, 12, 1), Plan(300, 5, 100, 5, 2, 50), Plan(600, 2, 100, 598.0 / 99, 1, 99),
        Plan(4, 1, 100, 1, 33, 3), Plan(10, 1, 50, 1, 5, 10), Plan(120, 1, 2, 119, 1, 1),
        Plan(1, 0, 100, 1, 99, 1), Plan(4, 1.2, 100, 2, 99, 1),
    ]

    @Test(arguments: plans) func plan(plan: Plan) {
        var rollout = Rollout([goal("new", percent: plan.percent)])
            .stepped(from: Rollout([goal("old", percent: plan.percent)]), now: origin)
        #expect(rollout.shares() == "old=\(plan.percent - 1) new=1" && rollout.awaitsReady)
        #expect(rollout.nextStepAt == nil, "nothing is due before the routes are in use")
        var now = origin + plan.first
        rollout.observeReady(durationSeconds: plan.duration, now: now)
        let steps = rollout.steps()
        #expect(steps.startedAt == origin && steps.percent == plan.size && !rollout.awaitsReady)
        #expect(abs(Double(steps.intervalNanoseconds) / 1e9 - plan.interval) < 1e-6)
        var count = 0
        while let due = rollout.nextStepAt, count < 200 {
            #expect(due == now.adding(nanoseconds: steps.intervalNanoseconds))
            let early = Instant(nanoseconds: due.nanoseconds - 1)
            #expect(Rollout([goal("new", percent: plan.percent)]).stepped(from: rollout, now: early) == rollout)
            rollout = Rollout([goal("new", percent: plan.percent)]).stepped(from: rollout, now: due)
            (now, count) = (due, count + 1)
        }
        #expect(count == plan.count && rollout == Rollout([goal("new", percent: plan.percent)]))
        #expect(rollout.isDone && rollout.steps() == .init(), "what timed it is forgotten")
    }

    struct Case: CustomTestStringConvertible {
        let testDescription: String
        let previous: Rollout
        let goal: ConfigurationRollout
        let shares: String

        init(_ name: String, _ previous: ConfigurationRollout, _ goal: ConfigurationRollout, _ shares: String) {
            (testDescription, self.previous) = (name, Rollout([previous]))
            (self.goal, self.shares) = (goal, shares)
        }
    }

    /// One call with a step that is due, if there is any.
    static let cases = [
        Case(
            "from the second newest on", host("a=22 b=5 c=3 d=60", percent: 90, steps(10)), goal("d", percent: 90),
            "a=20 d=70"),
        Case("just exhausted", host("a=30 b=10 c=60", steps(10)), goal("c"), "a=30 c=70"),
        Case("the last step", host("a=10 b=90", steps(10)), goal("b"), "b=100"),
        Case("less than a step is left", host("a=1 b=45", percent: 46, steps(5)), goal("b", percent: 46), "b=46"),
        Case("not due", host("a=60 b=40", steps(9, due: origin + 1)), goal("b"), "a=60 b=40"),
        Case("late: one step only", host("a=60 b=40", steps(9, due: Instant(nanoseconds: 5))), goal("b"), "a=51 b=49"),
        Case("a new revision", goal("a"), goal("b"), "a=99 b=1"),
        Case("another one meanwhile", host("a=60 b=40", steps(9)), goal("c"), "a=60 b=39 c=1"),
        Case("it takes the newest's last", host("a=99 b=1", steps(9)), goal("c"), "a=99 c=1"),
        Case("back to an older one", host("a=60 b=40", steps(9)), goal("a"), "a=60 b=39 a=1"),
        Case("nothing new", goal("a"), goal("a"), "a=100"),
        Case("more of it", goal("a", percent: 20), goal("a", percent: 50), "a=50"),
        Case(
            "more during a rollout", host("a=40 b=10", percent: 50, steps(9, due: origin + 1)),
            goal("b", percent: 70), "a=40 b=30"),
        Case(
            "less during a rollout", host("a=30 b=10 c=10", percent: 50, steps(9, due: origin + 1)),
            goal("c", percent: 15), "b=5 c=10"),
        Case("less than the newest has", host("a=30 b=20", percent: 50, steps(9)), goal("b", percent: 15), "b=15"),
        Case("less, and a step beyond it", host("a=40 b=10", percent: 50, steps(12)), goal("b", percent: 15), "b=15"),
        Case("less, and a new one", host("a=30 b=20", percent: 50, steps(9)), goal("c", percent: 15), "b=14 c=1"),
        Case("more, and a new one", goal("a", percent: 20), goal("b", percent: 50), "a=49 b=1"),
        Case("one percent", goal("a", percent: 1), goal("b", percent: 1), "b=1"),
        Case("down to one percent", host("a=60 b=40", steps(9)), goal("c", percent: 1), "c=1"),
        Case("another host", host("a=100", tag: "t"), goal("b"), "b=100"),
        Case("two percent", goal("a", percent: 2), goal("b", percent: 2), "a=1 b=1"),
    ]

    @Test(arguments: cases) func oneCall(_ given: Case) {
        let result = Rollout([given.goal]).stepped(from: given.previous, now: origin)
        #expect(result.shares() == given.shares)
        #expect(result.isDone == !given.shares.contains(" "))
    }

    /// A new revision during a rollout: the timing begins anew, and older ones keep what they have.
    @Test func newTiming() {
        var rollout = Rollout([goal("c")]).stepped(from: Rollout([host("a=60 b=40", steps(9))]), now: origin)
        #expect(rollout.awaitsReady && rollout.steps().startedAt == origin && rollout.steps().percent == 0)
        // Before it is observed nothing moves, however late it is.
        rollout = Rollout([goal("c")]).stepped(from: rollout, now: origin + 3_600)
        #expect(rollout.shares() == "a=60 b=39 c=1" && rollout.awaitsReady)
        rollout.observeReady(durationSeconds: 7_200, now: origin + 3_600)
        let planned = rollout
        rollout.observeReady(durationSeconds: 10, now: origin + 3_700)
        #expect(rollout == planned && rollout.nextStepAt == origin + 7_200, "it is observed once")
    }

    /// Each host has its own pace; what is new or gone there disturbs nobody.
    @Test func severalTags() {
        let before = Rollout([goal("a", percent: 50), goal("a", tag: "x"), goal("a", tag: "gone")])
        let goals = [goal("b", percent: 50), goal("b", tag: "x"), goal("b", tag: "new")]
        var rollout = Rollout(goals).stepped(from: before, now: origin)
        #expect(rollout.configurations.map(\.tag) == ["", "new", "x"])
        #expect(rollout.shares() == "a=49 b=1" && rollout.shares("x") == "a=99 b=1" && rollout.shares("new") == "b=100")
        rollout.observeReady(durationSeconds: 10, now: origin + 0.5)
        #expect(rollout.steps().percent == 5 && rollout.steps("x").percent == 11)
        #expect(rollout.steps("new") == .init())
        let first = origin + 1.5
        #expect(rollout.nextStepAt == first)
        rollout = Rollout(goals).stepped(from: rollout, now: first)
        #expect(rollout.shares() == "a=44 b=6" && rollout.shares("x") == "a=88 b=12")
    }

    @Test func nothingBefore() {
        let wanted = Rollout([goal("b")])
        #expect(wanted.stepped(from: nil, now: origin) == wanted)
        #expect(wanted.stepped(from: Rollout(), now: origin) == wanted)
        #expect(Rollout().stepped(from: wanted, now: origin) == Rollout() && Rollout().isDone)
    }
}

/// Rollouts by seed, against what must hold of all of them.
@Suite struct RolloutSweepTests {
    @Test func sweep() {
        for seed in UInt64(0)..<256 {
            var run = Run(seed: seed)
            for _ in 0..<60 { run.turn() }
            run.finish()
        }
    }

    private struct Run {
        let seed: UInt64
        var random: SeededRandom
        var now = origin
        var duration: Int
        var newest = 1
        var percents: [String: Int]
        var rollout = Rollout()
        init(seed: UInt64) {
            self.seed = seed
            random = SeededRandom(seed: seed)
            duration = 1 + Int(random.next() % 300)
            percents = ["": 1 + Int(random.next() % 100), "x": 100]
        }

        var goals: Rollout { Rollout(percents.map { goal("r\(newest)", percent: $0.value, tag: $0.key) }) }

        mutating func turn() {
            let before = rollout, wasNewest = newest, hadPercents = percents
            switch random.next() % 8 {
            case 0: newest += 1
            case 1: percents[""] = 1 + Int(random.next() % 100)
            case 2: percents["y"] = percents["y"] == nil ? 100 : nil
            case 3, 4: observe()
            default: now = random.next() % 2 == 0 ? now + Double(random.next() % 9) : rollout.nextStepAt ?? now
            }
            rollout = goals.stepped(from: rollout, now: now)
            check(before, sameRevision: newest == wasNewest, hadPercents)
        }

        mutating func observe() {
            rollout.observeReady(durationSeconds: duration, now: now)
        }

        /// Shares are the whole, none is empty; the newest never loses without a newer one or less for its host.
        func check(_ before: Rollout, sameRevision: Bool, _ hadPercents: [String: Int]) {
            #expect(rollout.configurations.map(\.tag) == percents.keys.sorted(), "seed \(seed)")
            for host in rollout.configurations {
                #expect(host.percent == percents[host.tag], "seed \(seed)")
                #expect(host.revisions.reduce(0) { $0 + $1.percent } == host.percent, "seed \(seed)")
                #expect(host.revisions.allSatisfy { $0.percent > 0 }, "seed \(seed)")
                #expect(host.revisions.last?.revision == "r\(newest)", "seed \(seed)")
                let numbers = host.revisions.compactMap { Int($0.revision.dropFirst()) }
                #expect(numbers == Set(numbers).sorted(), "seed \(seed): oldest first, each once")
                guard sameRevision, hadPercents[host.tag] == host.percent,
                    let old = before.configuration("svc", tag: host.tag)
                else { continue }
                let (had, has) = (old.revisions.last?.percent ?? 0, host.revisions.last?.percent ?? 0)
                #expect(had <= has, "seed \(seed): the newest lost \(had - has)")
            }
            #expect(Rollout(json: rollout.json) == rollout, "seed \(seed)")
        }

        /// Left alone it comes to an end.
        mutating func finish() {
            if rollout.awaitsReady { observe() }
            var calls = 0
            while let due = rollout.nextStepAt, calls < 400 {
                now = max(now, due)
                let before = rollout
                rollout = goals.stepped(from: rollout, now: now)
                #expect(rollout != before, "seed \(seed): a step that is due changes something")
                check(before, sameRevision: true, percents)
                calls += 1
            }
            #expect(rollout == goals, "seed \(seed)")
        }
    }

    /// With nothing in between it takes its duration and at most a step more, where Knative rounds the step up or not
    /// at all. Where it rounds down, to two thirds at worst, it takes that much longer, as in Knative.
    @Test func time() {
        var isLate = false
        for seed in UInt64(0)..<5_000 {
            var random = SeededRandom(seed: seed)
            let duration = 1 + Int(random.next() % (seed % 2 == 0 ? 20 : 2_000)), percent = 2 + Int(random.next() % 99)
            let first = Double(random.next() % 5_000) / 1_000
            let wanted = Rollout([goal("b", percent: percent)])
            var rollout = wanted.stepped(from: Rollout([goal("a", percent: percent)]), now: origin)
            var now = origin + first
            rollout.observeReady(durationSeconds: duration, now: now)
            let interval = Double(rollout.steps().intervalNanoseconds) / 1e9, size = Double(rollout.steps().percent)
            while let due = rollout.nextStepAt {
                now = due
                rollout = wanted.stepped(from: rollout, now: now)
            }
            let planned = max(Double(duration), max(1, first.rounded(.up)) + 1)
            let exact = Double(percent - 1) / ((planned - max(1, first.rounded(.up))) / interval)
            let factor = size < exact ? min(1.5, exact / size) : 1
            #expect(now.seconds(since: origin) <= planned * factor + interval + 0.001, "seed \(seed)")
            if now.seconds(since: origin) > planned + interval { isLate = true }
        }
        #expect(isLate, "Knative's rounding is not met: is the bound too wide?")
    }
}

/// The annotation that Knative's own controller reads and writes.
@Suite struct RolloutJSONTests {
    static let text =
        #"{"configurations":[{"configurationName":"svc","percent":70,"revisions":["#
        + #"{"revisionName":"a","percent":60},{"revisionName":"b","percent":10}],"#
        + #""stepParams":{"starttime":1,"nextStepTime":1700000000000000000,"stepDuration":1500000000,"stepSize":9}},"#
        + #"{"configurationName":"svc","tag":"x","percent":100,"revisions":[{"revisionName":"b","percent":100}],"#
        + #""stepParams":{}}]}"#

    @Test func bothWays() {
        let rollout = Rollout([goal("b", tag: "x"), host("a=60 b=10", percent: 70, steps(9, every: 1.5))])
        #expect(rollout.json == Self.text)
        #expect(Rollout(json: Self.text) == rollout)
        #expect(Rollout(json: "{}") == Rollout() && Rollout().json == "{}")
        #expect(Rollout.annotation == "networking.internal.knative.dev/rollout")
    }

    /// A state that waits for the routes, as Go prints it, without what is zero.
    @Test func waiting() throws {
        let begun = Rollout([goal("b")]).stepped(from: Rollout([goal("a")]), now: origin)
        #expect(begun.json.hasSuffix(#""stepParams":{"starttime":1700000000000000000}}]}"#), "\(begun.json)")
        let read = try #require(Rollout(json: begun.json))
        #expect(read == begun && read.awaitsReady)
    }

    static let refused = [
        "", "null", "[]", "7", "{", "{\"configurations\":{}}", "{\"configurations\":[7]}",
        part(#""percent":101,"revisions":[{"revisionName":"a","percent":101}]"#),
        part(#""percent":-1,"revisions":[{"revisionName":"a","percent":-1}]"#),
        part(#""percent":50,"revisions":[{"revisionName":"a","percent":49}]"#),
        part(#""percent":50,"revisions":[{"revisionName":"a","percent":60},{"revisionName":"b","percent":-10}]"#),
        part(#""percent":50"#), part(#""percent":50,"revisions":[{"percent":50}]"#),
        part(#""percent":50,"revisions":[{"revisionName":"a","percent":50}],"stepParams":{"stepSize":51}"#),
        part(#""percent":50,"revisions":[{"revisionName":"a","percent":50}],"stepParams":{"stepSize":-1}"#),
        part(#""percent":50,"revisions":[{"revisionName":"a","percent":50}],"stepParams":{"starttime":-1}"#),
        part(#""percent":50,"revisions":[{"revisionName":"a","percent":50}],"stepParams":{"starttime":"1"}"#),
        #"{"configurations":[{"percent":0}]}"#, String(repeating: " ", count: Rollout.longestJSON + 1),
    ]

    private static func part(_ rest: String) -> String {
        #"{"configurations":[{"configurationName":"svc",\#(rest)}]}"#
    }

    @Test(arguments: refused) func isDiscarded(text: String) { #expect(Rollout(json: text) == nil) }

    /// Whatever stands there, reading it is safe, and what was read can be gone on with.
    @Test func mutations() {
        let alphabet = Array("0123456789{}[]\":,-ab".utf8)
        var read = 0
        for seed in UInt64(0)..<3_000 {
            var random = SeededRandom(seed: seed)
            var bytes = Array(Self.text.utf8)
            for _ in 0...random.next() % 3 {
                let letter = alphabet[Int(random.next() % UInt64(alphabet.count))]
                bytes[Int(random.next() % UInt64(bytes.count))] = letter
            }
            guard var rollout = Rollout(json: String(decoding: bytes, as: UTF8.self)) else { continue }
            read += 1
            rollout.observeReady(durationSeconds: 60, now: origin)
            for _ in 0..<300 {
                rollout = Rollout([goal("b", percent: 70), goal("b", tag: "x")]).stepped(from: rollout, now: origin)
                #expect(rollout.configurations.allSatisfy { $0.revisions.reduce(0) { $0 + $1.percent } == $0.percent })
            }
        }
        #expect(read > 100, "\(read)")
    }
}
