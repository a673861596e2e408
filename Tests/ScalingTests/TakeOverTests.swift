import Primitives
import Testing

@testable import Scaling

/// A revision that an earlier process left, and reconciliations between two ticks.
@Suite struct TakeOverTests {
    private func scaler(
        _ desired: Int, _ phase: RevisionActivity.Phase, ready: Int, _ pairs: [String: String] = [:]
    ) -> RevisionScaler {
        RevisionScaler(
            annotations: annotations(pairs), now: start, initialReady: ready, wasInitialized: true,
            silence: .meansNoData, earlier: EarlierLife(desired: desired, phase: phase))
    }

    @Test func nothingChangesWithoutData() {
        for (desired, phase, ready) in [
            (5, RevisionActivity.Phase.active, 5), (3, .activating, 1), (0, .inactive, 0), (1, .inactive, 1),
        ] {
            var scaler = scaler(desired, phase, ready: ready)
            for second in stride(from: 0.0, to: 500, by: 2) {
                let decision = scaler.tick(now: at(second), ready: ready, existing: max(desired, ready))
                #expect(
                    decision.desired == desired && decision.record.want == (desired == 0 ? 0 : -1),
                    "\(phase), second \(second)")
            }
        }
    }

    /// What was raised while nobody looked is carried out at the first look.
    @Test func aFloorAppliesAtZero() {
        var scaler = scaler(0, .inactive, ready: 0, ["min-scale": "2"])
        #expect(scaler.reconcile(now: at(0), ready: 0, existing: 0).desired == 2)
        // One that may have pods is left alone until there are figures.
        var other = self.scaler(1, .active, ready: 1, ["min-scale": "2"])
        #expect(other.reconcile(now: at(0), ready: 1, existing: 1).desired == 1)
    }

    @Test func thePhaseGoesOn() {
        #expect(scaler(0, .inactive, ready: 0).activity.phase == .inactive)
        #expect(scaler(2, .active, ready: 2).activity == RevisionActivity(.active, since: start))
        // Killed while it called itself inactive with its last pod there: zero comes once there are figures.
        var waiting = scaler(1, .inactive, ready: 1)
        _ = waiting.record(RequestStat(), at: at(1))
        let path = ActivatorPath(probe: .answeredByActivator, proxyingNanoseconds: 100_000_000_000)
        #expect(waiting.tick(now: at(2), ready: 1, existing: 1, path: path).desired == 0)
    }

    @Test func moreThanOneReadyPodIsAPanic() {
        var scaler = scaler(5, .active, ready: 5)
        for second in 1...60 {
            _ = scaler.record(RequestStat(averageConcurrency: 1), at: at(Double(second)))
            guard second % 2 == 0 else { continue }
            #expect(scaler.tick(now: at(Double(second)), ready: 5, existing: 5).desired == 5)
        }
        _ = scaler.record(RequestStat(averageConcurrency: 1), at: at(61))
        #expect(scaler.tick(now: at(62), ready: 5, existing: 5).desired == 2, "by the rate of 2")
    }

    /// Ten reconciliations scale no faster than none: the formula runs at ticks only.
    @Test func reconcilingIsNoTick() {
        var scaler = scaler(8, .active, ready: 1)
        for second in 1...100 { _ = scaler.record(RequestStat(averageConcurrency: 1), at: at(Double(second))) }
        #expect(scaler.tick(now: at(100), ready: 8, existing: 8).desired == 4)
        for ready in [8, 7, 6, 5, 4] {
            let decision = scaler.reconcile(now: at(100.5), ready: ready, existing: ready)
            #expect(decision.desired == 4 && decision.record.ready == ready)
            #expect(decision.record.rule == .maxScaleDownRate && decision.record.verdict != nil)
        }
        #expect(scaler.tick(now: at(102), ready: 4, existing: 4).desired == 2)
        // Bounds hold at once all the same.
        scaler.update(annotations: annotations(["min-scale": "6"]))
        #expect(scaler.reconcile(now: at(102.5), ready: 4, existing: 4).desired == 6)
        scaler.setReachable(false)
        #expect(scaler.reconcile(now: at(102.6), ready: 4, existing: 4).desired == 2)
    }
}
