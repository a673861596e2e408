import HTTP
import Primitives

/// Reads field lines (RFC 9112 §5) and what `Connection` says about them. Shared by requests, responses and trailers.
enum FieldParser {
    /// Reads field lines from `start` up to and with the empty line that ends them.
    ///
    /// - Returns: The offset after the empty line; nil if the view ends before it, and then `resume` is the start of
    ///   the first line that is not whole.
    static func parse(
        _ bytes: ByteView, from start: Int, limits: borrowing HTTPLimits, into fields: inout FieldTable,
        resume: inout Int
    ) throws(ParseFailure) -> Int? {
        var index = start
        while index < bytes.count, bytes.base[index] != Byte.cr {
            guard let next = try parseLine(bytes, at: index, limits: limits, into: &fields) else {
                resume = index
                return nil
            }
            index = next
        }
        resume = index
        return try LineScan.lineEnd(bytes, at: index) ? index &+ 2 : nil
    }

    /// Reads one field line; returns the offset after its line end, nil if the view ends before that.
    @inline(__always)
    static func parseLine(
        _ bytes: ByteView, at start: Int, limits: borrowing HTTPLimits, into fields: inout FieldTable
    ) throws(ParseFailure) -> Int? {
        let nameEnd = LineScan.endOfToken(bytes, from: start)
        let nameLength = nameEnd &- start
        guard nameLength <= limits.fieldNameBytes, nameLength <= Int(UInt16.max) else {
            throw ParseFailure(.fieldNameTooLong, offset: start)
        }
        guard nameEnd < bytes.count else { return nil }
        guard bytes.base[nameEnd] == Byte.colon, nameLength > 0 else {
            throw nameFailure(bytes.base[nameEnd], start: start, at: nameEnd)
        }
        // Nearly always one space before the value and none behind it: `plain` as long as nothing else is found.
        var valueStart = nameEnd &+ 1
        var isPlain = valueStart < bytes.count && bytes.base[valueStart] == Byte.space
        if isPlain { valueStart &+= 1 }
        while valueStart < bytes.count, isBlank(bytes.base[valueStart]) {
            valueStart &+= 1
            isPlain = false
        }
        let textEnd = LineScan.endOfText(bytes, from: valueStart)
        var valueEnd = textEnd
        while valueEnd > valueStart, isBlank(bytes.base[valueEnd &- 1]) {
            valueEnd &-= 1
            isPlain = false
        }
        let valueLength = valueEnd &- valueStart
        guard valueLength <= limits.fieldValueBytes else { throw ParseFailure(.fieldValueTooLong, offset: start) }
        guard try LineScan.lineEnd(bytes, at: textEnd) else { return nil }

        let known = KnownField.classify(ByteView(base: bytes.base + start, count: nameLength))
        let line = FieldLine(
            nameStart: UInt32(truncatingIfNeeded: start), valueStart: UInt32(truncatingIfNeeded: valueStart),
            valueLength: UInt32(truncatingIfNeeded: valueLength), nameLength: UInt16(truncatingIfNeeded: nameLength),
            known: known, isHopByHop: KnownFieldSet.hopByHop.contains(known), isPlain: isPlain)
        guard fields.append(line) else { throw ParseFailure(.tooManyFields, offset: start) }
        return textEnd &+ 2
    }

    /// What is wrong with a line whose name ends at `byte` instead of a colon.
    private static func nameFailure(_ byte: UInt8, start: Int, at index: Int) -> ParseFailure {
        let empty = index == start
        switch byte {
        case Byte.colon: return ParseFailure(.emptyFieldName, offset: index)
        case Byte.space, Byte.tab: return ParseFailure(empty ? .foldedLine : .whitespaceInFieldName, offset: index)
        case Byte.cr: return ParseFailure(.missingColon, offset: index)
        case ..<0x20, 0x7F: return ParseFailure(LineScan.lineFailure(byte), offset: index)
        default: return ParseFailure(.invalidFieldName, offset: index)
        }
    }

    @inline(__always)
    static func isBlank(_ byte: UInt8) -> Bool { byte == Byte.space || byte == Byte.tab }
}

/// What the `Connection` fields of a head say (RFC 9110 §7.6.1).
struct ConnectionOptions: OptionSet {
    let rawValue: UInt8
    static let close = ConnectionOptions(rawValue: 1)
    static let keepAlive = ConnectionOptions(rawValue: 2)
    static let upgrade = ConnectionOptions(rawValue: 4)

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Reads all `Connection` fields, and marks the fields they name as not to be forwarded.
    init(_ bytes: ByteView, fields: inout FieldTable, limit: Int) throws(ParseFailure) {
        self.rawValue = 0
        var left = limit
        var next = fields.firstIndex(of: .connection)
        while let index = next {
            var elements = ListElements(fields.value(index, in: bytes))
            while let option = elements.next() {
                guard left > 0 else {
                    throw ParseFailure(.tooManyConnectionOptions, offset: Int(fields[index].nameStart))
                }
                left -= 1
                take(option, bytes, &fields)
            }
            next = fields.nextIndex(of: .connection, from: index + 1)
        }
    }

    private mutating func take(_ option: ByteView, _ bytes: ByteView, _ fields: inout FieldTable) {
        switch option.count {
        case 5 where option.equalsIgnoringCase("close"): insert(.close)
        case 7 where option.equalsIgnoringCase("upgrade"): insert(.upgrade)
        case 10 where option.equalsIgnoringCase("keep-alive"): insert(.keepAlive)
        default: Self.drop(option, bytes, &fields)
        }
    }

    /// Marks the fields named `option`, except those that a client must not be able to take away.
    private static func drop(_ option: ByteView, _ bytes: ByteView, _ fields: inout FieldTable) {
        let known = KnownField.classify(option)
        if known != .other {
            if KnownFieldSet.undroppable.contains(known) { return }
        } else if FieldRules.isReserved(option) {
            return
        }
        guard fields.present.contains(known) else { return }
        for index in 0..<fields.count where fields[index].known == known {
            let isNamed = known != .other || option.matchesIgnoringCase(fields.name(index, in: bytes))
            if isNamed { fields.markHopByHop(index) }
        }
    }
}
