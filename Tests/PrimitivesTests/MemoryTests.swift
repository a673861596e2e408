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

    @Test func placesAreBuiltInAndKnowTheirOccupants() throws {
        var slab = Slab<Int>(limit: 2)
        let none = slab.occupant(of: 0)
        let vacancy = slab.vacancy()
        let token = try #require(vacancy)
        let place = slab.occupy(token)
        place.initialize(to: 7)
        let (occupant, beyond) = (slab.occupant(of: token.index), slab.occupant(of: 99))
        #expect(none == nil && occupant == token && beyond == nil)
        let found = slab[token]
        #expect(found == place && slab.count == 1)
        slab.remove(token)
        let left = slab.occupant(of: token.index)
        #expect(left == nil && slab.count == 0)
    }
}

@Suite struct StackTests {
    @Test func lastInFirstOutThroughGrowth() {
        var stack = Stack<UInt32>(capacity: 1)
        for value in 0..<100 as Range<UInt32> { stack.append(value) }
        stack[3] = 1_000
        let (count, third) = (stack.count, stack[3])
        #expect(count == 100 && third == 1_000)
        stack.keep { $0.isMultiple(of: 2) }
        var popped: [UInt32] = []
        while let value = stack.popLast() { popped.append(value) }
        let expected = (stride(from: 98, through: 0, by: -2).map { UInt32($0) } + [1_000]).sorted(by: >)
        #expect(popped.sorted(by: >) == expected && popped.first == 98 && popped.last == 0)
        stack.append(1)
        stack.removeAll()
        let (isEmpty, none) = (stack.isEmpty, stack.popLast())
        #expect(isEmpty && none == nil)
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

    /// The one given back last is lent first, and no more are kept than the pool may keep.
    @Test func keptBuffersAreReused() {
        var pool = BufferPool(keep: 3 * 4096)
        var first = Buffer.none
        var second = Buffer.none
        var large = Buffer.none
        let isLent = [
            pool.provide(1, in: &first), pool.provide(4096, in: &second), pool.provide(8192, in: &large),
        ]
        #expect(isLent == [true, true, true])
        let (firstPlace, secondPlace) = (first.memory, second.memory)
        for value in 0..<4096 {
            first.free[value] = 1
            second.free[value] = 2
        }
        pool.release(&first)
        pool.release(&second)
        pool.release(&large)  // would be one too many, and goes back to the system
        let isLentAgain = [pool.provide(4096, in: &second), pool.provide(2, in: &first)]
        let (firstAgain, secondAgain) = (first.memory, second.memory)
        #expect(isLentAgain == [true, true] && firstAgain == firstPlace && secondAgain == secondPlace)
        let isAnew = pool.provide(8192, in: &first)
        let (capacity, lent) = (first.capacity, pool.lentBytes)
        #expect(isAnew && capacity == 8192 && lent == 3 * 4096)
        pool.release(&first)
        pool.release(&second)
        #expect(pool.lentBytes == 0)
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
