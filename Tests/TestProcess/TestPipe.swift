import Glibc

/// A pipe between a test and a program it starts. Ends that are still open are closed with it.
public final class TestPipe {
    /// Descriptors; -1 when closed.
    public private(set) var readEnd: Int32, writeEnd: Int32

    /// Both ends are open.
    public init() throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else {
            throw TestProcess.Failure(description: "pipe: \(String(cString: strerror(errno)))")
        }
        // What the code under test starts by itself must not hold it open.
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        (readEnd, writeEnd) = (ends[0], ends[1])
    }

    deinit {
        closeReadEnd()
        closeWriteEnd()
    }

    /// To be called when the program has this end: otherwise its writer never hears that it is gone.
    public func closeReadEnd() {
        if readEnd >= 0 { close(readEnd) }
        readEnd = -1
    }

    /// To be called when the program has this end: otherwise its reader never comes to the end.
    public func closeWriteEnd() {
        if writeEnd >= 0 { close(writeEnd) }
        writeEnd = -1
    }

    /// The next bytes, at most 64 KiB; none at the end. Blocks.
    public func read() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 65_536) { place, count in
            var result = Glibc.read(readEnd, place.baseAddress, place.count)
            while result < 0, errno == EINTR { result = Glibc.read(readEnd, place.baseAddress, place.count) }
            count = max(0, result)
        }
    }

    /// Everything until the end, as text. Blocks.
    public func readToEnd() -> String {
        var bytes: [UInt8] = []
        while case let more = read(), !more.isEmpty { bytes += more }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The next line without its end; what there is if the text ends before. Blocks.
    public func readLine() -> String {
        var line: [UInt8] = [], byte: UInt8 = 0
        while Glibc.read(readEnd, &byte, 1) == 1, byte != UInt8(ascii: "\n") { line.append(byte) }
        return String(decoding: line, as: UTF8.self)
    }

    /// Writes what a pipe holds at once, 64 KiB. Nothing is said of a reader that has gone.
    public func write(_ text: String) {
        var text = text
        text.withUTF8 { _ = Glibc.write(writeEnd, $0.baseAddress, $0.count) }
    }
}

extension TestProcess {
    /// Runs a program to its end. It must not write more than a pipe holds, 64 KiB, to its errors.
    public static func run(
        _ words: [String], environment: [String: String]? = nil, input: Int32? = nil
    ) throws -> (status: Int32, output: String, errors: String) {
        let output = try TestPipe(), errors = try TestPipe()
        let child = try TestProcess(
            words, environment: environment, input: input, output: output.writeEnd, errors: errors.writeEnd)
        output.closeWriteEnd()
        errors.closeWriteEnd()
        let text = output.readToEnd(), problems = errors.readToEnd()
        return (child.waitForEnd(), text, problems)
    }
}
