import Primitives

/// Turns the text of a template into its program. Runs once, at start.
///
/// A grave mistake in the syntax ends it; fields and functions that do not exist are noted, and it goes on.
struct GoTemplateCompiler {
    typealias Token = GoTemplateToken
    typealias Instruction = GoTemplate.Instruction

    /// A name, and what it stands for: a structure, which takes no memory, or a value in its slot.
    struct Variable {
        let name: String
        var type: GoType
        let slot: Int
    }

    /// How a list of texts and actions ended.
    enum Ending {
        case source
        /// `{{end}}`.
        case end
        /// `{{else …}}` with what follows the word.
        case elseBranch([Token])
    }

    let source: [UInt8]
    var cursor = 0
    var code: [Instruction] = []
    var pool: [UInt8] = []
    var problems: [GoTemplate.Problem] = []
    var headerNames: Set<String> = []
    var variables = [Variable(name: "", type: .root, slot: 0)]
    /// What `.` stands for.
    var dot = Variable(name: ".", type: .root, slot: 0)
    var slots = 1
    var depth = 0
    var deepest = 0
    private var nesting = 0
    private var trimsNext = false
    /// Where the last action began.
    private var lastAction = 0

    init(_ source: [UInt8]) { self.source = source }

    mutating func compile() throws(GoTemplate.Problem) {
        let ending = try list()
        switch ending {
        case .source: return
        case .end: throw problem(at: lastAction, "unexpected {{end}}")
        case .elseBranch: throw problem(at: lastAction, "unexpected {{else}}")
        }
    }

    // MARK: Texts and actions

    private mutating func list() throws(GoTemplate.Problem) -> Ending {
        while cursor < source.count {
            let opening = nextOpening()
            let lexer = GoTemplateLexer(source: source, cursor: opening)
            let trims =
                lexer.matches("{{-", at: opening) && opening + 3 < source.count && lexer.isSpace(source[opening + 3])
            text(from: cursor, to: opening, trimsEnd: trims)
            guard opening < source.count else {
                cursor = opening
                return .source
            }
            cursor = opening + (trims ? 4 : 2)
            if try comment(opening: opening) { continue }
            if let ending = try action(opening: opening) { return ending }
        }
        return .source
    }

    private func nextOpening() -> Int {
        var place = cursor
        while place + 1 < source.count {
            if source[place] == UInt8(ascii: "{"), source[place + 1] == UInt8(ascii: "{") { return place }
            place += 1
        }
        return source.count
    }

    private mutating func text(from start: Int, to end: Int, trimsEnd: Bool) {
        var (start, end) = (start, end)
        let lexer = GoTemplateLexer(source: source, cursor: 0)
        if trimsNext { while start < end, lexer.isSpace(source[start]) { start += 1 } }
        if trimsEnd { while end > start, lexer.isSpace(source[end - 1]) { end -= 1 } }
        trimsNext = false
        guard start < end else { return }
        let place = intern(Array(source[start..<end]))
        code.append(.text(offset: place.offset, count: place.count))
    }

    /// Skips `/* … */`, if that is what stands here. It must be alone between its braces.
    private mutating func comment(opening: Int) throws(GoTemplate.Problem) -> Bool {
        let lexer = GoTemplateLexer(source: source, cursor: cursor)
        guard lexer.matches("/*", at: cursor) else { return false }
        var place = cursor + 2
        while place < source.count, !lexer.matches("*/", at: place) { place += 1 }
        guard place < source.count else { throw problem(at: opening, "unclosed comment") }
        place += 2
        if lexer.matches("}}", at: place) {
            cursor = place + 2
        } else if place < source.count, lexer.isSpace(source[place]), lexer.matches("-}}", at: place + 1) {
            cursor = place + 4
            trimsNext = true
        } else {
            throw problem(at: place, "comment ends before closing delimiter")
        }
        return true
    }

    private mutating func action(opening: Int) throws(GoTemplate.Problem) -> Ending? {
        lastAction = opening
        var lexer = GoTemplateLexer(source: source, cursor: cursor)
        var tokens: [Token] = []
        do throws(GoTemplateLexer.Stop) {
            (tokens, trimsNext) = try lexer.action()
        } catch {
            throw problem(at: error.offset, error.message)
        }
        cursor = lexer.cursor
        guard let first = tokens.first else { throw problem(at: opening, "missing value for command") }
        guard case .identifier(let word) = first.kind else {
            try standalone(tokens)
            return nil
        }
        switch word {
        case "end":
            guard tokens.count == 1 else { throw problem(at: tokens[1].offset, "unexpected word in {{end}}") }
            return .end
        case "else": return .elseBranch(Array(tokens.dropFirst()))
        case "if", "with":
            try branch(Array(tokens.dropFirst()), at: first.offset, isWith: word == "with")
        case "range", "define", "template", "block", "break", "continue":
            throw problem(at: first.offset, "{{\(word)}} is not supported in a request log template")
        case _: try standalone(tokens)
        }
        return nil
    }

    /// A pipeline whose value is printed, or a variable set by one.
    private mutating func standalone(_ tokens: [Token]) throws(GoTemplate.Problem) {
        var parser = GoPipeline(tokens: tokens)
        let mark = code.count
        let (type, stored) = try pipeline(&parser)
        guard parser.isAtEnd else { throw unexpected(parser) }
        if stored != nil { return }
        if type.isStructure {
            note(at: tokens[0].offset, "\(type.name) as a whole cannot be printed; name one of its fields")
            return
        }
        fusePrint(from: mark)
        pop()
    }

    /// Puts the print after the value, or both into one step where that is all there is.
    private mutating func fusePrint(from mark: Int) {
        if code.count == mark + 1, case .pushField(let field) = code[mark] {
            code[mark] = .writeField(field)
        } else if code.count == mark + 2, case .pushField(let field) = code[mark],
            case .call(.js, count: 1, isPiped: _) = code[mark + 1], field.isText
        {
            code.removeLast()
            code[mark] = .writeEscapedField(field)
        } else {
            code.append(.write)
        }
    }

    // MARK: if and with

    private mutating func branch(_ tokens: [Token], at offset: Int, isWith: Bool) throws(GoTemplate.Problem) {
        nesting += 1
        guard nesting <= GoTemplate.depthLimit else {
            throw problem(at: offset, "nested more than \(GoTemplate.depthLimit) deep")
        }
        let (outer, outerDot) = (variables, dot)
        defer { (variables, dot, nesting) = (outer, outerDot, nesting - 1) }
        let escape = try condition(tokens, at: offset, isWith: isWith)
        let taken = try list()
        (variables, dot) = (outer, outerDot)
        guard case .elseBranch(let rest) = taken else {
            guard case .end = taken else { throw problem(at: offset, "{{\(isWith ? "with" : "if")}} without {{end}}") }
            code[escape] = .jumpUnless(Int32(code.count))
            return
        }
        code.append(.jump(0))
        let leave = code.count - 1
        code[escape] = .jumpUnless(Int32(code.count))
        try elseBranch(rest, at: offset)
        code[leave] = .jump(Int32(code.count))
    }

    private mutating func elseBranch(_ tokens: [Token], at offset: Int) throws(GoTemplate.Problem) {
        if let first = tokens.first {
            guard case .identifier(let word) = first.kind, word == "if" || word == "with" else {
                throw problem(at: first.offset, "unexpected word in {{else}}; only if or with may follow")
            }
            return try branch(Array(tokens.dropFirst()), at: first.offset, isWith: word == "with")
        }
        let ending = try list()
        guard case .end = ending else { throw problem(at: offset, "expected {{end}} after {{else}}") }
    }

    /// Compiles what is asked and the jump over what follows if it is not so.
    ///
    /// - Returns: where the jump stands, to be given its target.
    private mutating func condition(
        _ tokens: [Token], at offset: Int, isWith: Bool
    ) throws(GoTemplate.Problem) -> Int {
        guard !tokens.isEmpty else { throw problem(at: offset, "missing value for \(isWith ? "with" : "if")") }
        var parser = GoPipeline(tokens: tokens)
        let (type, stored) = try pipeline(&parser)
        guard parser.isAtEnd else { throw unexpected(parser) }
        let held = isWith ? stored ?? newDot(type) : stored
        if isWith, let held { dot = held }
        if type.isStructure {
            push(.pushBool(true))
        } else if let held {
            push(.load(Int32(held.slot)))
        }
        pop()
        code.append(.jumpUnless(0))
        return code.count - 1
    }

    private mutating func newDot(_ type: GoType) -> Variable {
        guard !type.isStructure else { return Variable(name: ".", type: type, slot: 0) }
        slots += 1
        code.append(.store(Int32(slots - 1)))
        pop()
        return Variable(name: ".", type: type, slot: slots - 1)
    }

    // MARK: Emitting

    mutating func push(_ instruction: Instruction) {
        code.append(instruction)
        depth += 1
        deepest = max(deepest, depth)
    }

    mutating func pop(_ count: Int = 1) {
        depth -= count
        assert(depth >= 0 || !problems.isEmpty)
    }

    mutating func intern(_ bytes: [UInt8]) -> (offset: Int32, count: Int32) {
        defer { pool += bytes }
        return (Int32(pool.count), Int32(bytes.count))
    }

    // MARK: Problems

    func problem(at offset: Int, _ message: String) -> GoTemplate.Problem {
        var (line, column) = (1, 1)
        for byte in source[0..<min(offset, source.count)] {
            (line, column) = byte == ASCII.lf ? (line + 1, 1) : (line, column + 1)
        }
        return GoTemplate.Problem(line: line, column: column, message: message)
    }

    mutating func note(at offset: Int, _ message: String) { problems.append(problem(at: offset, message)) }

    func unexpected(_ parser: GoPipeline) -> GoTemplate.Problem {
        guard let token = parser.peek() else { return problem(at: parser.lastEnd, "missing value for command") }
        let text = String(decoding: source[token.offset..<token.end], as: UTF8.self)
        return problem(at: token.offset, "unexpected \(text) in command")
    }
}

/// The words of one action and how far they have been read.
struct GoPipeline {
    let tokens: [GoTemplateToken]
    var index = 0
    /// How deep parentheses are open.
    var nesting = 0
    /// How many operands there were.
    var operands = 0

    init(tokens: [GoTemplateToken]) { self.tokens = tokens }

    var isAtEnd: Bool { index >= tokens.count }
    var lastEnd: Int { index > 0 ? tokens[index - 1].end : 0 }

    func peek(_ ahead: Int = 0) -> GoTemplateToken? { index + ahead < tokens.count ? tokens[index + ahead] : nil }

    mutating func next() -> GoTemplateToken? {
        defer { index += 1 }
        return peek()
    }
}
