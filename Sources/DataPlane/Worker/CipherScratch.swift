import Primitives
import TLS

/// Memory in which a worker's TLS connections pass bytes on: nothing stays in it from one call to the next.
///
/// One a worker. The system gives the pages when they are first touched, so a worker without TLS pays nothing.
struct CipherScratch: ~Copyable {
    /// Room for one read of ciphertext and for what is encrypted before it is sent, in bytes each.
    static let windowBytes = 64 * 1024

    private let memory: UnsafeMutableRawBufferPointer

    init() { memory = .allocate(byteCount: 2 * Self.windowBytes + RecordSizing.largestBytes, alignment: 16) }

    /// Ciphertext as the socket gave it.
    var incoming: UnsafeMutableRawBufferPointer { window(0, Self.windowBytes) }
    /// Ciphertext to be sent.
    var outgoing: UnsafeMutableRawBufferPointer { window(Self.windowBytes, Self.windowBytes) }
    /// Pieces that become one record.
    var record: UnsafeMutableRawBufferPointer { window(2 * Self.windowBytes, RecordSizing.largestBytes) }

    private func window(_ start: Int, _ count: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + count])
    }

    deinit { memory.deallocate() }
}
