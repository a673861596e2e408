import Glibc
import Primitives
import Testing

@testable import EventLoop

/// When changes of files are told.
@Suite struct FileWatchTests {
    /// A folder that is removed with its one file.
    private final class Folder {
        let path: String

        init() {
            var template = Array("/tmp/martlet-watch-XXXXXX".utf8CString)
            path =
                mkdtemp(&template) == nil
                ? "" : String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }

        deinit {
            unlink(path + "/file")
            rmdir(path)
        }

        func write() { close(open(path + "/file", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)) }
    }

    private func run(_ loop: Loop, until isDone: () -> Bool) -> Bool {
        let deadline = MonotonicClock.now().adding(milliseconds: 20_000)
        while !isDone() {
            guard MonotonicClock.now() < deadline else { return false }
            loop.runOnce(atMostMilliseconds: 10)
        }
        return true
    }

    /// A burst is told once, when it is over.
    @Test func burstsAreOneChange() throws {
        let loop = try Loop(), folder = Folder()
        var told = 0
        let watch = try FileWatch(loop: loop) { told += 1 }
        try watch.add(folder: folder.path)
        for _ in 0..<20 { folder.write() }
        #expect(run(loop) { told > 0 })
        var isQuiet = false
        loop.after(milliseconds: 3 * FileWatch.quietMilliseconds) { isQuiet = true }
        #expect(run(loop) { isQuiet } && told == 1)
        withExtendedLifetime(watch) {}
    }

    /// In a folder that is written to all the time, a change is told all the same, again and again.
    @Test func neverQuiet() throws {
        let loop = try Loop(), folder = Folder()
        var told = 0, writes = 0
        let watch = try FileWatch(loop: loop) { told += 1 }
        try watch.add(folder: folder.path)
        func writeOn() {
            folder.write()
            writes += 1
            if told < 2 { loop.after(milliseconds: FileWatch.quietMilliseconds / 10) { writeOn() } }
        }
        writeOn()
        #expect(run(loop) { told == 2 })
        #expect(writes > 20)
        withExtendedLifetime(watch) {}
    }

    /// A watch that is gone tells nothing, not even of a change it has seen, and leaves the loop.
    @Test func endsSilently() throws {
        let loop = try Loop(), folder = Folder()
        var old = 0, new = 0
        var watch: FileWatch? = try FileWatch(loop: loop) { old += 1 }
        try watch?.add(folder: folder.path)
        folder.write()
        loop.runOnce(atMostMilliseconds: 10)
        watch = try FileWatch(loop: loop) { new += 1 }
        try watch?.add(folder: folder.path)
        folder.write()
        #expect(run(loop) { new > 0 })
        #expect(old == 0)
    }
}
