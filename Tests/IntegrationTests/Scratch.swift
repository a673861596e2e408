import Foundation

/// A folder of one test, removed with it. Its path is also the mark by which a test's processes are found.
final class Scratch: Sendable {
    let path: String

    init() {
        let name = "martlet-test-\(UUID().uuidString)"
        path = URL(fileURLWithPath: NSTemporaryDirectory()).appendingPathComponent(name).path
        for folder in [path, path + "/run"] {
            mkdir(folder, 0o700)
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Writes a file and returns its path.
    @discardableResult
    func write(_ name: String, _ text: String) -> String {
        let file = path + "/" + name
        let folder = (file as NSString).deletingLastPathComponent
        try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        _ = FileManager.default.createFile(atPath: file, contents: Data(text.utf8))
        return file
    }

    /// Replaces a file as editors do: a new one is written beside it and renamed over it.
    func replace(_ name: String, _ text: String) {
        write(".\(name).new", text)
        rename(path + "/.\(name).new", path + "/" + name)
    }

    /// The living processes whose environment names this folder, with their command lines.
    var processes: [(pid: pid_t, command: String)] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { name in
            guard let pid = pid_t(name),
                let environment = FileManager.default.contents(atPath: "/proc/\(name)/environ"),
                environment.range(of: Data(path.utf8)) != nil
            else { return nil }
            let line = FileManager.default.contents(atPath: "/proc/\(name)/cmdline") ?? Data()
            return (pid, String(decoding: line.map { $0 == 0 ? 0x20 : $0 }, as: UTF8.self))
        }
    }
}

/// Where things are.
enum Place {
    /// The folder of the built executables: the one of the test bundle.
    static let products: String = {
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        let beside = (own as NSString).deletingLastPathComponent
        return FileManager.default.isExecutableFile(atPath: beside + "/martlet") ? beside : repository + "/.build/debug"
    }()

    static let repository: String = {
        var url = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { url.deleteLastPathComponent() }
        return url.path
    }()

    static var martlet: String { products + "/martlet" }
    static var server: String { products + "/martlet-test-server" }
    static func example(_ name: String) -> String { "\(repository)/config/examples/\(name)" }
}

/// How long anything may take before a test gives up, in seconds. Generous: test machines are busy.
let patience = 30.0

/// Waits until `condition` holds; false when it does not within `seconds`.
func wait(_ seconds: Double = patience, until condition: () throws -> Bool) rethrows -> Bool {
    let deadline = Date(timeIntervalSinceNow: seconds)
    while try !condition() {
        guard Date() < deadline else { return false }
        poll(nil, 0, 10)
    }
    return true
}
