import Primitives
import Testing

@testable import Scaling

/// One step of a decider: what it is told, and what it shall answer.
struct Step: Sendable {
    var time = 0.0
    var ready: Int?
    var stable: Double
    var panic: Double
    var desired: Int
    var excess: Int?
    var isPanicking: Bool?

    init(
        _ time: Double = 0, r ready: Int?, s stable: Double, p panic: Double, _ desired: Int, ebc excess: Int? = nil,
        panic isPanicking: Bool? = nil
    ) {
        self.time = time
        self.ready = ready
        self.stable = stable
        self.panic = panic
        self.desired = desired
        self.excess = excess
        self.isPanicking = isPanicking
    }
}

/// A row of the table of vectors (spec 1.10), with the number it has there.
struct Row: Sendable, CustomTestStringConvertible {
    var name: String
    var spec: ScalingSpec
    var initialReady = 0
    var steps: [Step]
    var testDescription: String { name }

    init(
        _ name: String, _ target: Double, _ burst: Double, initialReady: Int = 0,
        change: (inout ScalingSpec) -> Void = { _ in }, _ steps: [Step]
    ) {
        self.name = name
        spec = vectorSpec(target: target, burst: burst)
        change(&spec)
        self.initialReady = initialReady
        self.steps = steps
    }
}

@Suite struct DeciderTests {
    static let simple: [Row] = [
        Row("1", 10, 100, [Step(r: 1, s: 50, p: 50, 5, ebc: -137, panic: true)]),
        Row(
            "2", 10, 101,
            [
                Step(r: 1, s: 50, p: 10, 5, ebc: -98, panic: false),
                Step(2, r: 1, s: 100, p: 10, 10, ebc: -98, panic: false),
            ]),
        Row(
            "3", 10, 101, change: { $0.metric = .requestsPerSecond },
            [
                Step(r: 1, s: 50, p: 50, 5, ebc: -138, panic: true),
                Step(2, r: 1, s: 100, p: 99, 10, ebc: -187, panic: true),
            ]),
        Row(
            "4", 1, 98,
            [
                Step(r: 10, s: 11, p: 25, 25, ebc: -110, panic: true),
                Step(30, r: 40, s: 30, p: 41, 41, ebc: -86, panic: true),
                Step(62, r: 55, s: 50, p: 56, 50, ebc: -81, panic: false),
            ]),
        Row(
            "5", 1, 98,
            [
                Step(r: 10, s: 11, p: 25, 25, ebc: -110, panic: true),
                Step(30, r: 40, s: 30, p: 80, 80, ebc: -125, panic: true),
                // Renewed at 30: still on at 62, exactly one window later, and over strictly after it.
                Step(62, r: 80, s: 50, p: 56, 80, panic: true),
                Step(90, r: 80, s: 50, p: 56, 80, panic: true),
                Step(90.001, r: 80, s: 50, p: 56, 50, panic: false),
            ]),
        Row(
            "6", 10, 98,
            [
                Step(r: 8, s: 100, p: 100, 10, ebc: -92, panic: false),
                Step(2, r: 8, s: 50, p: 50, 5, ebc: -42, panic: false),
            ]),
        Row(
            "7", 10, 75,
            [Step(r: 1, s: 1, p: 0, 1, ebc: -62, panic: false), Step(2, r: 1, s: 0, p: 0, 0, ebc: -62, panic: false)]),
        Row(
            "8", 10, 75, change: { $0.activationScale = 2 },
            [Step(r: 1, s: 0, p: 0, 0, ebc: -62, panic: false), Step(2, r: 1, s: 1, p: 0, 2, ebc: -62, panic: false)]),
        Row(
            "9", 1, 101,
            [
                Step(r: 1, s: 6, p: 6, 6, ebc: -106, panic: true),
                Step(2, r: 6, s: 36, p: 36, 36, ebc: -129, panic: true),
                Step(4, r: 36, s: 216, p: 216, 216, ebc: -269, panic: true),
                Step(6, r: 216, s: 1296, p: 1296, 1296, ebc: -1109, panic: true),
                Step(8, r: 1296, s: 1296, p: 1296, 1296, ebc: 331, panic: true),
            ]),
        Row("10", 181, -1, [Step(r: 1, s: 21, p: 26, 1, ebc: -1, panic: false)]),
        Row("11", 10, 0, [Step(r: 1, s: 50, p: 49, 5, ebc: 0, panic: true)]),
        Row("12", 1, 100, initialReady: 5, [Step(r: 5, s: 50, p: 30, 50, ebc: -124, panic: true)]),
        Row("13", 1, 100, initialReady: 5, [Step(r: 5, s: 20, p: 30, 30, ebc: -124, panic: true)]),
        Row("14", 10, 100, [Step(r: 5, s: 50, p: 50, 5, ebc: -84, panic: false)]),
        Row(
            "15", 1, 1982, change: { $0.maxScaleUpRate = 1.1 },
            [Step(r: 2, s: 3, p: 3.1, 3, ebc: -1983, panic: true)]),
        Row(
            "16", 10, 1982, change: { $0.maxScaleDownRate = 1.1 },
            [Step(r: 100, s: 1, p: 1, 90, ebc: -650, panic: false)]),
        Row("18", 10, 84, [Step(r: 1, s: 50, p: 100, 10, ebc: -171, panic: true)]),
        Row(
            "19", 10, 93,
            [
                Step(r: 1, s: 100, p: 100, 10, ebc: -180, panic: true),
                Step(r: 10, s: 100, p: 1000, 100, ebc: -960, panic: true),
                Step(30, r: 10, s: 1, p: 1, 100, ebc: 39, panic: true),
                Step(61, r: 10, s: 1, p: 1, 1, ebc: 39, panic: false),
            ]),
        Row(
            "20", 10, 61,
            [
                Step(r: 1, s: 1000, p: 1001, 10, ebc: -1049, panic: true),
                Step(2, r: 10, s: 1000, p: 1001, 100, ebc: -929, panic: true),
            ]),
        Row(
            "21", 10, 61,
            [
                Step(r: 100, s: 1, p: 1, 10, ebc: 1271, panic: false),
                Step(2, r: 10, s: 1, p: 1, 1, ebc: 71, panic: false),
            ]),
        Row("22", 10, 81, [Step(r: 0, s: 1000, p: 888, 10, ebc: -969, panic: true)]),
    ]

    @Test(arguments: simple) func vectors(row: Row) {
        var decider = Decider(spec: row.spec, ready: row.initialReady, now: start)
        for step in row.steps {
            let averages = MetricAverages(stable: step.stable, panic: step.panic)
            let verdict = decider.decide(ready: step.ready, averages: averages, isReachable: true, now: at(step.time))
            #expect(verdict?.desired == step.desired, "\(step)")
            if let excess = step.excess { #expect(verdict?.excessBurstCapacity == excess, "\(step)") }
            if let isPanicking = step.isPanicking { #expect(verdict?.isPanicking == isPanicking, "\(step)") }
        }
    }

    @Test func vector17UnreachableHasNoDownRate() {
        var spec = vectorSpec(target: 10, burst: 1982)
        spec.maxScaleDownRate = 1.1
        var decider = Decider(spec: spec, ready: 0, now: start)
        let averages = MetricAverages(stable: 1, panic: 1)
        let verdict = decider.decide(ready: 100, averages: averages, isReachable: false, now: start)
        #expect(verdict?.desired == 1)
        #expect(verdict?.excessBurstCapacity == -650)
        #expect(verdict?.isPanicking == false)
    }

    /// In a panic the time of entry is kept unless the threshold is passed again (rows 4 and 5).
    @Test func vector4KeepsThePanicTime() {
        var decider = Decider(spec: vectorSpec(target: 1, burst: 98), ready: 0, now: start)
        _ = decider.decide(ready: 10, averages: .init(stable: 11, panic: 25), isReachable: true, now: at(0))
        _ = decider.decide(ready: 40, averages: .init(stable: 30, panic: 41), isReachable: true, now: at(30))
        #expect(decider.panicSince == at(0))
        _ = decider.decide(ready: 40, averages: .init(stable: 30, panic: 80), isReachable: true, now: at(31))
        #expect(decider.panicSince == at(31))
    }

    @Test func vector23InvalidInputsChangeNothing() {
        var decider = Decider(spec: vectorSpec(target: 10, burst: 71), ready: 3, now: start)
        let averages = MetricAverages(stable: 1000, panic: 1000)
        #expect(decider.decide(ready: nil, averages: averages, isReachable: true, now: at(5)) == nil)
        #expect(decider.decide(ready: 3, averages: nil, isReachable: true, now: at(5)) == nil)
        #expect(decider.panicSince == start)
        #expect(decider.panicPods == 3)
    }

    @Test func vector24Update() {
        var decider = Decider(spec: vectorSpec(target: 10, burst: 71), ready: 0, now: start)
        let averages = MetricAverages(stable: 101, panic: 101)
        #expect(decider.decide(ready: 10, averages: averages, isReachable: true, now: at(0))?.desired == 11)
        decider.spec = vectorSpec(target: 1, burst: 71)
        #expect(decider.decide(ready: 10, averages: averages, isReachable: true, now: at(2))?.desired == 100)
    }

    private func delayed(_ seconds: Int) -> Decider {
        var spec = vectorSpec(target: 10, burst: 100)
        spec.scaleDownDelaySeconds = seconds
        spec.panicThreshold = 100
        return Decider(spec: spec, ready: 0, now: start)
    }

    private func decide(_ decider: inout Decider, _ load: Double, at time: Double, reachable: Bool = true) -> Int? {
        let averages = MetricAverages(stable: load, panic: load)
        return decider.decide(ready: 1, averages: averages, isReachable: reachable, now: at(time))?.desired
    }

    @Test func vector25And26ScaleDownDelay() {
        var decider = delayed(300)
        #expect(decide(&decider, 40, at: 2) == 4)
        #expect(decide(&decider, 0, at: 300) == 4)
        #expect(decide(&decider, 0, at: 302) == 0)
        let later: [(minute: Double, load: Double, desired: Int)] = [
            (9, 40, 4), (10, 30, 4), (11, 0, 4), (14, 0, 3), (15, 0, 0),
        ]
        for step in later {
            #expect(decide(&decider, step.load, at: step.minute * 60) == step.desired, "minute \(step.minute)")
        }
    }

    @Test func vector27UnreachableAndNoDelay() {
        var decider = delayed(300)
        #expect(decide(&decider, 40, at: 2) == 4)
        #expect(decide(&decider, 0, at: 4) == 4)
        #expect(decide(&decider, 0, at: 6, reachable: false) == 0)
        var immediate = delayed(0)
        #expect(decide(&immediate, 40, at: 0) == 4)
        #expect(decide(&immediate, 20, at: 0.5) == 2)
    }

    /// The window of the delay is made once: a change of the setting waits for the next start, as in Knative.
    @Test func delayIsFixedAtTheStart() {
        var decider = delayed(0)
        decider.spec.scaleDownDelaySeconds = 300
        #expect(decide(&decider, 40, at: 0) == 4)
        #expect(decide(&decider, 0, at: 2) == 0)
    }

    @Test func vector28StartInPanic() {
        for (ready, pods) in [(0, 0), (1, 0), (2, 2)] {
            let decider = Decider(spec: vectorSpec(target: 10, burst: 100), ready: ready, now: start)
            #expect((decider.panicSince != nil) == (pods > 0), "ready \(ready)")
            #expect(decider.panicPods == pods)
        }
    }

    /// With all defaults the activator stays in the path up to 2 ready pods, and leaves at 3 while concurrency is low.
    @Test func excessBurstCapacityAtDefaults() {
        for (ready, excess) in [(0, -211), (1, -111), (2, -11), (3, 89), (4, 189), (5, 289)] {
            var decider = Decider(spec: ScalingSpec(), ready: 0, now: start)
            let verdict = decider.decide(
                ready: ready, averages: .init(stable: 0, panic: 0), isReachable: true, now: start)
            #expect(verdict?.excessBurstCapacity == excess, "ready \(ready)")
        }
        for (panic, excess) in [(89.0, 0), (90.0, -1)] {
            var decider = Decider(spec: ScalingSpec(), ready: 0, now: start)
            let averages = MetricAverages(stable: panic, panic: panic)
            let verdict = decider.decide(ready: 3, averages: averages, isReachable: true, now: start)
            #expect(verdict?.excessBurstCapacity == excess)
        }
        // Fewest idle pods at which the activator leaves: by hard limit, target and metric.
        let leaving: [(concurrency: Int, pairs: [String: String], ready: Int)] = [
            (0, [:], 3), (10, [:], 22), (1, [:], 211), (0, ["target": "1"], 211), (0, ["metric": "rps"], 2),
        ]
        for row in leaving {
            let spec = ScalingSpec(annotations: annotations(row.pairs), containerConcurrency: row.concurrency)
            for (ready, isServing) in [(row.ready - 1, false), (row.ready, true)] {
                var decider = Decider(spec: spec, ready: 0, now: start)
                let verdict = decider.decide(
                    ready: ready, averages: .init(stable: 0, panic: 0), isReachable: true, now: start)
                #expect((verdict.map { $0.excessBurstCapacity >= 0 } ?? false) == isServing, "\(row) at \(ready)")
            }
        }
    }

    /// Numbers from the network may be absurd; none traps, and the rates still hold.
    @Test func absurdAverages() {
        for value in [0, -5, 1e300, -1e300, .infinity, -.infinity, .nan, .leastNonzeroMagnitude] {
            var decider = Decider(spec: ScalingSpec(), ready: 0, now: start)
            let averages = MetricAverages(stable: value, panic: value)
            let verdict = decider.decide(ready: 2, averages: averages, isReachable: true, now: start)
            #expect(verdict.map { (0...2000).contains($0.desired) } == true, "\(value)")
        }
    }
}
