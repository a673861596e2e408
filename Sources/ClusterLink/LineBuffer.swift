/// Cuts a stream of bytes into lines. Pure.
struct LineBuffer {
    /// Longest line, in bytes without its end.
    let limit: Int
    private var bytes: [UInt8] = []
    /// Where the first unread line begins, and how far its end has been looked for.
    private var start = 0
    private var searched = 0

    init(limit: Int) { self.limit = limit }

    /// Adds what came.
    mutating func append(_ chunk: UnsafeRawBufferPointer) {
        if start > 0 {
            bytes.removeSubrange(..<start)
            searched -= start
            start = 0
        }
        bytes.append(contentsOf: chunk)
    }

    /// What the next line is.
    enum Next: Equatable {
        /// A line without its end.
        case line([UInt8])
        /// Its end has not come yet.
        case incomplete
        /// It is longer than allowed.
        case tooLong
    }

    /// Takes the next line. Empty lines are left out.
    mutating func next() -> Next {
        while searched < bytes.count {
            guard let end = bytes[searched...].firstIndex(of: UInt8(ascii: "\n")) else {
                searched = bytes.count
                break
            }
            let line = bytes[start..<end]
            (start, searched) = (end + 1, end + 1)
            if line.count > limit { return .tooLong }
            if !line.isEmpty { return .line(Array(line)) }
        }
        return bytes.count - start > limit ? .tooLong : .incomplete
    }
}
