import EventLoop
import Glibc
import Knative
import Primitives
import Testing

@testable import ClusterLink

@Suite struct PartsTests {
    /// However the bytes are cut, the same lines come out.
    @Test func linesOfAnyCut() {
        let text = Array("one\ntwo\n\n\nthree and more\nrest".utf8)
        for seed in UInt64(0)..<300 {
            var random = SeededRandom(seed: seed)
            var buffer = LineBuffer(limit: 20)
            var found: [String] = [], index = 0
            while index < text.count {
                let end = min(text.count, index + 1 + Int(random.next() % 9))
                text[index..<end].withUnsafeBytes { buffer.append($0) }
                index = end
                while case .line(let line) = buffer.next() { found.append(String(decoding: line, as: UTF8.self)) }
            }
            #expect(found == ["one", "two", "three and more"], "seed \(seed)")
            #expect(buffer.next() == .incomplete)
        }
    }

    @Test(arguments: [("12345\n", true), ("123456\n", false), ("123456", false), ("12345", true)])
    func longLines(text: String, isFine: Bool) {
        var buffer = LineBuffer(limit: 5)
        Array(text.utf8).withUnsafeBytes { buffer.append($0) }
        #expect((buffer.next() == .tooLong) == !isFine)
    }

    @Test func storeTellsDifferences() {
        var store = ObjectStore()
        #expect(store.apply(scale("a", 1)) && !store.apply(scale("a", 1)) && store.apply(scale("a", 2)))
        #expect(store.apply(scale("b", 1)) && store.apply(.endpoints(endpoints("e", 1))))
        let changes = store.replace([.scale], with: [scale("a", 2), scale("c", 3)])
        #expect(changes == [.removed(.scale, name("b")), .applied(scale("c", 3))])
        #expect(store.count == 3 && store.all([.scale]) == [scale("a", 2), scale("c", 3)])
    }

    @Test func placesOnTheCommandLine() {
        #expect(ClusterPlace("unix:/run/x.sock") == .socket("/run/x.sock"))
        #expect(ClusterPlace("folder:objects") == .folder("objects") && ClusterPlace("objects") == .folder("objects"))
        #expect(ClusterPlace("unix:") == nil && ClusterPlace("") == nil)
        #expect(ClusterPlace("unix:/" + String(repeating: "x", count: 107)) == nil)
    }

    /// Only this user can connect; a file that a killed process left is replaced, one in use is not.
    @Test func unixListeners() throws {
        let folder = Folder()
        let path = folder.path + "/socket"
        do {
            let first = try UnixListener(path: path)
            var status = stat()
            #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
            #expect(throws: SystemError.self) { _ = try UnixListener(path: path) }
            _ = first.fd
        }
        #expect(access(path, F_OK) != 0, "removed with its listener")
        let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = UInt16(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(raw, $0, UInt32(MemoryLayout<sockaddr_un>.size))
            }
        }
        close(raw)
        #expect(bound == 0 && access(path, F_OK) == 0, "left behind, as by a killed process")
        _ = try UnixListener(path: path)
        close(open(path, O_CREAT | O_CLOEXEC, 0o600))
        #expect(throws: SystemError.self) { _ = try UnixListener(path: path) }
        #expect(throws: SystemError.self) { _ = try UnixListener(path: "/" + String(repeating: "x", count: 107)) }
    }
}
