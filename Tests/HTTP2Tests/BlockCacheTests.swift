import CNGHTTP2
import Primitives
import Testing

@testable import HTTP2

/// The memory that nghttp2 is given, through the very functions that it calls.
@Suite struct BlockCacheTests {
    private func malloc(_ cache: BlockCache, _ count: Int) -> UnsafeMutableRawPointer? {
        cache.functions.pointee.malloc(count, cache.functions.pointee.mem_user_data)
    }
    private func calloc(_ cache: BlockCache, _ count: Int, _ bytes: Int) -> UnsafeMutableRawPointer? {
        cache.functions.pointee.calloc(count, bytes, cache.functions.pointee.mem_user_data)
    }
    private func realloc(
        _ cache: BlockCache, _ block: UnsafeMutableRawPointer?, _ count: Int
    ) -> UnsafeMutableRawPointer? {
        cache.functions.pointee.realloc(block, count, cache.functions.pointee.mem_user_data)
    }
    private func free(_ cache: BlockCache, _ block: UnsafeMutableRawPointer?) {
        cache.functions.pointee.free(block, cache.functions.pointee.mem_user_data)
    }

    @Test func aFreedBlockServesTheNextOfItsClass() throws {
        let cache = BlockCache()
        let first = try #require(malloc(cache, 100))
        let second = try #require(malloc(cache, 100))
        #expect(first != second)
        free(cache, first)
        #expect(cache.keptBytes == 128)
        #expect(malloc(cache, 65) == first, "65 and 100 are of one class")
        #expect(cache.keptBytes == 0)
        free(cache, second)
        let other = try #require(malloc(cache, 64))
        #expect(other != second, "64 is of another")
        for block in [first, other] { free(cache, block) }
        free(cache, nil)
        #expect(cache.lentBlocks == 0)
    }

    @Test func allSizesAreWholeAlignedAndApart() throws {
        let cache = BlockCache()
        var random = SeededRandom(seed: 7)
        var blocks: [(UnsafeMutableRawPointer, Int, UInt8)] = []
        func check(_ block: (UnsafeMutableRawPointer, Int, UInt8)) {
            for offset in 0..<block.1 where block.0.load(fromByteOffset: offset, as: UInt8.self) != block.2 {
                Issue.record("byte \(offset) of \(block.1) was overwritten")
                return
            }
        }
        for round in 0..<6000 {
            let limit = random.next() % 8 == 0 ? 5000 : 300
            let count = Int(random.next() % UInt64(limit)), tag = UInt8(truncatingIfNeeded: round)
            if blocks.count > 200 || random.next() % 3 == 0, !blocks.isEmpty {
                let index = Int(random.next() % UInt64(blocks.count))
                check(blocks[index])
                if random.next() % 2 == 0 {
                    free(cache, blocks.remove(at: index).0)
                } else {
                    let old = blocks[index]
                    let moved = try #require(realloc(cache, old.0, count))
                    check((moved, min(count, old.1), old.2))
                    moved.initializeMemory(as: UInt8.self, repeating: tag, count: count)
                    blocks[index] = (moved, count, tag)
                }
                continue
            }
            let block = try #require(malloc(cache, count))
            #expect(UInt(bitPattern: block) % 16 == 0)
            block.initializeMemory(as: UInt8.self, repeating: tag, count: count)
            blocks.append((block, count, tag))
        }
        #expect(cache.lentBlocks == blocks.count)
        for block in blocks { check(block) }
        for block in blocks { free(cache, block.0) }
        #expect(cache.lentBlocks == 0)
    }

    @Test func resizingKeepsWhatIsThere() throws {
        let cache = BlockCache()
        // Within a class, across classes, out of them, beyond, and back; the two beyond are next to each other.
        var block = try #require(realloc(cache, nil, 10))
        block.initializeMemory(as: UInt8.self, repeating: 0xA5, count: 10)
        for count in [64, 65, 2048, 2049, 2112, 2113, 9000, 2100, 2048, 70, 10] {
            block = try #require(realloc(cache, block, count))
            for offset in 0..<10 { #expect(block.load(fromByteOffset: offset, as: UInt8.self) == 0xA5, "\(count)") }
            block.storeBytes(of: 0xFF, toByteOffset: count - 1, as: UInt8.self)
            block.initializeMemory(as: UInt8.self, repeating: 0xA5, count: 10)
        }
        free(cache, block)
        #expect(cache.lentBlocks == 0)
    }

    @Test func clearedMemoryIsClearAlsoWhenReused() throws {
        let cache = BlockCache()
        let used = try #require(malloc(cache, 128))
        used.initializeMemory(as: UInt8.self, repeating: 0xFF, count: 128)
        free(cache, used)
        let block = try #require(calloc(cache, 16, 8))
        #expect(block == used)
        for offset in 0..<128 { #expect(block.load(fromByteOffset: offset, as: UInt8.self) == 0) }
        free(cache, block)
    }

    @Test func absurdSizesAreRefused() throws {
        let cache = BlockCache()
        #expect(calloc(cache, Int.max / 2, 3) == nil)
        #expect(malloc(cache, Int.max) == nil)
        #expect(malloc(cache, -1) == nil)
        let block = try #require(malloc(cache, 0))
        #expect(realloc(cache, block, -1) == nil, "and the block stays")
        free(cache, block)
        #expect(cache.lentBlocks == 0)
    }

    @Test func keepsNoMoreThanItsLimit() throws {
        let cache = BlockCache(keptLimit: 1024)
        let blocks = try (0..<20).map { _ in try #require(malloc(cache, 200)) }
        for block in blocks { free(cache, block) }
        #expect(cache.keptBytes == 1024, "four of 256")
        let large = try #require(malloc(cache, 4096))
        free(cache, large)
        #expect(cache.keptBytes == 1024, "large blocks are never kept")
    }

    /// Sessions of one pool in any order, some with streams open; the pool and its memory go with the last of them.
    @Test(arguments: 0..<8) func sessionsEndInAnyOrder(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var pool: HTTP2Pool? = HTTP2Pool(limits: HTTP2Limits())
        weak var watched = pool
        let cache = try #require(pool?.memory)
        var pairs: [(Side, Side)] = []
        for _ in 0..<6 {
            let pair = (Side(.client, pool: pool), Side(.server, pool: pool))
            exchange(pair.0, pair.1, pieces: &random)
            for _ in 0..<3 { pair.0.request("/x", fields: [("x-request-id", "1234567890")], body: true) }
            exchange(pair.0, pair.1, pieces: &random)
            #expect(pair.1.log.filter { $0.hasPrefix("head") }.count == 3)
            pairs.append(pair)
        }
        pool = nil
        #expect(cache.lentBlocks > 0)
        while !pairs.isEmpty {
            #expect(watched != nil)
            var pair: (Side?, Side?) = pairs.remove(at: Int(random.next() % UInt64(pairs.count)))
            if random.next() % 2 == 0 { pair.0 = nil } else { pair.1 = nil }
            #expect(cache.lentBlocks > 0)
            withExtendedLifetime(pair) {}
        }
        #expect(watched == nil)
        #expect(cache.lentBlocks == 0, "nghttp2 gave all of it back")
    }
}
