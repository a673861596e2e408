import Glibc
import Testing

@testable import EventLoop

/// Reading and writing whole.
@Suite struct WholeBytesTests {
    /// More than a pipe holds is told with the error that stopped it, and what went before has arrived.
    @Test func whatIsNotTakenIsTold() throws {
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0 && fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        let bytes = [UInt8](repeating: 7, count: 1 << 20)
        #expect(bytes.withUnsafeBytes { WholeBytes.write($0, to: ends[1]) } == EAGAIN)
        close(ends[1])
        let arrived = try FolderFiles.contents(of: ends[0], named: "the pipe", atMost: 1 << 20)
        #expect(!arrived.isEmpty && arrived.count < bytes.count && arrived.allSatisfy { $0 == 7 })
        close(ends[0])
        #expect(bytes.withUnsafeBytes { WholeBytes.write($0, to: -1) } == EBADF)
        #expect(WholeBytes.write(UnsafeRawBufferPointer(start: nil, count: 0), to: -1) == 0)
    }

    /// The limit is the last length that is taken.
    @Test func limitOfADescriptor() throws {
        for (count, limit) in [(0, 0), (5, 5), (70_000, 70_000), (6, 5), (70_000, 69_999)] {
            let stream = try #require(tmpfile())
            let file = fileno(stream)
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
            #expect(bytes.withUnsafeBytes { WholeBytes.write($0, to: file) } == 0)
            lseek(file, 0, SEEK_SET)
            if count <= limit {
                #expect(try FolderFiles.contents(of: file, named: "x", atMost: limit) == bytes)
            } else {
                #expect(throws: SystemError(call: "read x", code: EFBIG)) {
                    try FolderFiles.contents(of: file, named: "x", atMost: limit)
                }
            }
            fclose(stream)
        }
    }
}
