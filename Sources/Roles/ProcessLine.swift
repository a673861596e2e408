import Primitives

/// Lines of processes among those of the run that started them.
enum ProcessLine {
    /// Hands `name | line` and its end to `take`; without a name `line` alone.
    static func whole(_ name: String?, _ line: ByteView, take: (ByteView) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: line.count + (name?.utf8.count ?? 0) + 8, alignment: 1) { place in
            var writer = ByteWriter(place)
            if let name {
                writer.append(text: name)
                writer.append(" | ")
            }
            writer.append(line)
            writer.append(ASCII.lf)
            take(writer.written)
        }
    }
}
