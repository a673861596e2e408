import EventLoop
import Primitives

/// Reads one output of a process line by line. Owned by the loop's thread.
///
/// One read of at most `readBytes` a wake-up: a pod that floods its output gets its turn like everybody else, and when
/// it is faster than that the pipe fills and the pod waits, not we.
final class PodOutput {
    /// Most bytes read in one wake-up.
    static let readBytes = 16 * 1024
    /// Most reads when a process has ended: what its pipe can hold and much more.
    static let finalReads = 64

    private let loop: Loop
    private let scratch: UnsafeMutableRawBufferPointer
    private let sink: (ByteView) -> Void
    private var pipe: Pipe?
    private var watch: Loop.WatchToken?
    private var splitter = LineSplitter()

    /// A reader that hands lines to `sink`. `scratch` holds at least `readBytes` and outlives it.
    init(loop: Loop, scratch: UnsafeMutableRawBufferPointer, sink: @escaping (ByteView) -> Void) {
        assert(scratch.count >= Self.readBytes)
        self.loop = loop
        self.scratch = scratch
        self.sink = sink
    }

    /// Opens the pipe and returns the end for the child; nil if there are no descriptors left.
    func open() -> Int32? {
        guard let opened = Pipe.open() else { return nil }
        let writeEnd = opened.writeEnd
        pipe = consume opened
        return writeEnd
    }

    /// The child has its end: begins to read.
    func begin() {
        pipe?.closeWriteEnd()
        guard let readEnd = pipe?.readEnd else { return }
        watch = try? loop.watch(readEnd, .readable) { [weak self] _ in
            guard let self, !self.readOnce() else { return }
            self.close()
        }
    }

    /// Reads what is left, hands on an unfinished line and closes. Does not wait for who else holds the pipe.
    func finish() {
        guard pipe != nil else { return }
        for _ in 0..<Self.finalReads where pipe != nil {
            if !readOnce(isLast: true) { break }
        }
        close()
    }

    /// False when nothing more will come, or, with `isLast`, nothing is there.
    private func readOnce(isLast: Bool = false) -> Bool {
        let room = UnsafeMutableRawBufferPointer(rebasing: scratch[..<Self.readBytes])
        switch pipe?.read(into: room) ?? .endOfStream {
        case .bytes(let count):
            splitter.consume(ByteView(base: room.assumingFirstByte, count: count), sink)
            return true
        case .wouldBlock: return !isLast
        case .endOfStream, .failed: return false
        }
    }

    private func close() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        pipe = nil
        splitter.finish(sink)
    }
}

extension UnsafeMutableRawBufferPointer {
    fileprivate var assumingFirstByte: UnsafePointer<UInt8> { ByteView(UnsafeRawBufferPointer(self)).base }
}
