import Foundation

/// One text file of the repository.
struct TextFile: Sendable {
    /// Path from the root of the repository.
    let path: String
    /// Lines as they are written.
    let lines: [String]
    /// The same lines with comments and the contents of string literals blanked out; Swift and C only.
    let code: [String]

    var name: String { path.split(separator: "/").last.map(String.init) ?? path }
    var folder: String { path.split(separator: "/").dropLast().joined(separator: "/") }
    var isSwift: Bool { path.hasSuffix(".swift") }
    var isC: Bool { path.hasSuffix(".c") || path.hasSuffix(".h") }
    var isProse: Bool { path.hasSuffix(".md") || path.hasSuffix(".svg") }

    /// The module of a file in Sources; nil elsewhere.
    var module: String? {
        let parts = path.split(separator: "/")
        return parts.count > 2 && parts[0] == "Sources" ? String(parts[1]) : nil
    }

    /// "path:line", the line counted from 1.
    func place(_ index: Int) -> String { "\(path):\(index + 1)" }
}

/// Every text file of the repository, read once.
enum Repository {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    static let files: [TextFile] = paths().compactMap(read)
    static let swift = files.filter(\.isSwift)
    static let sources = swift.filter { $0.module != nil }
    static let tests = swift.filter { $0.path.hasPrefix("Tests/") }

    static func file(_ path: String) -> TextFile? { files.first { $0.path == path } }

    /// What git tracks or would track: nothing that is built or generated.
    private static func paths() -> [String] {
        let skipped: Set<String> = [".git", ".swiftpm", "__pycache__", "run"]
        guard let walk = FileManager.default.enumerator(atPath: root.path) else { return [] }
        var found: [String] = []
        while let path = walk.nextObject() as? String {
            let name = path.split(separator: "/").last.map(String.init) ?? path
            let isFolder = walk.fileAttributes?[.type] as? FileAttributeType == .typeDirectory
            if isFolder && (skipped.contains(name) || name.hasPrefix(".build")) {
                walk.skipDescendants()
            } else if !isFolder && isText(name) {
                found.append(path)
            }
        }
        return found.sorted()
    }

    private static func isText(_ name: String) -> Bool {
        let extensions = ["swift", "c", "h", "py", "yaml", "yml", "md", "svg", "cfg", "conf", "modulemap"]
        let known = ["Makefile", "run", "setup", "lint", "test", "bench"]
        return known.contains(name) || extensions.contains { name.hasSuffix(".\($0)") }
    }

    private static func read(_ path: String) -> TextFile? {
        guard let bytes = try? Data(contentsOf: root.appendingPathComponent(path)) else { return nil }
        let isCode = [".swift", ".c", ".h"].contains { path.hasSuffix($0) }
        let raw = [UInt8](bytes)
        let lines = split(raw)
        return TextFile(path: path, lines: lines, code: isCode ? split(CodeOnly.blanked(raw)) : lines)
    }

    private static func split(_ bytes: [UInt8]) -> [String] {
        var lines = bytes.split(separator: 10, omittingEmptySubsequences: false).map {
            String(decoding: $0, as: UTF8.self)
        }
        if lines.last == "" { lines.removeLast() }
        return lines
    }
}
