#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A piece of pooled memory that holds bytes between a start and an end: read at the front, filled at the back.
///
/// Belongs to the worker whose pool it came from and must be given back there.
@frozen
public struct Buffer: ~Copyable {
    /// First byte of the memory.
    public let memory: UnsafeMutablePointer<UInt8>
    /// Size of the memory in bytes, one of the pool's classes.
    public let capacity: Int
    /// Where the held bytes start.
    public internal(set) var start = 0
    /// Where the held bytes end.
    public internal(set) var end = 0

    /// No memory at all: what a connection holds while nothing is pending.
    public static var none: Buffer { Buffer(memory: nowhere, capacity: 0) }

    // Never read or written: a buffer without capacity only needs some address.
    private static var nowhere: UnsafeMutablePointer<UInt8> {
        let literal: StaticString = ""
        return UnsafeMutablePointer(mutating: literal.utf8Start)
    }

    @usableFromInline
    init(memory: UnsafeMutablePointer<UInt8>, capacity: Int) {
        self.memory = memory
        self.capacity = capacity
    }

    /// Whether it is only a place for a buffer.
    @inlinable
    public var isNone: Bool { capacity == 0 }

    /// How many bytes it holds.
    @inlinable
    public var count: Int { end &- start }

    /// How many more bytes fit behind the held ones without moving them.
    @inlinable
    public var room: Int { capacity &- end }

    /// The held bytes.
    public var bytes: ByteView { ByteView(base: memory + start, count: end &- start) }

    /// The room behind the held bytes.
    public var free: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: memory + end, count: capacity &- end)
    }

    /// Counts `count` bytes, written into `free` by the caller, as held.
    public mutating func filled(_ count: Int) {
        precondition(count >= 0 && count <= room)
        end &+= count
    }

    /// Drops `count` bytes from the front. An empty buffer starts over at its beginning.
    public mutating func consume(_ count: Int) {
        precondition(count >= 0 && count <= self.count)
        start &+= count
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Appends a copy of `view`, moving the held bytes to the front if that makes the room. False, and nothing done, if
    /// they do not fit.
    public mutating func append(_ view: ByteView) -> Bool {
        if view.count > room { compact() }
        guard view.count <= room else { return false }
        memcpy(memory + end, view.base, view.count)
        end &+= view.count
        return true
    }

    /// Moves the held bytes to the beginning of the memory.
    public mutating func compact() {
        guard start > 0 else { return }
        memmove(memory, memory + start, count)
        end &-= start
        start = 0
    }
}

/// Memory for bytes in flight, in classes of powers of two from 4 KiB to 1 MiB, reused last-in first-out.
///
/// One a worker, owned by its thread. What is lent out is bounded by `limit`; what is kept for reuse by `keep`.
public struct BufferPool: ~Copyable {
    /// Smallest class, in bytes.
    public static let smallest = 4096
    /// Largest class, in bytes.
    public static let largest = 1 << 20

    /// The unused ones of each class: the first of a chain, each with the address of the next in its first bytes.
    @usableFromInline var kept = InlineArray<9, UnsafeMutableRawPointer?>(repeating: nil)
    @usableFromInline var keptBytes = 0
    @usableFromInline let limit: Int
    @usableFromInline let keep: Int
    /// Bytes lent out now.
    public internal(set) var lentBytes = 0
    /// How often the limit refused a buffer.
    public internal(set) var refusals: UInt64 = 0

    /// A pool that lends at most `limit` bytes (default 64 MiB) and keeps at most `keep` unused ones (default 1 MiB).
    public init(limit: Int = 64 << 20, keep: Int = 1 << 20) {
        self.limit = limit
        self.keep = keep
    }

    /// Lends a buffer of at least `capacity` bytes; nil if that is over the largest class or over the pool's limit.
    public mutating func take(_ capacity: Int = BufferPool.smallest) -> Buffer? {
        guard capacity <= Self.largest else { return nil }
        let index = Self.classIndex(capacity)
        let size = Self.smallest << index
        guard lentBytes + size <= limit else {
            refusals += 1
            return nil
        }
        lentBytes += size
        if let memory = kept[index] {
            kept[index] = memory.load(as: UnsafeMutableRawPointer?.self)
            keptBytes -= size
            return Buffer(memory: memory.assumingMemoryBound(to: UInt8.self), capacity: size)
        }
        return Buffer(memory: .allocate(capacity: size), capacity: size)
    }

    /// Takes a buffer back.
    public mutating func give(_ buffer: consuming Buffer) {
        let size = buffer.capacity
        lentBytes -= size
        assert(lentBytes >= 0)
        guard keptBytes + size <= keep else {
            buffer.memory.deallocate()
            return
        }
        keptBytes += size
        let index = Self.classIndex(size)
        let memory = UnsafeMutableRawPointer(buffer.memory)
        memory.storeBytes(of: kept[index], as: UnsafeMutableRawPointer?.self)
        kept[index] = memory
    }

    /// Makes sure that `place` has memory for at least `capacity` bytes in all, keeping what it holds. False, and
    /// nothing changed, if that is over the largest class or the pool's limit.
    @inlinable
    public mutating func provide(_ capacity: Int, in place: inout Buffer) -> Bool {
        place.capacity >= capacity || enlarge(&place, to: capacity)
    }

    @usableFromInline
    mutating func enlarge(_ place: inout Buffer, to capacity: Int) -> Bool {
        guard var large = take(capacity) else { return false }
        if place.count > 0 { _ = large.append(place.bytes) }
        release(&place)
        place = large
        return true
    }

    /// Takes the memory of `place` back, if it has any, and leaves none.
    @inlinable
    public mutating func release(_ place: inout Buffer) {
        if !place.isNone { empty(&place) }
    }

    @usableFromInline
    mutating func empty(_ place: inout Buffer) {
        var taken = Buffer.none
        swap(&taken, &place)
        give(taken)
    }

    private static func classIndex(_ capacity: Int) -> Int {
        if capacity <= smallest { return 0 }
        let pages = (max(capacity, 1) + smallest - 1) / smallest
        return pages == 1 ? 0 : Int.bitWidth - (pages - 1).leadingZeroBitCount
    }

    deinit {
        for index in kept.indices {
            var next = kept[index]
            while let memory = next {
                next = memory.load(as: UnsafeMutableRawPointer?.self)
                memory.deallocate()
            }
        }
    }
}
