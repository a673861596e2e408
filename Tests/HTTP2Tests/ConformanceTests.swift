import HTTP2Wire
import Primitives
import Testing

@testable import HTTP2

/// What a frame sequence must lead to.
enum Outcome: Equatable {
    /// The connection ends with GOAWAY and one of these codes.
    case goAway(Set<UInt32>)
    /// The stream is reset with one of these codes, the connection goes on.
    case reset(Set<UInt32>)
    /// Either of them.
    case fails(Set<UInt32>)
    /// The connection goes on and nothing is reset.
    case fine
    /// The connection ends without a word.
    case closed

    static func goAway(_ code: UInt32) -> Outcome { .goAway([code]) }
    static func reset(_ code: UInt32) -> Outcome { .reset([code]) }
}

struct WireCase: CustomStringConvertible, Sendable {
    let section: String
    let bytes: [UInt8]
    let outcome: Outcome
    init(_ section: String, _ outcome: Outcome, _ bytes: [UInt8]) {
        (self.section, self.outcome, self.bytes) = (section, outcome, bytes)
    }
    var description: String { section }
}

/// RFC 9113 frame by frame, as a server sees it after the handshake: sequences of bytes and what must come of them.
@Suite struct ConformanceTests {
    // Codes: 1 PROTOCOL_ERROR, 3 FLOW_CONTROL_ERROR, 5 STREAM_CLOSED, 6 FRAME_SIZE_ERROR, 7 REFUSED_STREAM,
    // 9 COMPRESSION_ERROR, 11 ENHANCE_YOUR_CALM.
    static func get(_ stream: UInt32 = 1) -> [UInt8] { Make.headers(stream, Make.get) }
    static func open(_ stream: UInt32 = 1) -> [UInt8] { Make.headers(stream, Make.post, end: false) }
    static func zeros(_ count: Int) -> [UInt8] { Array(repeating: 0, count: count) }

    static let frames: [WireCase] = [
        WireCase("4.1 unknown type", .fine, Make.frame(0x16, 0, 0, zeros(8))),
        WireCase("4.1 unknown type on a stream", .fine, open() + Make.frame(0xFE, 0xFF, 1, zeros(3))),
        WireCase("4.1 undefined flags", .fine, Make.frame(6, 0x16, 0, zeros(8))),
        WireCase("4.1 reserved bit", .fine, Make.frame(6, 0, 0x8000_0000, zeros(8))),
        WireCase("4.2 DATA of the largest size", .fine, open() + Make.data(1, 16_384)),
        WireCase("4.2 DATA too large", .fails([6]), open() + Make.data(1, 16_385)),
        WireCase("4.2 HEADERS too large", .goAway(6), Make.frame(1, 5, 1, zeros(16_385))),
        WireCase("4.2 SETTINGS too large", .goAway(6), Make.frame(4, 0, 0, zeros(16_386))),
        WireCase("4.2 unknown type too large", .goAway(6), Make.frame(0x77, 0, 0, zeros(16_385))),
        WireCase(
            "4.3 block in two frames", .fine,
            Make.frame(1, 1, 1, Array(Make.block(Make.get).prefix(9)))
                + Make.frame(9, 4, 1, Array(Make.block(Make.get).dropFirst(9)))),
        WireCase(
            "4.3 PRIORITY inside a block", .goAway(1), Make.frame(1, 1, 1) + Make.frame(2, 0, 1, [0, 0, 0, 0, 1])),
        WireCase("4.3 HEADERS of another stream inside", .goAway(1), Make.frame(1, 1, 1) + get(3)),
        WireCase("4.3 DATA inside a block", .goAway(1), Make.frame(1, 0, 1, Make.block(Make.post)) + Make.data(1, 1)),
        WireCase("4.3 unknown type inside a block", .goAway(1), Make.frame(1, 1, 1) + Make.frame(0x16, 0, 0)),
        WireCase("4.3 CONTINUATION of another stream", .goAway(1), Make.frame(1, 1, 1) + Make.frame(9, 4, 3)),
        WireCase("5.1 idle: DATA", .goAway(1), Make.data(1, 1)),
        WireCase("5.1 idle: RST_STREAM", .goAway(1), Make.reset(1)),
        WireCase("5.1 idle: WINDOW_UPDATE", .goAway(1), Make.window(1, 100)),
        WireCase("5.1 idle: CONTINUATION", .goAway(1), Make.frame(9, 4, 1)),
        WireCase("5.1 idle: PRIORITY", .fine, Make.frame(2, 0, 1, [0, 0, 0, 0, 1])),
        WireCase("5.1 half closed: DATA", .fails([5]), get() + Make.data(1, 1)),
        WireCase("5.1 half closed: HEADERS", .fails([5]), get() + get()),
        WireCase("5.1 half closed: CONTINUATION", .goAway([1, 5]), get() + Make.frame(9, 4, 1)),
        WireCase("5.1 half closed: WINDOW_UPDATE", .fine, get() + Make.window(1, 10)),
        WireCase("5.1 half closed: PRIORITY", .fine, get() + Make.frame(2, 0, 1, [0, 0, 0, 0, 1])),
        WireCase("5.1 closed: HEADERS after RST_STREAM", .fails([5]), open() + Make.reset(1) + get()),
        WireCase("5.1 closed: CONTINUATION", .goAway([1, 5]), open() + Make.reset(1) + Make.frame(9, 4, 1)),
        WireCase("5.1 closed: PRIORITY", .fine, open() + Make.reset(1) + Make.frame(2, 0, 1, [0, 0, 0, 0, 1])),
        WireCase("5.1 closed: WINDOW_UPDATE", .fine, open() + Make.reset(1) + Make.window(1, 10)),
        WireCase("5.1 closed: RST_STREAM", .fine, open() + Make.reset(1) + Make.reset(1)),
        WireCase("5.1.1 even stream", .goAway(1), get(2)),
        WireCase("5.1.1 descending streams", .goAway([1, 5]), get(5) + get(3)),
        WireCase("5.1 closed: DATA after RST_STREAM", .fails([5]), open() + Make.reset(1) + Make.data(1, 1)),
        WireCase("5.1.1 skipped stream", .goAway(1), get(1) + get(9) + get(5)),
        WireCase("5.1.1 skipped streams are closed", .fine, get(1) + get(9)),
        WireCase("5.3 PRIORITY on itself", .fine, Make.frame(2, 0, 1, [0, 0, 0, 1, 1])),
        WireCase("6.1 DATA on stream 0", .goAway(1), Make.data(0, 1)),
        WireCase("6.1 padding", .fine, open() + Make.frame(0, 8, 1, [2, 0x61, 0, 0])),
        WireCase("6.1 padding longer than the frame", .goAway(1), open() + Make.frame(0, 8, 1, [5, 0x61, 0, 0])),
        WireCase("6.1 padding as long as the frame", .goAway(1), open() + Make.frame(0, 8, 1, [4, 0x61, 0, 0])),
        WireCase("6.1 padded without length", .goAway([1, 6]), open() + Make.frame(0, 8, 1)),
        WireCase("6.2 HEADERS on stream 0", .goAway(1), Make.headers(0, Make.get)),
        WireCase("6.2 padding longer than the frame", .goAway(1), Make.frame(1, 0xD, 1, [200] + Make.block(Make.get))),
        WireCase(
            "6.2 padding and priority", .fine, Make.frame(1, 0x2D, 1, [1, 0, 0, 0, 0, 9] + Make.block(Make.get) + [0])),
        WireCase("6.3 PRIORITY on stream 0", .goAway(1), Make.frame(2, 0, 0, [0, 0, 0, 1, 1])),
        WireCase("6.3 PRIORITY of 4 bytes", .fails([6]), open() + Make.frame(2, 0, 1, [0, 0, 0, 0])),
        WireCase("6.4 RST_STREAM on stream 0", .goAway(1), Make.reset(0)),
        WireCase("6.4 RST_STREAM of 3 bytes", .goAway(6), open() + Make.frame(3, 0, 1, [0, 0, 0])),
        WireCase("6.4 RST_STREAM with an unknown code", .fine, open() + Make.reset(1, 0xFFFF)),
        WireCase("6.5 acknowledgement with payload", .goAway(6), Make.frame(4, 1, 0, zeros(6))),
        WireCase("6.5 SETTINGS on a stream", .goAway(1), Make.frame(4, 0, 1)),
        WireCase("6.5 SETTINGS of 5 bytes", .goAway(6), Make.frame(4, 0, 0, zeros(5))),
        WireCase("6.5.2 ENABLE_PUSH 2", .goAway(1), Make.settings([(2, 2)])),
        WireCase("6.5.2 INITIAL_WINDOW_SIZE 2^31", .goAway(3), Make.settings([(4, 1 << 31)])),
        WireCase("6.5.2 MAX_FRAME_SIZE 16383", .goAway(1), Make.settings([(5, 16_383)])),
        WireCase("6.5.2 MAX_FRAME_SIZE 2^24", .goAway(1), Make.settings([(5, 1 << 24)])),
        WireCase("6.5.2 unknown setting", .fine, Make.settings([(0xFFF, 7)])),
        WireCase("6.5.2 one setting twice", .fine, Make.settings([(3, 7), (3, 9)])),
        WireCase(
            "6.6 PUSH_PROMISE of a client", .goAway(1), open() + Make.frame(5, 4, 1, big(2) + Make.block(Make.get))),
        WireCase("6.7 PING on a stream", .goAway(1), Make.frame(6, 0, 1, zeros(8))),
        WireCase("6.7 PING of 6 bytes", .goAway(6), Make.frame(6, 0, 0, zeros(6))),
        WireCase("6.7 PING of 9 bytes", .goAway(6), Make.frame(6, 0, 0, zeros(9))),
        WireCase("6.7 acknowledgement nobody asked for", .fine, Make.frame(6, 1, 0, zeros(8))),
        WireCase("6.8 GOAWAY on a stream", .goAway(1), Make.frame(7, 0, 1, zeros(8))),
        WireCase("6.8 GOAWAY of 7 bytes", .goAway(6), Make.frame(7, 0, 0, zeros(7))),
        WireCase("6.8 GOAWAY", .closed, Make.goAway(0)),
        WireCase("6.9 increment 0 for the connection", .goAway(1), Make.window(0, 0)),
        WireCase("6.9 increment 0 for a stream", .fails([1]), open() + Make.window(1, 0)),
        WireCase("6.9 WINDOW_UPDATE of 3 bytes", .goAway(6), Make.frame(8, 0, 0, zeros(3))),
        WireCase("6.9.1 connection window over 2^31-1", .goAway(3), Make.window(0, 0x7FFF_FFFF)),
        WireCase("6.9.1 stream window over 2^31-1", .reset(3), open() + Make.window(1, 0x7FFF_FFFF)),
        WireCase(
            "6.9.2 SETTINGS take the window over 2^31-1", .fails([3]),
            open() + Make.window(1, 0x7000_0000) + Make.settings([(4, 0x7FFF_FFFF)])),
        WireCase("6.10 CONTINUATION after the end of a block", .goAway(1), get() + Make.frame(9, 4, 1)),
        WireCase("6.10 CONTINUATION on stream 0", .goAway(1), Make.frame(1, 1, 1) + Make.frame(9, 4, 0)),
        WireCase("6.10 CONTINUATION first", .goAway(1), Make.frame(9, 4, 1, Make.block(Make.get))),
    ]

    /// RFC 7541: what breaks the compression state breaks the connection.
    static let compression: [WireCase] = [
        WireCase("6.1 index 0", .goAway(9), Make.frame(1, 5, 1, [0x80])),
        WireCase("2.3.3 index beyond the tables", .goAway(9), Make.frame(1, 5, 1, [0xFF, 0x20])),
        WireCase("6.3 table size over the limit", .goAway(9), Make.frame(1, 5, 1, [0x3F, 0xE2, 0x1F])),
        WireCase("4.2 table size update at the end", .goAway(9), Make.frame(1, 5, 1, Make.block(Make.get) + [0x20])),
        WireCase("5.1 integer too long", .goAway(9), Make.frame(1, 5, 1, [0x7F] + Array(repeating: 0xFF, count: 12))),
        WireCase("5.2 literal cut off", .goAway(9), Make.frame(1, 5, 1, [0, 10, 0x61])),
        WireCase(
            "5.2 Huffman padding over 7 bits", .goAway(9),
            Make.frame(1, 5, 1, [0, 0x85, 0xF2, 0xB2, 0x4A, 0xFF, 0xFF, 0x01, 0x61])),
        WireCase("5.2 Huffman padding with zeros", .goAway(9), Make.frame(1, 5, 1, [0, 0x81, 0x18, 0x01, 0x61])),
        WireCase(
            "5.2 Huffman end of string", .goAway(9), Make.frame(1, 5, 1, [0, 0x84, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0x61])),
        WireCase(
            "C.4.1 Huffman request", .fine,
            Make.frame(
                1, 5, 1,
                [
                    0x82, 0x86, 0x84, 0x41, 0x8C, 0xF1, 0xE3, 0xC2, 0xE5, 0xF2, 0x3A, 0x6B, 0xA0, 0xAB, 0x90, 0xF4,
                    0xFF,
                ])),
    ]

    @Test(arguments: frames + compression) func leadsTo(_ wire: WireCase) {
        let side = Side.openServer()
        side.receive(wire.bytes)
        check(side, wire)
    }

    /// The same, whatever the pieces: byte by byte.
    @Test func splittingChangesNothing() {
        for wire in Self.frames + Self.compression where wire.bytes.count < 2000 {
            let side = Side.openServer()
            for byte in wire.bytes { side.receive([byte]) }
            check(side, wire)
        }
    }

    private func check(_ side: Side, _ wire: WireCase) {
        let frames = side.frames()
        let goAways = frames.filter { $0.type == 7 }.map { $0.number(at: 4) }
        let resets = frames.filter { $0.type == 3 }.map { $0.number() }
        switch wire.outcome {
        case .goAway(let codes):
            #expect(goAways.count == 1 && codes.contains(goAways[0]), "\(wire): \(goAways) \(resets)")
            #expect(side.session.isFinished, "\(wire): goes on")
        case .reset(let codes):
            #expect(resets.contains { codes.contains($0) } && goAways.isEmpty, "\(wire): \(goAways) \(resets)")
            #expect(!side.session.isFinished, "\(wire): is over")
        case .fails(let codes):
            #expect((goAways + resets).contains { codes.contains($0) }, "\(wire): \(goAways) \(resets)")
        case .fine:
            #expect(goAways.isEmpty && resets.isEmpty && side.session.failure == nil, "\(wire): \(goAways) \(resets)")
            side.receive(Make.ping(9))
            #expect(side.frames().contains { $0.type == 6 && $0.flags == 1 && $0.payload[0] == 9 }, "\(wire): dead")
        case .closed: #expect(goAways.isEmpty && side.session.isFinished, "\(wire): goes on")
        }
    }

    // MARK: The handshake (3.4)

    @Test func theServerSpeaksFirst() {
        let side = Side(.server)
        let frames = side.frames()
        #expect(frames.first?.type == 4 && frames.first?.flags == 0)
        #expect(frames.contains { $0.type == 8 && $0.stream == 0 }, "the connection's window is raised")
    }

    @Test func theClientBeginsWithThePreface() {
        let side = Side(.client)
        let bytes = side.transmit()
        #expect(Array(bytes.prefix(24)) == Make.preface)
        #expect(TestFrame.parse(Array(bytes.dropFirst(24))).frames.first?.type == 4)
    }

    @Test func wrongPrefaceEndsTheConnection() {
        for wrong in 0..<24 {
            let side = Side(.server)
            var bytes = Make.preface
            bytes[wrong] ^= 1
            side.receive(bytes + Make.settings())
            #expect(side.session.isFinished, "byte \(wrong)")
            #expect(side.session.failure == .protocolError)
        }
    }

    @Test func firstFrameMustBeSettings() {
        for first in [Make.ping(), Self.get(), Make.frame(4, 1)] {
            let side = Side(.server)
            side.receive(Make.preface + first)
            #expect(side.frames().contains { $0.type == 7 && $0.number(at: 4) == 1 })
        }
    }

    @Test func settingsAreAcknowledgedAndPingsAnswered() {
        let side = Side.openServer()
        side.receive(Make.settings([(3, 5)]) + Make.ping(7))
        let frames = side.frames()
        #expect(frames.contains { $0.type == 4 && $0.flags == 1 && $0.payload.isEmpty })
        #expect(frames.contains { $0.type == 6 && $0.flags == 1 && $0.payload == Array(repeating: 7, count: 8) })
    }

    @Test func streamsOverTheLimit() {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 2
        let side = Side(.server, limits: limits)
        side.receive(Make.preface + Make.settings())
        side.receive(Self.open(1) + Self.open(3) + Self.open(5))
        let early = side.frames()
        #expect(early.contains { $0.type == 3 && $0.stream == 5 && $0.number() == 7 }, "refused before acknowledgement")
        side.receive(Make.frame(4, 1) + Self.open(7))
        #expect(side.frames().contains { $0.type == 7 && $0.number(at: 4) == 1 }, "an error after it")
    }

    @Test func moreDataThanTheWindow() {
        let side = Side.openServer()
        side.consumes = false
        side.receive(Self.open())
        for _ in 0..<5 { side.receive(Make.data(1, 16_384)) }
        let frames = side.frames()
        #expect(frames.contains { ($0.type == 3 && $0.number() == 3) || ($0.type == 7 && $0.number(at: 4) == 3) })
        #expect(side.bodies[1]?.count ?? 0 <= 65_535)
    }
}
