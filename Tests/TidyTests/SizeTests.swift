import Testing

/// Files, functions and lines stay small enough to be read.
@Suite struct SizeTests {
    static let fileLines = 600
    static let functionLines = 70
    static let lineCharacters = 120

    @Test func linesFit() {
        for file in Repository.files where !file.isProse {
            for (index, line) in file.lines.enumerated() {
                let count = line.unicodeScalars.count
                #expect(count <= Self.lineCharacters, "\(file.place(index)): \(count) characters")
            }
        }
    }

    @Test func filesFit() {
        for file in Repository.files where !file.isProse {
            let count = file.lines.count
            #expect(count <= Self.fileLines, "\(file.path): \(count) lines; cut it where its subject changes")
        }
    }

    @Test func functionsFit() {
        for file in Repository.files where file.isSwift || file.isC {
            for function in file.isSwift ? Functions.inSwift(file) : Functions.inC(file) {
                #expect(
                    function.lines <= Self.functionLines,
                    "\(file.place(function.start)): a function of \(function.lines) lines")
            }
        }
    }

    /// The measure measures: a known text has known functions.
    @Test func functionsAreFound() {
        let text = [
            "struct S {", "    func a(x: Int = 1) -> Int {", "        if x > 0 { return 1 }", "        return 2",
            "    }",
            "    init?(", "        y: Int", "    ) {", "    }", "}", "protocol P {", "    func b()",
            "    var c: Int { get }",
            "}",
        ]
        let file = TextFile(path: "X.swift", lines: text, code: text)
        #expect(Functions.inSwift(file).map(\.start) == [1, 5])
        #expect(Functions.inSwift(file).map(\.lines) == [4, 4])
    }
}

/// Where functions begin and how many lines they take, by their braces.
enum Functions {
    struct Found {
        let start: Int
        let lines: Int
    }

    static func inSwift(_ file: TextFile) -> [Found] {
        var found: [Found] = []
        for (index, line) in file.code.enumerated() where startsFunction(line) {
            if let end = end(of: index, in: file.code) { found.append(Found(start: index, lines: end - index + 1)) }
        }
        return found
    }

    /// In C a body stands between a line that ends with "{" and a "}", both at the margin.
    static func inC(_ file: TextFile) -> [Found] {
        var found: [Found] = [], start: Int?
        for (index, line) in file.code.enumerated() {
            let isAtMargin = line.first.map { $0 != " " && $0 != "#" } ?? false
            if isAtMargin && line.hasSuffix(") {") { start = index }
            if line.hasPrefix("}"), let first = start {
                found.append(Found(start: first, lines: index - first + 1))
                start = nil
            }
        }
        return found
    }

    private static func startsFunction(_ line: String) -> Bool {
        let words = line.split { $0 == " " || $0 == "(" || $0 == "<" || $0 == "?" }
        let modifiers: Set<Substring> = [
            "public", "private", "internal", "fileprivate", "static", "class", "final", "override", "mutating",
            "nonmutating", "consuming", "borrowing", "convenience", "required", "nonisolated", "@inlinable", "@inline",
            "__always", "__always)", "never)", "@usableFromInline", "@Test", "@discardableResult", "isolated", "prefix",
        ]
        guard let first = words.first(where: { !modifiers.contains($0) }) else { return false }
        return first == "func" || first == "init" || first == "deinit" || first == "subscript"
    }

    /// The line that closes the body which opens at or after line `start`; nil for a declaration without one.
    private static func end(of start: Int, in code: [String]) -> Int? {
        var parentheses = 0, braces = 0, hasBody = false
        for index in start..<code.count {
            for byte in code[index].utf8 {
                switch byte {
                case UInt8(ascii: "("), UInt8(ascii: "["): parentheses += 1
                case UInt8(ascii: ")"), UInt8(ascii: "]"): parentheses -= 1
                case UInt8(ascii: "{"): (braces, hasBody) = (braces + 1, hasBody || parentheses == 0)
                case UInt8(ascii: "}"): braces -= 1
                default: break
                }
                if braces < 0 { return nil }
            }
            if hasBody && braces == 0 { return index }
            if !hasBody && parentheses == 0 && !continues(code, index + 1) { return nil }
        }
        return nil
    }

    /// A signature may go on with its result, effects, constraints or opening brace on the next line.
    private static func continues(_ code: [String], _ index: Int) -> Bool {
        guard index < code.count else { return false }
        let text = code[index].drop { $0 == " " }
        return ["{", "->", "throws", "async", "where", ")"].contains { text.hasPrefix($0) }
    }
}
