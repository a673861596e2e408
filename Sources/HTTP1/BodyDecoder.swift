import HTTP
import Primitives

/// What `BodyDecoder.next` found.
public enum BodyStep: Equatable, Sendable {
    /// Bytes of the body, as offsets into the input. Never empty. They may be forwarded uncopied.
    case body(Range<Int>)
    /// Nothing more without more input.
    case needMore
    /// A trailer section with at least one field, each line with its line end, without the final empty line: one
    /// contiguous range for `FieldTable.parseTrailers`. `.end` follows.
    case trailers(Range<Int>)
    /// The message is over; what stands at the cursor belongs to the next one.
    case end
}

/// Finds the body of a message in its bytes (RFC 9112 §6, §7). Trivial, pure, allocates nothing.
///
/// Call `next` again and again until it says `needMore` or `end`. Chunk sizes and extensions are consumed byte by byte;
/// only an incomplete trailer section stays in the input: then `next` says `needMore`, the cursor stands at its first
/// byte, and the caller keeps the bytes from there and hands them in again with more behind.
public struct BodyDecoder: Sendable {
    enum State: Equatable, Sendable {
        case length(left: UInt64)
        case untilClose
        case chunk(ChunkHead)
        case data(left: UInt64)
        case dataCR, dataLF
        case trailers(scanned: Int)
        case afterTrailers
        case done
    }

    private(set) var state: State
    private let extensionLimit: Int
    private let trailerLimit: Int

    /// A decoder at the first byte after the head.
    public init(_ framing: BodyFraming, limits: HTTPLimits) {
        extensionLimit = limits.chunkExtensionBytes
        trailerLimit = limits.trailerBytes
        switch framing {
        case .none, .length(0): state = .done
        case .length(let count): state = .length(left: count)
        case .chunked: state = .chunk(ChunkHead())
        case .untilClose: state = .untilClose
        }
    }

    /// Whether the whole message has been consumed. True from the last body byte on if the length was known.
    @inlinable
    public var isComplete: Bool { isDone }

    @usableFromInline var isDone: Bool { state == .done }

    /// How many body bytes are still to come if `Content-Length` says so; nil in other framings, 0 once complete.
    public var remaining: UInt64? {
        switch state {
        case .length(let left): left
        case .done: 0
        case .untilClose, .chunk, .data, .dataCR, .dataLF, .trailers, .afterTrailers: nil
        }
    }

    /// The peer has closed its side. Returns whether the message is whole: always with `.untilClose`, else only if it
    /// had ended; false means that it was cut off and must not pass for a whole one (RFC 9112 §8).
    public mutating func finish() -> Bool {
        if state == .untilClose { state = .done }
        return isDone
    }

    /// Consumes `input` from `cursor` up to the next step.
    ///
    /// - Throws: The broken rule, with its offset in `input`. The end of the message is lost: close the connection.
    public mutating func next(_ input: ByteView, _ cursor: inout Int) throws(ParseFailure) -> BodyStep {
        precondition(cursor >= 0 && cursor <= input.count, "BodyDecoder: cursor out of range")
        while true {
            switch state {
            case .done: return .end
            case .afterTrailers: state = .done
            case .length(let left):
                guard cursor < input.count else { return .needMore }
                let range = take(left, input, &cursor)
                let rest = left - UInt64(range.count)
                state = rest == 0 ? .done : .length(left: rest)
                return .body(range)
            case .untilClose:
                guard cursor < input.count else { return .needMore }
                return .body(take(.max, input, &cursor))
            case .data(let left):
                guard cursor < input.count else { return .needMore }
                let range = take(left, input, &cursor)
                let rest = left - UInt64(range.count)
                state = rest == 0 ? .dataCR : .data(left: rest)
                return .body(range)
            case .trailers(let scanned): return try nextTrailers(input, &cursor, scanned: scanned)
            case .chunk, .dataCR, .dataLF:
                guard cursor < input.count else { return .needMore }
                state = try afterByte(input.base[cursor], offset: cursor)
                cursor &+= 1
            }
        }
    }

    /// The rest of a body whose length is known, if all of it stands in `input` from `cursor` on: what `next` would say
    /// in two steps, of which the second is the end. Nil, and nothing done, in any other case.
    public mutating func takeRest(_ input: ByteView, _ cursor: inout Int) -> Range<Int>? {
        precondition(cursor >= 0 && cursor <= input.count, "BodyDecoder: cursor out of range")
        guard case .length(let left) = state, left <= UInt64(input.count &- cursor) else { return nil }
        let range = take(left, input, &cursor)
        state = .done
        return range
    }

    /// Takes up to `left` bytes at the cursor.
    private func take(_ left: UInt64, _ input: ByteView, _ cursor: inout Int) -> Range<Int> {
        let start = cursor
        cursor &+= Int(truncatingIfNeeded: min(left, UInt64(input.count &- start)))
        return start..<cursor
    }

    /// The state after one byte of chunk framing.
    private func afterByte(_ byte: UInt8, offset: Int) throws(ParseFailure) -> State {
        switch state {
        case .chunk(var head):
            guard try head.take(byte, offset: offset, extensionLimit: extensionLimit) else { return .chunk(head) }
            return head.size == 0 ? .trailers(scanned: 0) : .data(left: head.size)
        case .dataCR:
            guard byte == Byte.cr else { throw ParseFailure(.invalidChunkEnd, offset: offset) }
            return .dataLF
        case .dataLF:
            guard byte == Byte.lf else { throw ParseFailure(.invalidChunkEnd, offset: offset) }
            return .chunk(ChunkHead())
        case .length, .untilClose, .data, .trailers, .afterTrailers, .done: return state
        }
    }

    /// Looks for the end of the trailer section, which begins at the cursor. `scanned` counts from there.
    private mutating func nextTrailers(
        _ input: ByteView, _ cursor: inout Int, scanned: Int
    ) throws(ParseFailure) -> BodyStep {
        let section = input.dropping(first: cursor)
        if section.isEmpty { return .needMore }
        if section.base[0] == Byte.cr {
            guard section.count > 1 else { return .needMore }
            guard section.base[1] == Byte.lf else { throw ParseFailure(.bareCR, offset: cursor) }
            cursor &+= 2
            state = .done
            return .end
        }
        // Through a window of the limit, so that it bites at the same byte however the section arrives.
        let window = section.count > trailerLimit ? section[0..<trailerLimit] : section
        var scanned = min(scanned, window.count)
        do throws(ParseFailure) {
            guard let end = try LineScan.endOfBlock(window, scanned: &scanned) else {
                guard window.count < trailerLimit else { throw ParseFailure(.trailersTooLarge, offset: 0) }
                state = .trailers(scanned: scanned)
                return .needMore
            }
            let fields = cursor..<cursor &+ end &- 2
            cursor &+= end
            state = .afterTrailers
            return .trailers(fields)
        } catch {
            throw ParseFailure(error.reason, offset: cursor &+ error.offset)
        }
    }
}

/// The line before each chunk: size, extensions, line end (RFC 9112 §7.1).
///
/// Hexadecimal digits only, at most sixteen; no sign, prefix or white space anywhere outside quotes. Extensions are
/// checked by their grammar and then ignored, since what is forwarded is chunked anew.
struct ChunkHead: Equatable, Sendable {
    enum Place: UInt8, Equatable, Sendable {
        case size, name, firstOfName, value, firstOfValue, quoted, escaped, afterQuoted, lineFeed
    }

    private(set) var size: UInt64 = 0
    private var place = Place.size
    private var digits: UInt8 = 0
    private var extensionBytes: Int32 = 0

    /// Takes the next byte. Returns whether the line ended with it.
    mutating func take(_ byte: UInt8, offset: Int, extensionLimit: Int) throws(ParseFailure) -> Bool {
        switch place {
        case .size: try takeSize(byte, offset: offset)
        case .lineFeed:
            guard byte == Byte.lf else { throw ParseFailure(.bareCR, offset: offset) }
            return true
        case .name, .firstOfName, .value, .firstOfValue, .quoted, .escaped, .afterQuoted:
            guard let next = Self.after(byte, in: place) else {
                throw ParseFailure(byte == Byte.lf ? .bareLF : .invalidChunkExtension, offset: offset)
            }
            place = next
        }
        if place != .size, place != .lineFeed {
            extensionBytes &+= 1
            guard Int(extensionBytes) <= extensionLimit else {
                throw ParseFailure(.chunkExtensionTooLong, offset: offset)
            }
        }
        return false
    }

    private mutating func takeSize(_ byte: UInt8, offset: Int) throws(ParseFailure) {
        if let digit = ASCII.hexValue(byte) {
            guard digits < 16, size <= HTTPLimits.maximumBodyBytes >> 4 else {
                throw ParseFailure(.chunkSizeOverflow, offset: offset)
            }
            size = size << 4 | UInt64(digit)
            digits += 1
            guard size <= HTTPLimits.maximumBodyBytes else { throw ParseFailure(.chunkSizeOverflow, offset: offset) }
            return
        }
        guard digits > 0 else { throw ParseFailure(.invalidChunkSize, offset: offset) }
        switch byte {
        case Byte.cr: place = .lineFeed
        case UInt8(ascii: ";"): place = .firstOfName
        case Byte.lf: throw ParseFailure(.bareLF, offset: offset)
        default: throw ParseFailure(.invalidChunkSize, offset: offset)
        }
    }

    /// The place after `byte` inside an extension; nil if the byte may not stand there.
    private static func after(_ byte: UInt8, in place: Place) -> Place? {
        switch place {
        case .firstOfName: return ByteClass.isToken(byte) ? .name : nil
        case .name: return ByteClass.isToken(byte) ? .name : byte == UInt8(ascii: "=") ? .firstOfValue : ended(byte)
        case .firstOfValue: return byte == UInt8(ascii: "\"") ? .quoted : ByteClass.isToken(byte) ? .value : nil
        case .value: return ByteClass.isToken(byte) ? .value : ended(byte)
        case .quoted:
            if byte == UInt8(ascii: "\"") { return .afterQuoted }
            if byte == UInt8(ascii: "\\") { return .escaped }
            return ByteClass.isFieldValue(byte) ? .quoted : nil
        case .escaped: return ByteClass.isFieldValue(byte) ? .quoted : nil
        case .afterQuoted: return ended(byte)
        case .size, .lineFeed: return nil
        }
    }

    private static func ended(_ byte: UInt8) -> Place? {
        byte == Byte.cr ? .lineFeed : byte == UInt8(ascii: ";") ? .firstOfName : nil
    }
}
