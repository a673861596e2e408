import CNGHTTP2
import Glibc

/// The memory of nghttp2, in classes of 64 bytes up to 2 KiB: blocks that were freed are kept for the next of their
/// class, since each stream, frame and head asks for the same few sizes. What is larger goes to `malloc` and back.
///
/// One a worker, through its `HTTP2Pool`: sessions hold the pool, so it outlives what they ask for, in whatever order
/// they go. Owned by the worker's thread. Kept memory is bounded; lent memory is bounded by what the limits of HTTP/2
/// let a peer cause.
final class BlockCache {
    /// What stands before each block, at its alignment of 16 bytes: only the class, since `free` is not told the size.
    private static var headerBytes: Int { 16 }
    /// Bytes by which the classes grow.
    static var step: Int { 64 }
    /// Classes: the largest is of `step * classCount` bytes. As the class of a block it says that it is `malloc`'s.
    static var classCount: Int { 32 }
    /// Most bytes kept for reuse, over all classes, headers not counted.
    static var keptLimit: Int { 1 << 20 }

    private struct State {
        // Free blocks of a class, linked through their first word.
        var free: InlineArray<32, UnsafeMutableRawPointer?> = .init(repeating: nil)
        var keptBytes = 0
        var lentBlocks = 0
        var keptLimit: Int
    }

    private let state: UnsafeMutablePointer<State>
    /// What nghttp2 is handed; it copies it.
    let functions: UnsafeMutablePointer<nghttp2_mem>

    /// An empty cache that keeps at most `keptLimit` bytes.
    init(keptLimit: Int = BlockCache.keptLimit) {
        assert(Self.classCount == 32, "the number of lists")
        state = .allocate(capacity: 1)
        state.initialize(to: State(keptLimit: keptLimit))
        functions = .allocate(capacity: 1)
        functions.initialize(
            to: nghttp2_mem(
                mem_user_data: state,
                malloc: { BlockCache.take($0, BlockCache.state($1)) },
                free: { BlockCache.give($0, BlockCache.state($1)) },
                calloc: { BlockCache.takeCleared($0, $1, BlockCache.state($2)) },
                realloc: { BlockCache.resize($0, $1, BlockCache.state($2)) }))
    }

    deinit {
        assert(state.pointee.lentBlocks == 0, "a session outlives its memory")
        for index in 0..<Self.classCount {
            while let block = state.pointee.free[index] {
                state.pointee.free[index] = block.load(as: UnsafeMutableRawPointer?.self)
                Glibc.free(block - Self.headerBytes)
            }
        }
        functions.deallocate()
        state.deallocate()
    }

    /// Bytes kept for reuse, headers not counted.
    var keptBytes: Int { state.pointee.keptBytes }

    /// Blocks lent now.
    var lentBlocks: Int { state.pointee.lentBlocks }

    private static func state(_ context: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<State> {
        // What `init` has put in the table.
        context.unsafelyUnwrapped.assumingMemoryBound(to: State.self)
    }

    private static func take(_ count: Int, _ state: UnsafeMutablePointer<State>) -> UnsafeMutableRawPointer? {
        guard count >= 0, count <= Int.max - headerBytes else { return nil }
        // 0 bytes are a block too: nil would mean that there is no memory.
        let index = max(0, count &- 1) / step
        var bytes = count
        if index < classCount {
            if let block = state.pointee.free[index] {
                state.pointee.free[index] = block.load(as: UnsafeMutableRawPointer?.self)
                state.pointee.keptBytes &-= (index &+ 1) &* step
                state.pointee.lentBlocks &+= 1
                assert(state.pointee.keptBytes >= 0)
                return block
            }
            bytes = (index + 1) * step
        }
        guard let memory = Glibc.malloc(headerBytes + bytes) else { return nil }
        memory.storeBytes(of: min(index, classCount), as: Int.self)
        state.pointee.lentBlocks &+= 1
        return memory + headerBytes
    }

    private static func give(_ block: UnsafeMutableRawPointer?, _ state: UnsafeMutablePointer<State>) {
        guard let block else { return }
        state.pointee.lentBlocks &-= 1
        assert(state.pointee.lentBlocks >= 0)
        let index = (block - headerBytes).load(as: Int.self)
        let bytes = (index &+ 1) &* step
        guard index < classCount, state.pointee.keptBytes &+ bytes <= state.pointee.keptLimit else {
            return Glibc.free(block - headerBytes)
        }
        block.storeBytes(of: state.pointee.free[index], as: UnsafeMutableRawPointer?.self)
        state.pointee.free[index] = block
        state.pointee.keptBytes &+= bytes
    }

    private static func takeCleared(
        _ count: Int, _ bytes: Int, _ state: UnsafeMutablePointer<State>
    ) -> UnsafeMutableRawPointer? {
        let (total, isHuge) = count.multipliedReportingOverflow(by: bytes)
        guard !isHuge, let block = take(total, state) else { return nil }
        return memset(block, 0, total)
    }

    private static func resize(
        _ block: UnsafeMutableRawPointer?, _ count: Int, _ state: UnsafeMutablePointer<State>
    ) -> UnsafeMutableRawPointer? {
        guard let block else { return take(count, state) }
        guard count >= 0, count <= Int.max - headerBytes else { return nil }
        let index = (block - headerBytes).load(as: Int.self)
        let new = max(0, count &- 1) / step
        if index == new, index < classCount { return block }
        if index >= classCount, new >= classCount {
            guard let memory = Glibc.realloc(block - headerBytes, headerBytes + count) else { return nil }
            return memory + headerBytes
        }
        guard let moved = take(count, state) else { return nil }
        // Of malloc's block only the smaller new size is known to be there; of ours all of its class.
        memcpy(moved, block, index < classCount ? min((index + 1) * step, count) : count)
        give(block, state)
        return moved
    }
}
