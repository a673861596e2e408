import EventLoop
import Glibc
import Knative
import Synchronization

/// The files a run was given: reads them, and says which folders to watch for changes.
public struct ManifestFiles: Sendable {
    /// A path that cannot be read, and why.
    private struct Failure: Error, Sendable {
        let path: String
        let problem: String
        var remedy = ""
    }

    /// Longest file read, in bytes: what the YAML reader takes, 1 MiB.
    public static let fileLimit = YAMLLimits().fileBytes

    /// Files and folders as given; `-` is standard input.
    public let paths: [String]
    private let input = StandardInput()

    /// The files of `paths`.
    public init(paths: [String]) { self.paths = paths }

    /// Reads every file that can be read; folders give their `.yaml`, `.yml` and `.json` files in order of name. What
    /// cannot be read is a diagnostic without a place.
    public func read() -> (sources: [(name: String, text: [UInt8])], diagnostics: [Diagnostic]) {
        var sources: [(name: String, text: [UInt8])] = []
        var diagnostics: [Diagnostic] = []
        func attempt(_ body: () throws(Failure) -> Void) {
            do throws(Failure) { try body() } catch {
                let nowhere = YAMLMark(line: 0, column: 0)
                diagnostics.append(
                    Diagnostic(
                        severity: .error, file: error.path, mark: nowhere, key: "", problem: error.problem,
                        remedy: error.remedy))
            }
        }
        for path in paths {
            attempt { () throws(Failure) in
                for file in try files(at: path) {
                    attempt { () throws(Failure) in sources.append((file, try contents(of: file))) }
                }
            }
        }
        return (sources, diagnostics)
    }

    /// The folders that hold the files.
    public var folders: [String] {
        Array(Set(paths.filter { $0 != "-" }.map { isFolder($0) ? $0 : Self.folder(of: $0) })).sorted()
    }

    /// The folder a file lies in.
    static func folder(of file: String) -> String {
        guard let slash = file.lastIndex(of: "/") else { return "." }
        return slash == file.startIndex ? "/" : String(file[..<slash])
    }

    /// `path` without dependence on the present working directory.
    static func absolute(_ path: String) -> String {
        guard let resolved = realpath(path, nil) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    private func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    private func files(at path: String) throws(Failure) -> [String] {
        guard isFolder(path) else { return [path] }
        var names: [String]
        do throws(SystemError) { names = try FolderFiles.names(of: path) } catch { throw failure(path, error) }
        names.removeAll { name in ![".yaml", ".yml", ".json"].contains { name.hasSuffix($0) } }
        guard !names.isEmpty else {
            throw Failure(
                path: path, problem: "holds no manifest", remedy: "expected files ending in .yaml, .yml or .json")
        }
        return names.map { path.hasSuffix("/") ? path + $0 : path + "/" + $0 }
    }

    private func contents(of file: String) throws(Failure) -> [UInt8] {
        guard file != "-" else { return try input.read(contents) }
        let fd = open(file, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw failure(file, SystemError(call: "open", code: errno)) }
        defer { close(fd) }
        return try contents(of: fd, file)
    }

    private func contents(of fd: Int32, _ file: String) throws(Failure) -> [UInt8] {
        do throws(SystemError) {
            return try FolderFiles.contents(of: fd, named: file, atMost: Self.fileLimit)
        } catch {
            guard error.code != EFBIG else {
                throw Failure(path: file, problem: "is longer than \(Self.fileLimit) bytes")
            }
            throw failure(file, error)
        }
    }

    /// What standard input said. It says it only once, so a reload takes the same text again.
    private final class StandardInput: Sendable {
        private let text = Mutex<[UInt8]?>(nil)

        func read(_ contents: (Int32, String) throws(Failure) -> [UInt8]) throws(Failure) -> [UInt8] {
            if let known = text.withLock({ $0 }) { return known }
            let new = try contents(0, "-")
            text.withLock { $0 = new }
            return new
        }
    }

    private func failure(_ path: String, _ error: SystemError) -> Failure {
        Failure(path: path, problem: error.reason)
    }
}
