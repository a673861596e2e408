import Primitives

/// The head of a frame (RFC 6455 §5.2).
struct FrameHead: Equatable {
    static let continuation: UInt8 = 0
    static let close: UInt8 = 8
    static let ping: UInt8 = 9

    var opcode: UInt8 = 0
    var isFinal = false
    var isMasked = false
    var payloadBytes: UInt64 = 0

    var isControl: Bool { opcode & 8 != 0 }
    /// Whether it brings its message no further.
    var isIdle: Bool { isControl || (payloadBytes == 0 && !isFinal) }
}

/// Cuts what the peer sends into frames, and checks the head of each before wslay sees any of it: wslay answers most
/// broken heads with a Close frame that names no code.
///
/// Heads and control frames are handed on whole however the bytes came, payloads of data frames as they come.
struct FrameScanner {
    enum Piece: Equatable {
        /// All bytes are taken.
        case needMore
        /// A whole control frame, in `held`.
        case control
        /// The head of a data frame, in `held`.
        case head
        /// Payload of the present data frame: a range of the bytes.
        case payload(Range<Int>)
        /// A broken rule. Nothing can be read after it.
        case broken(WebSocketFailure)
    }

    private let expectsMask: Bool
    private let messageLimit: UInt64
    /// Bytes of the frame that stands in `held`, or whose payload is passing.
    private(set) var head = FrameHead()
    /// A head, or a control frame. At most 14, or 131 bytes.
    private(set) var held: [UInt8] = []
    private var isHandedOn = false
    /// Payload of the present data frame that has not come yet.
    private var left: UInt64 = 0
    /// Whether a message in fragments has begun, and the bytes that its frames have announced so far.
    private var isInMessage = false
    private var messageBytes: UInt64 = 0

    init(expectsMask: Bool, messageLimit: Int) {
        self.expectsMask = expectsMask
        self.messageLimit = UInt64(max(0, messageLimit))
        held.reserveCapacity(131)
    }

    /// The next piece of `bytes` from `cursor` on.
    mutating func next(_ bytes: ByteView, _ cursor: inout Int) -> Piece {
        if left > 0 { return payload(bytes, &cursor) }
        if isHandedOn {
            held.removeAll(keepingCapacity: true)
            isHandedOn = false
        }
        while cursor < bytes.count {
            held.append(bytes[cursor])
            cursor += 1
            if let failure = check() { return .broken(failure) }
            guard held.count >= 2, held.count == wanted else { continue }
            isHandedOn = true
            if head.isControl { return .control }
            beginPayload()
            return .head
        }
        return .needMore
    }

    private mutating func payload(_ bytes: ByteView, _ cursor: inout Int) -> Piece {
        let taken = Int(min(left, UInt64(bytes.count - cursor)))
        guard taken > 0 else { return .needMore }
        left -= UInt64(taken)
        cursor += taken
        return .payload(cursor - taken..<cursor)
    }

    private mutating func beginPayload() {
        left = head.payloadBytes
        messageBytes = head.isFinal ? 0 : messageBytes + left
        isInMessage = !head.isFinal
    }

    /// The mask and the payload of the control frame in `held`.
    var controlPayload: [UInt8] {
        assert(head.isControl && isHandedOn)
        guard head.isMasked else { return Array(held.dropFirst(2)) }
        return held.dropFirst(6).enumerated().map { $0.element ^ held[2 + $0.offset & 3] }
    }

    /// Bytes of the length behind the second byte.
    private var lengthBytes: Int {
        switch held[1] & 0x7F {
        case 126: 2
        case 127: 8
        default: 0
        }
    }

    /// Bytes of what is held when it is complete.
    private var wanted: Int {
        2 + lengthBytes + (head.isMasked ? 4 : 0) + (head.isControl ? Int(head.payloadBytes) : 0)
    }

    /// What is wrong, as soon as it can be seen.
    private mutating func check() -> WebSocketFailure? {
        guard held.count >= 2 else { return nil }
        if held.count == 2 {
            readStart()
            if let failure = startFailure() { return failure }
        }
        guard held.count == 2 + lengthBytes else { return nil }
        return lengthBytes > 0 || !head.isControl ? readLength() : nil
    }

    private mutating func readStart() {
        head = FrameHead(
            opcode: held[0] & 15, isFinal: held[0] & 0x80 != 0, isMasked: held[1] & 0x80 != 0,
            payloadBytes: UInt64(held[1] & 0x7F))
    }

    private func startFailure() -> WebSocketFailure? {
        guard held[0] & 0x70 == 0 else { return .reservedBits }
        guard [0, 1, 2, 8, 9, 10].contains(head.opcode) else { return .unknownOpcode(head.opcode) }
        guard head.isMasked == expectsMask else { return expectsMask ? .unmasked : .masked }
        guard !head.isControl else {
            guard head.isFinal else { return .fragmentedControl }
            guard head.payloadBytes <= 125 else { return .controlTooLong }
            return head.opcode == FrameHead.close && head.payloadBytes == 1 ? .closeTooShort : nil
        }
        if head.opcode == FrameHead.continuation { return isInMessage ? nil : .unexpectedContinuation }
        return isInMessage ? .unfinishedMessage : nil
    }

    private mutating func readLength() -> WebSocketFailure? {
        if lengthBytes > 0 {
            var length: UInt64 = 0
            for byte in held[2..<2 + lengthBytes] { length = length << 8 | UInt64(byte) }
            guard length >= (lengthBytes == 2 ? 126 : 65_536), length < 1 << 63 else { return .invalidLength }
            head.payloadBytes = length
        }
        let (total, isHuge) = messageBytes.addingReportingOverflow(head.payloadBytes)
        return isHuge || total > messageLimit ? .messageTooBig : nil
    }
}
