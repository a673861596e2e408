import HTTP2Wire
import Primitives
import Testing

@testable import HTTP2

/// Floods end with GOAWAY ENHANCE_YOUR_CALM at their limit and not before it.
@Suite struct FloodTests {
    struct Flood: CustomStringConvertible, Sendable {
        let name: String
        let expected: HTTP2Flood
        /// What is sent once, and what each time.
        var before: [UInt8] = []
        let each: @Sendable (Int) -> [UInt8]
        /// Rounds that must be borne, and those that must not.
        let borne: Int, tooMany: Int
        var description: String { name }
    }

    static func stream(_ round: Int) -> UInt32 { UInt32(round * 2 + 1) }
    static let open = Make.headers(1, Make.post, end: false)

    static let floods: [Flood] = [
        Flood(
            name: "rapid reset", expected: .resets,
            each: { Make.headers(stream($0), Make.get) + Make.reset(stream($0)) }, borne: 499, tooMany: 502),
        Flood(
            name: "made you reset: window increment 0", expected: .resets,
            each: { Make.headers(stream($0), Make.get) + Make.window(stream($0), 0x7FFF_FFFF) }, borne: 490,
            tooMany: 520),
        Flood(
            name: "malformed requests", expected: .resets, each: { Make.headers(stream($0), [(":method", "GET")]) },
            borne: 490,
            tooMany: 520),
        Flood(name: "PING", expected: .idleFrames, each: { _ in Make.ping() }, borne: 9990, tooMany: 10_010),
        Flood(name: "SETTINGS", expected: .idleFrames, each: { _ in Make.settings() }, borne: 9990, tooMany: 10_010),
        Flood(
            name: "PRIORITY", expected: .idleFrames, each: { _ in Make.frame(2, 0, 1, [0, 0, 0, 0, 1]) }, borne: 9990,
            tooMany: 10_010),
        Flood(
            name: "unknown frames", expected: .idleFrames, each: { _ in Make.frame(0x70) }, borne: 9990, tooMany: 10_010
        ),
        Flood(
            name: "WINDOW_UPDATE", expected: .idleFrames, before: open, each: { _ in Make.window(1, 1) }, borne: 9990,
            tooMany: 10_010),
        Flood(
            name: "empty DATA", expected: .emptyData, before: open, each: { _ in Make.data(1, 0) }, borne: 99,
            tooMany: 102),
        Flood(
            name: "DATA of padding", expected: .emptyData, before: open,
            each: { _ in Make.frame(0, 8, 1, [3, 0, 0, 0]) }, borne: 99,
            tooMany: 102),
        Flood(
            name: "CONTINUATION", expected: .continuations, before: Make.frame(1, 0, 1, Make.block(Make.get)),
            each: { _ in Make.frame(9, 0, 1, Make.block([("a", "b")])) }, borne: 8, tooMany: 9),
        Flood(
            name: "empty CONTINUATION", expected: .continuations, before: Make.frame(1, 0, 1),
            each: { _ in Make.frame(9, 0, 1) },
            borne: 8, tooMany: 9),
        Flood(
            name: "WINDOW_UPDATE of an ended stream", expected: .idleFrames,
            before: open + Make.reset(1)
                + (1..<17).flatMap { Make.headers(stream($0), Make.post, end: false) + Make.reset(stream($0)) },
            each: { _ in Make.window(1, 1) }, borne: 9900, tooMany: 10_100),
    ]

    @Test(arguments: floods) func endsAtItsLimit(_ flood: Flood) {
        let side = Side.openServer()
        side.receive(flood.before)
        for round in 0..<flood.tooMany {
            side.receive(flood.each(round))
            _ = side.transmit()
            if round < flood.borne { #expect(side.session.failure == nil, "\(flood) in round \(round)") }
            if side.session.failure != nil { break }
        }
        #expect(side.session.failure == .enhanceYourCalm && side.session.flood == flood.expected, "\(flood)")
        _ = side.transmit()
        #expect(side.session.isFinished, "\(flood)")
        #expect(side.pool.streamCount == 0 && side.pool.lentHeads == 0, "\(flood): \(side.pool.streamCount) left")
    }

    /// At a rate that the limits allow none of them ends anything.
    @Test func slowIsNoFlood() {
        let side = Side.openServer()
        for round in 0..<2000 {
            side.now = side.now.adding(milliseconds: 100)
            side.receive(Make.headers(Self.stream(round), Make.post, end: false) + Make.data(Self.stream(round), 0))
            side.receive(Make.reset(Self.stream(round)) + Make.ping() + Make.settings() + Make.window(0, 1))
            _ = side.transmit()
        }
        #expect(side.session.failure == nil)
        #expect(side.pool.streamCount == 0)
    }

    /// The peer asks and does not read: what is queued for it is bounded.
    @Test func answersThatNobodyReads() {
        let side = Side.openServer()
        for _ in 0..<1100 where side.session.failure == nil { side.receive(Make.ping()) }
        #expect(side.session.flood == .outboundFrames && side.session.failure == .enhanceYourCalm)
    }

    /// One entry of 4000 bytes, named again and again by one byte (HPACK bomb): the work is bounded.
    @Test func headBomb() {
        let side = Side.openServer()
        let entry: [UInt8] = [0x40] + Make.string(Array("x".utf8)) + Make.string(Array(repeating: 0x61, count: 4000))
        let bomb = Make.block(Make.get) + entry + Array(repeating: 0xBE, count: 12_000)
        side.receive(Make.frame(1, 5, 1, Array(bomb.prefix(16_384))))
        #expect(side.session.flood == .headBomb && side.log.isEmpty)
        #expect(side.frames().contains { $0.type == 7 && $0.number(at: 4) == 11 })
    }

    /// A head that does not come to its end in time.
    @Test func slowHead() {
        let side = Side.openServer()
        side.receive(Make.frame(1, 1, 1, [0x82]))
        side.advance(milliseconds: 9999)
        #expect(side.session.failure == nil && side.session.deadline == side.now.adding(milliseconds: 1))
        side.advance(milliseconds: 1)
        #expect(side.session.flood == .slowHead)
    }

    @Test func settingsMustBeAcknowledged() {
        let side = Side(.server)
        side.receive(Make.preface + Make.settings())
        side.advance(milliseconds: 10_000)
        #expect(side.session.failure == .settingsTimeout)
        #expect(side.frames().contains { $0.type == 7 && $0.number(at: 4) == 4 })
        #expect(Side.openServer().session.deadline == .distantFuture)
    }

    /// Another connection of the same worker notices nothing.
    @Test func othersGoOn() {
        let side = Side.openServer()
        let other = Side(.server, pool: side.pool)
        other.receive(Make.preface + Make.settings() + Make.frame(4, 1) + Make.headers(1, Make.get))
        for round in 0..<600 where side.session.failure == nil {
            side.receive(Make.headers(Self.stream(round), Make.get) + Make.reset(Self.stream(round)))
        }
        _ = side.transmit()
        #expect(side.session.isFinished && other.session.failure == nil)
        #expect(other.respond(other.streams[1], 204))
        #expect(other.frames().contains { $0.type == 1 && $0.stream == 1 })
    }

    // MARK: The meter

    @Test func meterTakesItsBurstAndRefills() {
        let limit = FloodLimit(perSecond: 10, burst: 5)
        var now = Instant(nanoseconds: 0)
        var meter = FloodMeter(limit, now: now)
        func take() -> Bool { meter.take(limit, now: now) }
        for _ in 0..<5 { #expect(take()) }
        #expect(!take())
        now = now.adding(milliseconds: 99)
        #expect(!take())
        now = now.adding(milliseconds: 1)
        #expect(take() && !take())
        now = now.adding(milliseconds: 1 << 60)
        for _ in 0..<5 { #expect(take()) }
        #expect(!take())
        meter.reset(limit)
        #expect(take())
    }

    /// Never more than the burst and the rate allow, whatever the steps (shadow: exact arithmetic).
    @Test func meterKeepsItsRate() {
        for seed in 0..<64 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            let limit = FloodLimit(perSecond: random.next() % 200 + 1, burst: random.next() % 50 + 1)
            var now = Instant(nanoseconds: 0), taken: UInt64 = 0
            var meter = FloodMeter(limit, now: now)
            for _ in 0..<2000 {
                now = now.adding(nanoseconds: random.next() % 20_000_000)
                if meter.take(limit, now: now) { taken += 1 }
                let most = limit.burst + now.nanoseconds * limit.perSecond / 1_000_000_000 + 1
                #expect(taken <= most, "seed \(seed)")
            }
        }
    }
}
