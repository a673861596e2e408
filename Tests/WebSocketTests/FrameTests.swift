import Primitives
import Testing

@testable import WebSocket

/// What comes: RFC 6455's examples, every broken frame with its code, and the same events however the bytes are cut.
@Suite struct FrameTests {
    /// RFC 6455 §5.7.
    @Test func examplesOfTheRFC() {
        let client = Side(.client(maskSeed: 1))
        client.receive([0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F])
        client.receive([0x01, 0x03, 0x48, 0x65, 0x6C])
        client.receive([0x80, 0x02, 0x6C, 0x6F])
        client.receive([0x89, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F])
        let short = (0..<256).map { UInt8($0) }
        client.receive([0x82, 0x7E, 0x01, 0x00] + short)
        let long = (0..<65_536).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        client.receive([0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0] + long)
        let hello = Array("Hello".utf8)
        #expect(
            client.told == [
                Told(.text, hello), Told(.text, hello), Told(.ping), Told(.binary, short), Told(.binary, long),
            ])
        let server = Side(.server)
        server.receive([0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58])
        server.receive([0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58])
        #expect(server.told == [Told(.text, hello), Told(.pong)])
        #expect(server.transmit().isEmpty)
    }

    struct Broken: CustomStringConvertible, Sendable {
        let description: String
        let bytes: [UInt8]
        let failure: WebSocketFailure
        let code: UInt16

        init(_ name: String, _ bytes: [UInt8], _ failure: WebSocketFailure, _ code: UInt16 = 1002) {
            (description, self.bytes, self.failure, self.code) = (name, bytes, failure, code)
        }
    }

    /// Frames of a client, to a server that takes messages of 300 bytes.
    static let broken: [Broken] = {
        let key = Wire.key
        var list = [
            Broken("unmasked data", Wire.frame(2, [1, 2]), .unmasked),
            Broken("unmasked ping", Wire.frame(9), .unmasked),
            Broken("unmasked Close", Wire.close(1000), .unmasked),
            Broken("fragmented ping", Wire.frame(9, final: false, mask: key), .fragmentedControl),
            Broken("fragmented Close", Wire.frame(8, final: false, mask: key), .fragmentedControl),
            Broken("long ping", Wire.head(9, 126, mask: key), .controlTooLong),
            Broken("continuation of nothing", Wire.frame(0, [1], mask: key), .unexpectedContinuation),
            Broken(
                "continuation after the end", Wire.frame(2, [1], mask: key) + Wire.frame(0, [1], mask: key),
                .unexpectedContinuation),
            Broken(
                "new message within one", Wire.frame(2, [1], final: false, mask: key) + Wire.frame(2, [1], mask: key),
                .unfinishedMessage),
            Broken("126 for 125", [0x82, 0xFE, 0, 125] + key, .invalidLength),
            Broken("127 for 65535", [0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF] + key, .invalidLength),
            Broken("2^63", [0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0] + key, .invalidLength),
            Broken("all ones", [0x82, 0xFF] + [UInt8](repeating: 0xFF, count: 8) + key, .invalidLength),
            Broken("Close of one byte", Wire.frame(8, [3], mask: key), .closeTooShort),
            Broken("301 bytes announced", Wire.head(2, 301, mask: key), .messageTooBig, 1009),
            Broken("2^62 bytes", [0x82, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0] + key, .messageTooBig, 1009),
            Broken(
                "200 + 101 bytes",
                Wire.frame(2, [UInt8](repeating: 1, count: 200), final: false, mask: key)
                    + Wire.head(0, 101, mask: key), .messageTooBig, 1009),
            Broken(
                "2 + 2^62 bytes",
                Wire.frame(2, [1, 2], final: false, mask: key) + [0x80, 0xFF, 0x7F]
                    + [UInt8](repeating: 0xFF, count: 7),
                .messageTooBig, 1009),
            Broken("text that is not UTF-8", Wire.frame(1, [0x61, 0xFF], mask: key), .invalidText, 1007),
            Broken("text that ends within a character", Wire.frame(1, [0xE2, 0x82], mask: key), .invalidText, 1007),
            Broken("a surrogate", Wire.frame(1, [0xED, 0xA0, 0x80], mask: key), .invalidText, 1007),
            Broken(
                "not UTF-8 over two fragments",
                Wire.frame(1, [0xE2], final: false, mask: key) + Wire.frame(0, [0x41], mask: key), .invalidText, 1007),
            Broken("reason that is not UTF-8", Wire.frame(8, [3, 0xE8, 0xFF], mask: key), .invalidText, 1007),
        ]
        for bit in [1, 2, 4] as [UInt8] {
            list.append(Broken("reserved bit \(bit)", Wire.frame(2, mask: key, reserved: bit), .reservedBits))
            list.append(Broken("reserved bit \(bit) in a ping", Wire.frame(9, mask: key, reserved: bit), .reservedBits))
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] as [UInt8] {
            list.append(Broken("opcode \(opcode)", Wire.frame(opcode, mask: key), .unknownOpcode(opcode)))
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] as [UInt16] {
            list.append(Broken("code \(code)", Wire.close(code, mask: key), .invalidCloseCode(code)))
        }
        return list
    }()

    /// A good message first, the broken frame whole, byte by byte, and in two pieces cut anywhere; what follows is not
    /// read. The last word is a Close frame with the failure's code.
    @Test(arguments: broken) func brokenFramesEndWithTheirCode(_ broken: Broken) throws {
        var limits = WebSocketLimits()
        limits.messageBytes = 300
        let before = Wire.frame(2, [9], mask: Wire.key)
        let after = Wire.frame(2, [8], mask: Wire.key)
        for cut in 0...broken.bytes.count {
            let side = Side(.server, limits)
            side.receive(before)
            if cut == 0 {
                for byte in broken.bytes + after { side.receive([byte]) }
            } else {
                side.receive(Array(broken.bytes[..<cut]))
                side.receive(Array(broken.bytes[cut...]) + after)
            }
            #expect(side.told.first == Told(.binary, [9]), "cut at \(cut)")
            #expect(side.told.last == Told(.failed(broken.failure)), "cut at \(cut)")
            #expect(!side.told.contains(Told(.binary, [8])), "what follows is not read")
            let sent = side.transmit()
            #expect(sent.count >= 4 && sent[0] == 0x88 && Int(sent[1]) == sent.count - 2, "cut at \(cut)")
            #expect(UInt16(sent[2]) << 8 | UInt16(sent[3]) == broken.code)
            let reason = String(validating: sent[4...], as: UTF8.self)
            let isWslays = broken.failure == .invalidText && reason == ""
            #expect(reason == broken.failure.description || isWslays, "cut at \(cut)")
            #expect(side.session.isFinished && !side.send([1]))
        }
    }

    @Test func aServerMustNotMask() {
        let side = Side(.client(maskSeed: 1))
        side.receive(Wire.frame(2, [1], mask: Wire.key))
        #expect(side.told == [Told(.failed(.masked))])
    }

    @Test(arguments: [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999] as [UInt16])
    func closeCodesPass(_ code: UInt16) {
        let side = Side(.client(maskSeed: 3))
        side.receive(Wire.close(code, "Restarting"))
        #expect(side.told == [Told(.closed(WebSocketCloseCode(rawValue: code), reason: "Restarting"))])
        let echo = side.transmit()
        #expect(echo.count == 8 && echo[0] == 0x88 && echo[1] == 0x82)
        #expect([echo[6] ^ echo[2], echo[7] ^ echo[3]] == [UInt8(code >> 8), UInt8(code & 255)])
        #expect(side.session.isFinished)
    }

    @Test func closeWithoutCode() {
        let side = Side(.server)
        side.receive(Wire.close(nil, mask: Wire.key))
        #expect(side.told == [Told(.closed(nil, reason: ""))] && side.transmit() == [0x88, 0])
    }

    /// Random frames, mostly right, in random pieces: the events are those of the whole.
    @Test func anyCutGivesTheSameEvents() {
        var limits = WebSocketLimits()
        limits.messageBytes = 4096
        var kinds: Set<String> = []
        for seed in 0..<200 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            let role: WebSocketSession.Role = seed % 2 == 0 ? .server : .client(maskSeed: seed)
            let bytes = script(&random, masked: role == .server)
            let whole = Side(role, limits)
            whole.receive(bytes)
            let sent = whole.transmit()
            for longest in [bytes.count < 2000 ? 1 : 11, 3, 17, 5000] {
                let side = Side(role, limits)
                side.receive(bytes, longest: longest, &random)
                #expect(side.told == whole.told, "seed \(seed), pieces of at most \(longest)")
                #expect(side.transmit(room: 1 + longest) == sent, "seed \(seed), pieces of at most \(longest)")
            }
            for told in whole.told { kinds.insert(String("\(told.event)".prefix { $0 != "(" })) }
        }
        #expect(kinds == ["text", "binary", "ping", "pong", "closed", "failed"], "the script makes all of them")
    }

    /// A few messages in fragments with control frames between, and perhaps something wrong or a Close frame at the
    /// end.
    private func script(_ random: inout SeededRandom, masked: Bool) -> [UInt8] {
        var bytes: [UInt8] = []
        let sizes = [0, 1, 2, 124, 125, 126, 127, 300, 4096, 4097]
        for _ in 0..<Int.random(in: 1...6, using: &random) {
            let isText = random.next() % 3 == 0
            let count = sizes.randomElement(using: &random) ?? 0
            let payload =
                isText ? Array(String(repeating: "aé€😀", count: count / 10).utf8) : (0..<count).map { UInt8($0 & 255) }
            bytes += message(isText ? 1 : 2, payload, &random, masked)
        }
        let mask = masked ? Wire.key : nil
        switch random.next() % 6 {
        case 0: bytes += Wire.close(1012, "Restarting", mask: mask)
        case 1: bytes += Wire.frame(3, mask: mask)
        case 2: bytes += Wire.frame(1, [0xC0, 0xAF], mask: mask)
        case 3: bytes += Wire.frame(2, mask: masked ? nil : Wire.key)
        case 4: bytes += (0..<64).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        default: break
        }
        return bytes
    }

    private func message(_ opcode: UInt8, _ payload: [UInt8], _ random: inout SeededRandom, _ masked: Bool) -> [UInt8] {
        var bytes: [UInt8] = [], start = 0, kind = opcode
        func mask(_ random: inout SeededRandom) -> [UInt8]? {
            masked ? (0..<4).map { _ in UInt8(truncatingIfNeeded: random.next()) } : nil
        }
        while random.next() % 3 != 0, start < payload.count {
            let end = Int.random(in: start...payload.count, using: &random)
            bytes += Wire.frame(kind, Array(payload[start..<end]), final: false, mask: mask(&random))
            if random.next() % 2 == 0 {
                let control = [UInt8](repeating: 7, count: Int(random.next() % 126))
                bytes += Wire.frame(random.next() % 2 == 0 ? 9 : 10, control, mask: mask(&random))
            }
            (start, kind) = (end, 0)
        }
        return bytes + Wire.frame(kind, Array(payload[start...]), mask: mask(&random))
    }

    /// Anything at all: no trap, at most one last event.
    @Test func noise() {
        for seed in 0..<800 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            let side = Side(seed % 2 == 0 ? .server : .client(maskSeed: seed))
            var bytes = script(&random, masked: seed % 2 == 0)
            for _ in 0..<Int(random.next() % 8) where !bytes.isEmpty {
                bytes[Int(random.next() % UInt64(min(bytes.count, 200)))] ^= UInt8(1 << (random.next() % 8))
            }
            side.receive(bytes, longest: 1 + Int(random.next() % 300), &random)
            let ends = side.told.count {
                if case .failed = $0.event { true } else if case .closed = $0.event { true } else { false }
            }
            #expect(ends <= 1, "seed \(seed)")
            _ = side.transmit(room: 1 + Int(random.next() % 100))
            #expect(side.session.isFinished == (ends == 1), "seed \(seed)")
        }
    }
}
