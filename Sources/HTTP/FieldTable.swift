import Primitives

/// Where one field line lies in the buffer that holds its head: 16 bytes, trivial.
public struct FieldLine: Sendable {
    /// What parsing found out about the line.
    public struct Flags: OptionSet, Sendable {
        /// The bits.
        public let rawValue: UInt8
        /// The set with these bits.
        @inlinable
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// Not to be forwarded.
        public static var hopByHop: Flags {
            @inlinable get { Flags(rawValue: 1) }
        }
        /// Written `Name: value` CR LF with exactly that white space, so the line may be copied as it stands.
        public static var plain: Flags {
            @inlinable get { Flags(rawValue: 2) }
        }
    }

    /// Offset of the first byte of the name, which is also the first of the line.
    public var nameStart: UInt32
    /// Offset of the first byte of the value, after white space.
    public var valueStart: UInt32
    /// Bytes of the value without the white space around it.
    public var valueLength: UInt32
    /// Bytes of the name.
    public var nameLength: UInt16
    /// Which known field it is.
    public var known: KnownField
    /// What parsing found out.
    public var flags: Flags

    /// A line of these parts.
    @inlinable @inline(__always)
    public init(
        nameStart: UInt32, valueStart: UInt32, valueLength: UInt32, nameLength: UInt16, known: KnownField,
        isHopByHop: Bool, isPlain: Bool
    ) {
        self.nameStart = nameStart
        self.valueStart = valueStart
        self.valueLength = valueLength
        self.nameLength = nameLength
        self.known = known
        self.flags = Flags(rawValue: (isHopByHop ? 1 : 0) | (isPlain ? 2 : 0))
    }

    /// Whether the line must not be forwarded: a field of the connection, one that `Connection` names, or one that may
    /// not stand where it stood.
    @inlinable
    public var isHopByHop: Bool { flags.contains(.hopByHop) }

    /// Whether the line may be copied as it stands, up to and with its line end.
    @inlinable
    public var isPlain: Bool { flags.contains(.plain) }

    /// The bytes of the name, as offsets.
    @inlinable
    public var nameRange: Range<Int> { Int(nameStart)..<Int(nameStart) &+ Int(nameLength) }

    /// The bytes of the value, as offsets.
    @inlinable
    public var valueRange: Range<Int> { Int(valueStart)..<Int(valueStart) &+ Int(valueLength) }
}

/// The field lines of one head or trailer section, as offsets into the buffer that holds the bytes.
///
/// The memory is taken once by `init`; filling it again allocates nothing. Owned by one worker. The bytes are handed in
/// at each use, so the table stays valid when its buffer moves.
public struct FieldTable: ~Copyable {
    @usableFromInline let lines: UnsafeMutablePointer<FieldLine>
    /// How many lines fit.
    public let capacity: Int
    @usableFromInline var used = 0
    @usableFromInline var presentBits: UInt64 = 0
    @usableFromInline var repeatedBits: UInt64 = 0

    /// An empty table for at most `capacity` lines, at least one.
    public init(capacity: Int) {
        self.capacity = max(1, capacity)
        self.lines = .allocate(capacity: self.capacity)
    }

    deinit { lines.deallocate() }

    /// How many lines there are.
    @inlinable
    public var count: Int { used }

    /// The known fields that occur at least once. `.other` is in it if any unknown field occurs.
    @inlinable
    public var present: KnownFieldSet { KnownFieldSet(rawValue: presentBits) }

    /// The known fields that occur more than once.
    @inlinable
    public var repeated: KnownFieldSet { KnownFieldSet(rawValue: repeatedBits) }

    /// The line at `index`, which must be in `0..<count`.
    @inlinable
    public subscript(index: Int) -> FieldLine {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: used), "FieldTable: index out of range")
        return lines[index]
    }

    /// The name of line `index` in `bytes`, the view that was parsed.
    @inlinable
    public func name(_ index: Int, in bytes: ByteView) -> ByteView { bytes[self[index].nameRange] }

    /// The value of line `index` in `bytes`, the view that was parsed.
    @inlinable
    public func value(_ index: Int, in bytes: ByteView) -> ByteView { bytes[self[index].valueRange] }

    /// The first line of a known field; nil if it does not occur.
    @inlinable
    public func firstIndex(of field: KnownField) -> Int? {
        guard present.contains(field) else { return nil }
        return nextIndex(of: field, from: 0)
    }

    /// The first line of a known field at or after `start`; nil if there is none.
    @inlinable
    public func nextIndex(of field: KnownField, from start: Int) -> Int? {
        var index = max(0, start)
        while index < used {
            if lines[index].known == field { return index }
            index &+= 1
        }
        return nil
    }

    /// The first line with this name, given in lower case; nil if there is none. For fields that are not known ones.
    public func firstIndex(named lowercase: StaticString, in bytes: ByteView) -> Int? {
        for index in 0..<used where name(index, in: bytes).equalsIgnoringCase(lowercase) { return index }
        return nil
    }

    /// Appends a line. False if the table is full.
    @inlinable @inline(__always)
    public mutating func append(_ line: FieldLine) -> Bool {
        guard used < capacity else { return false }
        (lines + used).initialize(to: line)
        used &+= 1
        let bit: UInt64 = 1 &<< UInt64(line.known.rawValue)
        repeatedBits |= presentBits & bit
        presentBits |= bit
        return true
    }

    /// Says that line `index` must not be forwarded.
    @inlinable
    public mutating func markHopByHop(_ index: Int) {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: used), "FieldTable: index out of range")
        lines[index].flags.insert(.hopByHop)
    }

    /// Forgets all lines; keeps the memory.
    @inlinable
    public mutating func removeAll() {
        used = 0
        presentBits = 0
        repeatedBits = 0
    }
}
