/// What Package.swift says about a module of the map in Sources/README.md.
struct Module: Sendable {
    let name: String
    /// The level above which nothing it imports may stand; nil for what only tests use.
    let level: Int?
    /// Pure modules know no descriptor, clock, thread, randomness or global.
    let isPure: Bool
    let imports: [String]
}

/// The modules of Package.swift, read from its `// Level n: pure|edge` comments and `module("Name", imports: […])`.
enum ModuleMap {
    static let modules: [Module] = parse(Repository.file("Package.swift")?.lines ?? [])
    static let byName = Dictionary(uniqueKeysWithValues: modules.map { ($0.name, $0) })

    private static func parse(_ lines: [String]) -> [Module] {
        var modules: [Module] = [], level: Int?, isPure = true, pending = ""
        for line in lines {
            let text = line.drop { $0 == " " }
            if text.hasPrefix("// Level ") {
                level = text.dropFirst(9).first?.wholeNumberValue
                isPure = !text.hasSuffix("edge") && (level ?? 0) < 4
            } else if text.hasPrefix("// Tests only") {
                level = nil
                isPure = true
            } else if pending.isEmpty ? startsModule(text) : true {
                pending += text
                guard isBalanced(pending) else { continue }
                if let module = module(pending, level: level, isPure: isPure) { modules.append(module) }
                pending = ""
            }
        }
        return modules
    }

    private static func startsModule(_ text: Substring) -> Bool {
        text.hasPrefix("module(") || text.hasPrefix(".target(") || text.hasPrefix(".systemLibrary(")
            || text.hasPrefix(".executableTarget(")
    }

    private static func isBalanced(_ text: String) -> Bool {
        text.count { $0 == "(" } == text.count { $0 == ")" }
    }

    /// The first quoted word is the name; those between `imports: [` (`dependencies: [`) and `]` are the imports.
    private static func module(_ text: String, level: Int?, isPure: Bool) -> Module? {
        guard let name = quoted(text).first, !text.contains("path:") else { return nil }
        var imports: [String] = []
        for key in ["imports: [", "dependencies: ["] {
            guard let list = text.split(separator: key, maxSplits: 1).dropFirst().first else { continue }
            let inside = String(list.prefix { $0 != "]" })
            imports = quoted(inside)
            if inside.contains("logging") { imports.append("Logging") }
            if inside.contains("argumentParser") { imports.append("ArgumentParser") }
        }
        return Module(name: name, level: level, isPure: isPure, imports: imports)
    }

    private static func quoted(_ text: String) -> [String] {
        text.split(separator: "\"", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset % 2 == 1 }.map { String($0.element) }
    }
}
