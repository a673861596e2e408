import Primitives

/// Cuts a stream of bytes into lines. Pure but for the memory of one unfinished line.
///
/// A line ends with LF or CR LF, which are left out. A longer one than `Limits.lineBytes` is handed on in pieces, so a
/// program that never ends its line costs no more than one piece.
struct LineSplitter {
    /// Longest line handed on in one piece, in bytes.
    static let lineBytes = 16 * 1024

    private var partial: [UInt8] = []

    /// Hands each complete line of what was held and `bytes` to `emit`; the view is valid during the call only.
    mutating func consume(_ bytes: ByteView, _ emit: (ByteView) -> Void) {
        var rest = bytes
        while !rest.isEmpty {
            let room = Self.lineBytes - partial.count
            guard let end = rest.firstIndex(of: ASCII.lf), end <= room else {
                let taken = min(room, rest.count)
                partial.append(contentsOf: UnsafeBufferPointer(start: rest.base, count: taken))
                if partial.count == Self.lineBytes, rest.count > taken { flush(emit) }
                rest = rest.dropping(first: taken)
                continue
            }
            if partial.isEmpty {
                emit(Self.withoutCarriageReturn(rest[0..<end]))
            } else {
                partial.append(contentsOf: UnsafeBufferPointer(start: rest.base, count: end))
                flush(emit, isComplete: true)
            }
            rest = rest.dropping(first: end + 1)
        }
        assert(partial.count <= Self.lineBytes)
    }

    /// Hands on the unfinished line, if there is one: the stream has ended.
    mutating func finish(_ emit: (ByteView) -> Void) {
        if !partial.isEmpty { flush(emit) }
    }

    private mutating func flush(_ emit: (ByteView) -> Void, isComplete: Bool = false) {
        partial.withUnsafeBytes { bytes in
            let view = ByteView(bytes)
            emit(isComplete ? Self.withoutCarriageReturn(view) : view)
        }
        partial.removeAll(keepingCapacity: true)
    }

    private static func withoutCarriageReturn(_ line: ByteView) -> ByteView {
        line.count > 0 && line[line.count - 1] == ASCII.cr ? line[0..<line.count - 1] : line
    }
}

/// The newest lines of a pod's output, for the report of a crash. Bounded in lines and in bytes of each.
struct LineRing {
    /// How many lines are kept.
    static let lines = 20
    /// How much of a line is kept, in bytes.
    static let bytesPerLine = 512

    private var slots: [[UInt8]] = []
    private var oldest = 0

    /// Keeps a line, and drops the oldest if there are too many. Allocates only until every place was used once.
    mutating func append(_ line: ByteView) {
        let kept = UnsafeBufferPointer(start: line.base, count: min(line.count, Self.bytesPerLine))
        guard slots.count == Self.lines else {
            slots.append(Array(kept))
            return
        }
        slots[oldest].removeAll(keepingCapacity: true)
        slots[oldest].append(contentsOf: kept)
        oldest = (oldest + 1) % Self.lines
    }

    /// The lines, oldest first, invalid UTF-8 repaired.
    var texts: [String] { (slots[oldest...] + slots[..<oldest]).map { String(decoding: $0, as: UTF8.self) } }

    /// Forgets all lines.
    mutating func removeAll() {
        slots.removeAll()
        oldest = 0
    }
}
