import Primitives
import Testing

@testable import QueueProxy

/// The drain of a pod, on a clock of the test's.
@Suite struct PodDrainTests {
    private static let start = Instant(nanoseconds: 5_000_000_000)
    private static let never = Instant(nanoseconds: 0)

    private func at(_ milliseconds: UInt64) -> Instant { Self.start.adding(milliseconds: milliseconds) }

    /// SIGTERM: unready at once, quiet for the period, then the goodbye; a second one ends it.
    @Test func signal() {
        var drain = PodDrain(quietMilliseconds: 30_000)
        #expect(drain.deadline(now: at(0), lastRequest: Self.never) == .distantFuture)
        #expect(drain.signal(now: at(0)) == [.sayUnready])
        #expect(drain.deadline(now: at(0), lastRequest: Self.never) == at(30_000))
        #expect(drain.advance(now: at(29_999), lastRequest: Self.never, isBusy: nil).isEmpty)
        #expect(drain.advance(now: at(30_000), lastRequest: Self.never, isBusy: nil) == [.stop])
        #expect(drain.advance(now: at(30_001), lastRequest: Self.never, isBusy: nil).isEmpty)
        #expect(drain.deadline(now: at(30_001), lastRequest: Self.never) == .distantFuture)
        #expect(drain.signal(now: at(30_002)) == [.exit])
    }

    /// Each new request makes the quiet period begin again.
    @Test func requestsProlong() {
        var drain = PodDrain(quietMilliseconds: 1_000)
        _ = drain.signal(now: at(0))
        #expect(drain.deadline(now: at(900), lastRequest: at(900)) == at(1_900))
        #expect(drain.advance(now: at(1_899), lastRequest: at(900), isBusy: nil).isEmpty)
        #expect(drain.advance(now: at(2_500), lastRequest: at(1_800), isBusy: nil).isEmpty)
        #expect(drain.advance(now: at(2_800), lastRequest: at(1_800), isBusy: nil) == [.stop])
    }

    /// A hook without a signal within a second was a restart: everything is as before, and can begin again.
    @Test func hookWithoutSignal() {
        var drain = PodDrain(quietMilliseconds: 30_000)
        for round in [0, 10_000] as [UInt64] {
            #expect(drain.hook(now: at(round)) == [.sayUnready])
            #expect(drain.hook(now: at(round + 500)).isEmpty)
            #expect(drain.deadline(now: at(round + 500), lastRequest: Self.never) == at(round + 1_000))
            #expect(drain.advance(now: at(round + 999), lastRequest: Self.never, isBusy: false).isEmpty)
            let actions = drain.advance(now: at(round + 1_000), lastRequest: Self.never, isBusy: nil)
            #expect(actions == [.sayReady, .answerHooks])
            #expect(drain.state == .serving)
        }
    }

    /// The usual end of a pod, in both orders: the hook is answered when it is quiet and nothing is under way.
    @Test(arguments: [true, false]) func hookAndSignal(isHookFirst: Bool) {
        var drain = PodDrain(quietMilliseconds: 30_000)
        if isHookFirst {
            #expect(drain.hook(now: at(0)) == [.sayUnready])
            #expect(drain.signal(now: at(100)).isEmpty)
        } else {
            #expect(drain.signal(now: at(0)) == [.sayUnready])
            #expect(drain.hook(now: at(100)).isEmpty)
        }
        #expect(drain.advance(now: at(5_000), lastRequest: at(200), isBusy: true).isEmpty)
        #expect(!drain.awaitsRequests(now: at(30_199), lastRequest: at(200)))
        #expect(drain.advance(now: at(30_200), lastRequest: at(200), isBusy: true) == [.stop])
        #expect(drain.awaitsRequests(now: at(30_200), lastRequest: at(200)))
        #expect(drain.advance(now: at(31_000), lastRequest: at(200), isBusy: nil).isEmpty)
        #expect(drain.advance(now: at(32_000), lastRequest: at(200), isBusy: false) == [.answerHooks])
        #expect(!drain.awaitsRequests(now: at(33_000), lastRequest: at(200)))
    }

    /// With a short quiet period a hook may be answered before the second is over.
    @Test func shortQuietPeriod() {
        var drain = PodDrain(quietMilliseconds: 0)
        #expect(drain.hook(now: at(0)) == [.sayUnready])
        #expect(drain.advance(now: at(0), lastRequest: Self.never, isBusy: false) == [.answerHooks])
        #expect(drain.deadline(now: at(0), lastRequest: Self.never) == at(1_000))
        #expect(drain.signal(now: at(10)).isEmpty)
        #expect(drain.advance(now: at(10), lastRequest: Self.never, isBusy: nil) == [.stop])
    }
}
