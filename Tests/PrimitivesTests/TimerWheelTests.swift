import Testing

@testable import Primitives

@Suite struct TimerWheelTests {
    /// Against a plain list, over random arming, cancelling and jumps of time: the same timers fire, none early, and
    /// the next deadline is never later than the earliest timer.
    @Test(arguments: 0..<64) func agreesWithAList(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        var now = Instant(nanoseconds: random.next() % 1_000_000_000_000)
        let tick: UInt64 = [1_000_000, 100_000, 1, 7_777][seed % 4]
        var wheel = TimerWheel(now: now, tickNanoseconds: tick)
        var model: [UInt64: (deadline: Instant, handle: TimerHandle)] = [:]
        for step in 0..<2000 {
            switch random.next() % 4 {
            case 0, 1:
                let spread: UInt64 = [10, 1_000, 100_000, 20_000_000][Int(random.next() % 4)]
                let deadline = now.adding(nanoseconds: random.next() % (spread * 1_000_000))
                model[UInt64(step)] = (deadline, wheel.arm(deadline, payload: UInt64(step)))
            case 2:
                if let victim = model.keys.sorted().randomElement(using: &random), let entry = model[victim] {
                    wheel.cancel(entry.handle)
                    wheel.cancel(entry.handle)
                    model[victim] = nil
                }
            default:
                let jump: UInt64 = [1, 50, 5_000, 1_000_000][Int(random.next() % 4)]
                now = now.adding(nanoseconds: random.next() % (jump * 1_000_000))
                while let payload = wheel.expire(now: now) {
                    let entry = model.removeValue(forKey: payload)
                    #expect(entry != nil, "seed \(seed): fired twice or after cancel")
                    #expect((entry?.deadline ?? now) <= now, "seed \(seed): early")
                }
                let late = model.values.filter { $0.deadline.nanoseconds + 1_000_000 < now.nanoseconds }
                #expect(late.isEmpty, "seed \(seed) step \(step): \(late.count) timers missed")
            }
            #expect(wheel.count == model.count)
            if let earliest = model.values.map(\.deadline).min() {
                #expect(wheel.nextDeadline ?? .distantFuture <= earliest.adding(milliseconds: 1))
            }
        }
    }
}
