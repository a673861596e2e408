import Testing

@testable import Primitives

@Suite struct SlabTests {
    @Test func staleTokensAreRecognised() throws {
        var slab = Slab<Int>(limit: 2)
        let first = try #require(slab.insert { _ in 1 })
        let second = try #require(slab.insert { _ in 2 })
        #expect(slab.insert { _ in 3 } == nil)
        slab.remove(first)
        slab.remove(first)
        #expect(slab.count == 1)
        #expect(slab[first] == nil)
        let third = try #require(slab.insert { _ in 3 })
        #expect(third.index == first.index && third.generation != first.generation)
        #expect(slab[first] == nil)
        #expect(slab[third]?.pointee == 3)
        #expect(slab[second]?.pointee == 2)
        #expect(SlabToken(packed: third.packed) == third)
        #expect(slab[.none] == nil)
    }

    @Test func addressesDoNotMove() throws {
        var slab = Slab<Int>(limit: 10_000)
        let token = try #require(slab.insert { _ in 42 })
        let address = slab[token]
        for value in 0..<5_000 { _ = slab.insert { _ in value } }
        #expect(slab[token] == address)
        #expect(slab.tokens().count == 5_001)
    }
}

@Suite struct BufferPoolTests {
    @Test func limitsAndClasses() {
        var pool = BufferPool(limit: 16 << 10)
        guard var small = pool.take() else {
            Issue.record("no buffer")
            return
        }
        #expect(small.capacity == 4096)
        let appended = small.append(ByteView("hello"))
        #expect(appended)
        small.consume(1)
        let grown = pool.provide(4097, in: &small)
        let text = small.bytes.string
        #expect(grown && small.capacity == 8192 && text == "ello")
        if let extra = pool.take(16 << 10) {
            Issue.record("lent over the limit")
            pool.give(extra)
        }
        #expect(pool.refusals == 1)
        small.consume(4)
        #expect(small.start == 0 && small.count == 0)
        pool.release(&small)
        pool.release(&small)
        #expect(small.isNone && pool.lentBytes == 0)
    }

    @Test func appendCompacts() {
        var pool = BufferPool()
        guard var buffer = pool.take() else {
            Issue.record("no buffer")
            return
        }
        buffer.filled(4096)
        let full = buffer.append(ByteView("x"))
        #expect(!full)
        buffer.consume(10)
        let moved = buffer.append(ByteView("0123456789"))
        #expect(moved && buffer.count == 4096)
        pool.give(buffer)
    }
}

@Suite struct ByteWriterTests {
    @Test(arguments: [0, 9, 10, 99, 12_345, UInt64.max])
    func numbers(value: UInt64) {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            writer.append(decimal: value)
            writer.append(ASCII.space)
            writer.append(hex: value)
            #expect(writer.written.string == "\(value) " + String(value, radix: 16))
        }
    }

    @Test(arguments: [0, 1, 0x9A, 0xDEAD_BEEF, 0x0123_4567, 0x89AB_CDEF, UInt32.max])
    func hexDigits(value: UInt32) {
        withUnsafeTemporaryAllocation(byteCount: 8, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            writer.append(hexDigits: value)
            let digits = String(value, radix: 16)
            #expect(writer.written.string == String(repeating: "0", count: 8 - digits.count) + digits)
        }
    }

    @Test func paddingAndOverflow() {
        withUnsafeTemporaryAllocation(byteCount: 4, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            writer.append(decimal: 7, width: 3)
            #expect(writer.written.string == "007" && !writer.overflowed)
            writer.append("ab")
            #expect(writer.written.string == "007" && writer.overflowed)
            writer.rewind(to: 1)
            writer.append("abc")
            #expect(writer.written.string == "0abc" && !writer.overflowed)
        }
    }
}

@Suite struct ByteViewTests {
    /// The word-wise comparison agrees with a plain one, for every length and every single different byte.
    @Test func comparesWithoutCase() {
        for length in 0..<40 {
            let lower = (0..<length).map { UInt8(0x61 + $0 % 26) }
            for place in 0..<length {
                for byte in UInt8.min...UInt8.max {
                    var other = lower
                    other[place] = byte
                    let isSame = ASCII.lowercased(byte) == lower[place]
                    let found = other.withUnsafeBytes { left in
                        lower.withUnsafeBytes { ByteView(left).equalsIgnoringCase(ByteView($0)) }
                    }
                    if found != isSame { Issue.record("length \(length) place \(place) byte \(byte)") }
                }
            }
        }
    }
}
