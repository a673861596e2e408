import Primitives
import Testing

@testable import Scaling

@Suite struct ScalingPropertyTests {
    /// Settings drawn from a seed.
    private func scaler(_ random: inout SeededRandom) -> RevisionScaler {
        var config = ScalingConfig()
        config.maxScaleUpRate = Bool.random(using: &random) ? 1000 : Double.random(in: 1.1...4, using: &random)
        config.maxScaleDownRate = Double.random(in: 1.5...4, using: &random)
        config.isScaleToZeroEnabled = Int.random(in: 0..<4, using: &random) != 0
        config.allowsZeroInitialScale = true
        var annotations = ScalingAnnotations()
        annotations.minScale = Int.random(in: 0...3, using: &random)
        annotations.maxScale = Bool.random(using: &random) ? 0 : Int.random(in: 3...12, using: &random)
        annotations.initialScale = Int.random(in: 0...4, using: &random)
        annotations.activationScale = Int.random(in: 1...3, using: &random)
        annotations.window = .seconds(Int.random(in: 6...60, using: &random))
        annotations.target = Double.random(in: 0.5...20, using: &random)
        annotations.scaleDownDelay = .seconds(Bool.random(using: &random) ? 0 : Int.random(in: 0...30, using: &random))
        annotations.podRetentionPeriod = .seconds(Int.random(in: 0...40, using: &random))
        annotations.metric = Bool.random(using: &random) ? .concurrency : .requestsPerSecond
        annotations.aggregation = Bool.random(using: &random) ? .linear : .weightedExponential
        annotations.targetBurstCapacity = [-1, 0, 50, 211].randomElement(using: &random)
        return RevisionScaler(
            config: config, annotations: annotations, containerConcurrency: Int.random(in: 0...5, using: &random),
            now: start)
    }

    /// What holds after every decision, whatever the traffic and the settings.
    private func check(_ decision: ScaleDecision, _ label: String) {
        let record = decision.record
        let spec = record.spec
        #expect(spec.maxScale == 0 || decision.desired <= spec.maxScale, "\(label): over max-scale")
        #expect(decision.desired >= (record.isReachable ? spec.minScale : 0), "\(label): under min-scale")
        #expect(spec.isScaleToZeroEnabled || decision.desired > 0 || record.previous == 0, "\(label): zero, though off")
        #expect(decision.recheckAfterSeconds.map { $0 >= 0 } ?? true, "\(label)")
        let isReady = record.mode == .serve
        #expect(!isReady || record.excessBurstCapacity >= 0, "\(label)")
        #expect(decision.desired != 0 || record.mode == .proxy, "\(label)")
        guard let verdict = record.verdict else { return }
        let most = max(verdict.mostPods, spec.activationScale)
        #expect(verdict.rule == .panicHold || verdict.rule == .scaleDownDelay || verdict.desired <= most, "\(label)")
        #expect(verdict.desired >= min(verdict.fewestPods, verdict.mostPods), "\(label): fell too fast")
    }

    @Test func invariantsUnderRandomTraffic() {
        for seed in UInt64(0)..<150 {
            var random = SeededRandom(seed: seed)
            var machine = Machine(scaler(&random))
            machine.startSeconds = Int.random(in: 0...10, using: &random)
            var load = 0.0
            var panicWish = 0
            for step in 0..<300 {
                if Int.random(in: 0..<12, using: &random) == 0 {
                    load = Bool.random(using: &random) ? 0 : Double.random(in: 0...200, using: &random)
                }
                let label = "seed \(seed) second \(step)"
                if load > 0, Int.random(in: 0..<6, using: &random) == 0 {
                    let before = machine.scaler.desired
                    let decision = machine.scaler.demand(
                        inFlight: 0, queued: Int(load) + 1, existing: machine.pods.count, now: at(Double(step) + 0.5))
                    if let decision {
                        #expect(decision.desired > before, "\(label): demand took pods away")
                        check(decision, label)
                        machine.obey(decision)
                    }
                }
                let count = machine.decisions.count
                machine.run(concurrency: load)
                for decision in machine.decisions[count...] {
                    check(decision, label)
                    // In panic the formula never wishes for fewer, unless a delay from before it runs out.
                    let isPanicking = decision.record.verdict?.isPanicking ?? false
                    #expect(!isPanicking || decision.record.wish >= panicWish, "\(label): fewer in panic")
                    let isDelayed = decision.record.verdict?.rule == .scaleDownDelay
                    panicWish = isPanicking && !isDelayed ? decision.record.wish : 0
                }
            }
            // However it began, an idle revision ends at its floor.
            machine.run(seconds: 900, concurrency: 0)
            let spec = machine.scaler.spec
            let floor = max(spec.minScale, spec.isScaleToZeroEnabled || machine.scaler.desired == 0 ? 0 : 1)
            #expect(machine.pods.count == floor, "seed \(seed): \(machine.decisions.last?.record.explanation ?? "")")
        }
    }

    /// The same events give the same decisions: nothing is hidden in clocks or chance.
    @Test func replay() {
        for seed in UInt64(0)..<8 {
            var logs: [[ScaleDecision]] = []
            for _ in 0..<2 {
                var random = SeededRandom(seed: seed)
                var machine = Machine(scaler(&random))
                for _ in 0..<200 { machine.run(concurrency: Double.random(in: 0...100, using: &random), demands: true) }
                logs.append(machine.decisions)
            }
            #expect(logs[0] == logs[1], "seed \(seed)")
        }
    }

    /// An hour: quiet, a morning ramp, a plateau, a sharp burst, a tail, silence.
    @Test func anHourOfTraffic() {
        var machine = Machine(
            RevisionScaler(annotations: annotations(["max-scale": "20", "target": "10"]), now: start))
        func load(_ second: Int) -> Double {
            switch second {
            case ..<300: 0
            case ..<900: Double(second - 300) / 10
            case ..<1800: 60
            case 1800..<1830: 600
            case ..<2700: 60
            case ..<3000: 0.2
            default: 0
            }
        }
        var podsAt: [Int] = [machine.pods.count]
        for second in 1...3600 {
            machine.run(concurrency: load(second), demands: true)
            podsAt.append(machine.pods.count)
        }
        // Idle for the first window, then nothing until the first request.
        #expect(podsAt[60] == 1 && podsAt[70] == 0 && podsAt[299] == 0)
        #expect(podsAt[302] >= 1)
        // On the plateau: 60 at 7 a pod (10 at 70 %).
        #expect(podsAt[1000...1799].allSatisfy { $0 == 9 })
        // The burst is met within three ticks by panic, bounded, and held for a window after it.
        #expect(podsAt[1806] == 20)
        #expect(podsAt[1806...1880].allSatisfy { $0 == 20 })
        #expect(podsAt[2000...2699].allSatisfy { $0 == 9 })
        // A trickle keeps one pod; the last request's second leaves the window after 60 s, and the pod with it.
        #expect(podsAt[2800...3000].allSatisfy { $0 == 1 })
        #expect(podsAt[3058] == 1)
        #expect(podsAt[3066...3600].allSatisfy { $0 == 0 })
        #expect(podsAt.max() == 20)
        // While anybody asks there is a pod.
        for second in 302...3000 { #expect(podsAt[second] > 0, "second \(second)") }
    }
}
