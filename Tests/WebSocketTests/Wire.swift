import Primitives

@testable import WebSocket

/// Frames as they stand on the wire, written by hand so that nothing of what is tested is used.
enum Wire {
    static let key: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]

    /// A frame. `mask` nil is a server's.
    static func frame(
        _ opcode: UInt8, _ payload: [UInt8] = [], final: Bool = true, mask: [UInt8]? = nil, reserved: UInt8 = 0
    ) -> [UInt8] {
        head(opcode, payload.count, final: final, mask: mask, reserved: reserved)
            + payload.enumerated().map { index, byte in mask.map { byte ^ $0[index % 4] } ?? byte }
    }

    /// The head of a frame of so many bytes, in the shortest form.
    static func head(
        _ opcode: UInt8, _ count: Int, final: Bool = true, mask: [UInt8]? = nil, reserved: UInt8 = 0
    ) -> [UInt8] {
        var bytes = [(final ? 0x80 : 0) | reserved << 4 | opcode]
        let bit: UInt8 = mask == nil ? 0 : 0x80
        switch count {
        case ..<126: bytes.append(bit | UInt8(count))
        case ..<65_536: bytes += [bit | 126, UInt8(count >> 8), UInt8(count & 255)]
        default: bytes += [bit | 127] + (0..<8).map { UInt8(truncatingIfNeeded: count >> (56 - 8 * $0)) }
        }
        return bytes + (mask ?? [])
    }

    /// A Close frame.
    static func close(_ code: UInt16?, _ reason: String = "", mask: [UInt8]? = nil) -> [UInt8] {
        frame(8, (code.map { [UInt8($0 >> 8), UInt8($0 & 255)] } ?? []) + Array(reason.utf8), mask: mask)
    }
}

/// What a session told, with the message.
struct Told: Equatable, CustomStringConvertible {
    var event: WebSocketEvent
    var message: [UInt8] = []

    init(_ event: WebSocketEvent, _ message: [UInt8] = []) { (self.event, self.message) = (event, message) }

    var description: String { "\(event) \(message.count) \(message.prefix(8))" }
}

/// A session with what it told and sent.
final class Side {
    let session: WebSocketSession
    var told: [Told] = []
    var now = Instant(nanoseconds: 1)

    init(_ role: WebSocketSession.Role, _ limits: WebSocketLimits = WebSocketLimits()) {
        guard let made = WebSocketSession(role, limits: limits, now: now) else { preconditionFailure("no memory") }
        session = made
    }

    /// Takes `bytes` at once, and all events.
    func receive(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { whole in
            var rest = ByteView(whole)
            while !rest.isEmpty {
                let taken = session.receive(rest, now: now)
                rest = rest.dropping(first: taken)
                drain()
            }
        }
    }

    /// Takes `bytes` in pieces of at most `longest` bytes.
    func receive(_ bytes: [UInt8], longest: Int, _ random: inout SeededRandom) {
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, start + Int.random(in: 1...longest, using: &random))
            receive(Array(bytes[start..<end]))
            start = end
        }
    }

    func drain() {
        while let event = session.nextEvent() {
            let isMessage = event == .text || event == .binary
            told.append(
                Told(
                    event,
                    isMessage ? session.withMessage { Array(UnsafeBufferPointer(start: $0.base, count: $0.count)) } : []
                ))
        }
    }

    /// All that it wants to send, in steps of `room` bytes.
    func transmit(room: Int = 1000) -> [UInt8] {
        var all: [UInt8] = []
        while session.wantsTransmit {
            let step = [UInt8](unsafeUninitializedCapacity: room) { place, count in
                var writer = ByteWriter(UnsafeMutableRawBufferPointer(place))
                session.transmit(into: &writer)
                count = writer.count
            }
            guard !step.isEmpty else { break }
            all += step
        }
        drain()
        return all
    }

    func send(_ bytes: [UInt8]) -> Bool { bytes.withUnsafeBytes { session.send(binary: ByteView($0)) } }
    func send(text: String) -> Bool { Array(text.utf8).withUnsafeBytes { session.send(text: ByteView($0)) } }
}
