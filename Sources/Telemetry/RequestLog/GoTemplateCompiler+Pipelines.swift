import Primitives

/// Pipelines: commands, their operands, and what may be given to what.
extension GoTemplateCompiler {
    /// Compiles `[$x :=] command { | command }` up to the end or a closing parenthesis.
    ///
    /// - Returns: the type of the value left on the stack (nothing is, if it is a structure), and the variable that
    ///   took it instead.
    mutating func pipeline(_ parser: inout GoPipeline) throws(GoTemplate.Problem) -> (type: GoType, stored: Variable?) {
        guard let first = parser.peek(), case .variable(let name) = first.kind, let sign = parser.peek(1),
            sign.kind == .declare || sign.kind == .assign
        else { return (try commands(&parser), nil) }
        parser.index += 2
        let type = try commands(&parser)
        return (type, try store(name, type: type, isNew: sign.kind == .declare, at: first.offset))
    }

    private mutating func store(
        _ name: String, type: GoType, isNew: Bool, at offset: Int
    ) throws(GoTemplate.Problem) -> Variable {
        guard !name.isEmpty else { throw problem(at: offset, "$ cannot be set") }
        guard isNew else {
            guard let index = variables.lastIndex(where: { $0.name == name }) else {
                throw problem(at: offset, "undefined variable $\(name)")
            }
            guard !type.isStructure, !variables[index].type.isStructure else {
                throw problem(at: offset, "$\(name) is \(variables[index].type.name) and cannot be set to \(type.name)")
            }
            if variables[index].type != type { variables[index].type = .unknown }
            code.append(.store(Int32(variables[index].slot)))
            pop()
            return variables[index]
        }
        guard slots < GoTemplate.operandLimit else {
            throw problem(at: offset, "more than \(GoTemplate.operandLimit) variables")
        }
        if !type.isStructure {
            code.append(.store(Int32(slots)))
            pop()
        }
        variables.append(Variable(name: name, type: type, slot: slots))
        slots += 1
        return variables[variables.count - 1]
    }

    private mutating func commands(_ parser: inout GoPipeline) throws(GoTemplate.Problem) -> GoType {
        var type = try command(&parser, piped: nil)
        while let token = parser.peek(), token.kind == .pipe {
            parser.index += 1
            if type.isStructure {
                note(at: token.offset, "\(type.name) as a whole cannot be passed on; name one of its fields")
                push(.pushBool(false))
                type = .unknown
            }
            type = try command(&parser, piped: type)
        }
        return type
    }

    private mutating func command(
        _ parser: inout GoPipeline, piped: GoType?
    ) throws(GoTemplate.Problem) -> GoType {
        guard let first = parser.peek(), first.kind != .pipe, first.kind != .close else { throw unexpected(parser) }
        if case .identifier(let name) = first.kind, name != "true", name != "false" {
            parser.index += 1
            return try call(name, at: first.offset, &parser, piped: piped)
        }
        let type = try operand(&parser, isCommand: true)
        if let next = parser.peek(), next.kind != .pipe, next.kind != .close {
            throw problem(at: next.offset, "an argument for what is not a function")
        }
        guard piped == nil else { throw problem(at: first.offset, "only a function can follow |") }
        return type
    }

    // MARK: Functions

    private mutating func call(
        _ name: String, at offset: Int, _ parser: inout GoPipeline, piped: GoType?
    ) throws(GoTemplate.Problem) -> GoType {
        guard let function = GoFunction(rawValue: name) else {
            let allowed = "and or not eq ne lt le gt ge len index print println printf js html urlquery"
            throw problem(at: offset, "function \"\(name)\" is not supported; there are \(allowed)")
        }
        switch function {
        case .and, .or: return try junction(function, at: offset, &parser, piped: piped)
        case .index: if let type = try headerIndex(&parser) { return type }
        case _: break
        }
        var format: [UInt8]?
        if let token = parser.peek(), case .string(let bytes) = token.kind { format = bytes }
        var types: [GoType] = piped.map { [$0] } ?? []
        while let token = parser.peek(), token.kind != .pipe, token.kind != .close {
            types.append(try value(&parser))
        }
        let arguments = piped == nil ? types : Array(types.dropFirst()) + types.prefix(1)
        let result = check(function, arguments, format: format, at: offset)
        pop(types.count)
        push(.call(function, count: Int32(types.count), isPiped: piped != nil))
        return result
    }

    /// `and` and `or` look no further than needed, and their value is that of the argument that decided.
    private mutating func junction(
        _ function: GoFunction, at offset: Int, _ parser: inout GoPipeline, piped: GoType?
    ) throws(GoTemplate.Problem) -> GoType {
        guard piped == nil else { throw problem(at: offset, "\(function.rawValue) after | is not supported") }
        var type: GoType?
        var jumps: [Int] = []
        while let token = parser.peek(), token.kind != .pipe, token.kind != .close {
            if type != nil {
                jumps.append(code.count)
                code.append(.jump(0))
                pop()
            }
            let next = try value(&parser)
            type = type == nil || type == next ? next : .unknown
        }
        guard let type else { throw problem(at: offset, "\(function.rawValue) needs an argument") }
        for jump in jumps {
            code[jump] = function == .and ? .jumpIfFalse(Int32(code.count)) : .jumpIfTrue(Int32(code.count))
        }
        return type
    }

    /// `index .Request.Header "X"`: all values of a header; further arguments pick one of them.
    private mutating func headerIndex(_ parser: inout GoPipeline) throws(GoTemplate.Problem) -> GoType? {
        var trial = parser
        guard let path = headerPath(&trial) else { return nil }
        guard let name = trial.peek(), case .string(let bytes) = name.kind else {
            throw problem(at: path, "index of a header needs its name as a constant")
        }
        parser = trial
        parser.index += 1
        // A map is asked for the very key, and Go keeps headers by their canonical one.
        let isCanonical = bytes == GoTemplateCompiler.canonical(bytes)
        pushHeader(isCanonical ? bytes : [], isList: true)
        guard let next = parser.peek(), next.kind != .pipe, next.kind != .close else { return .strings }
        guard try value(&parser) == .integer else {
            note(at: next.offset, "the index of a header's value must be an integer")
            return .string
        }
        pop(2)
        push(.call(.index, count: 2, isPiped: false))
        return .string
    }

    /// Reads over a chain of fields that leads to the header, without compiling it; nil if it leads elsewhere.
    private func headerPath(_ parser: inout GoPipeline) -> Int? {
        guard let first = parser.next() else { return nil }
        var type = dot.type
        switch first.kind {
        case .field(let name):
            guard case .structure(let inner) = GoType.members[type.name]?[name] else { return nil }
            type = inner
        case .variable(let name):
            guard let variable = variables.last(where: { $0.name == name }) else { return nil }
            type = variable.type
        case .dot: break
        case _: return nil
        }
        while let token = parser.peek(), case .field(let name) = token.kind, token.offset == parser.lastEnd {
            guard case .structure(let inner) = GoType.members[type.name]?[name] else { return nil }
            type = inner
            parser.index += 1
        }
        return type == .header ? first.offset : nil
    }

    // MARK: Operands

    /// Compiles an argument, which must be a value.
    private mutating func value(_ parser: inout GoPipeline) throws(GoTemplate.Problem) -> GoType {
        let offset = parser.peek()?.offset ?? parser.lastEnd
        let type = try operand(&parser, isCommand: false)
        guard type.isStructure else { return type }
        note(at: offset, "\(type.name) as a whole cannot be an argument; name one of its fields")
        push(.pushBool(false))
        return .unknown
    }

    /// Compiles a constant, a field, a variable or what stands in parentheses.
    private mutating func operand(
        _ parser: inout GoPipeline, isCommand: Bool
    ) throws(GoTemplate.Problem) -> GoType {
        parser.operands += 1
        guard parser.operands <= GoTemplate.operandLimit, let token = parser.next() else {
            throw problem(at: parser.lastEnd, "more than \(GoTemplate.operandLimit) operands")
        }
        switch token.kind {
        case .string(let bytes):
            let place = intern(bytes)
            push(.pushText(offset: place.offset, count: place.count))
            return .string
        case .integer(let value):
            push(.pushInteger(value))
            return .integer
        case .float(let value):
            push(.pushFloat(value))
            return .float
        case .identifier(let name):
            guard name == "true" || name == "false" else {
                throw problem(at: token.offset, "\(name) cannot be an argument; put a call in parentheses")
            }
            push(.pushBool(name == "true"))
            return .bool
        case .dot: return try chain(from: dot, token, &parser, isCommand: isCommand)
        case .field:
            parser.index -= 1
            return try chain(from: dot, nil, &parser, isCommand: isCommand)
        case .variable(let name):
            guard let variable = variables.last(where: { $0.name == name }) else {
                throw problem(at: token.offset, "undefined variable $\(name)")
            }
            return try chain(from: variable, token, &parser, isCommand: isCommand)
        case .open: return try parenthesis(&parser, at: token.offset, isCommand: isCommand)
        case .pipe, .close, .declare, .assign, .comma:
            parser.index -= 1
            throw unexpected(parser)
        }
    }

    private mutating func parenthesis(
        _ parser: inout GoPipeline, at offset: Int, isCommand: Bool
    ) throws(GoTemplate.Problem) -> GoType {
        parser.nesting += 1
        parser.operands -= 1
        guard parser.nesting <= GoTemplate.depthLimit else {
            throw problem(at: offset, "parentheses nested more than \(GoTemplate.depthLimit) deep")
        }
        let type = try commands(&parser)
        guard let close = parser.next(), close.kind == .close else { throw problem(at: offset, "unclosed parenthesis") }
        parser.nesting -= 1
        guard let next = parser.peek(), case .field = next.kind, next.offset == close.end else { return type }
        guard type.isStructure else { throw problem(at: next.offset, "\(type.name) in parentheses has no fields here") }
        return try chain(from: Variable(name: "", type: type, slot: 0), nil, &parser, isCommand: isCommand)
    }

    /// Follows `.A.B` from a variable. `token` is the variable's own word, nil if the chain begins with a field.
    private mutating func chain(
        from variable: Variable, _ token: Token?, _ parser: inout GoPipeline, isCommand: Bool
    ) throws(GoTemplate.Problem) -> GoType {
        var type = variable.type
        var found: (field: GoField, type: GoType)?
        var isFirst = token == nil
        while let next = parser.peek(), case .field(let name) = next.kind, isFirst || next.offset == parser.lastEnd {
            isFirst = false
            parser.index += 1
            switch GoType.members[type.name]?[name] {
            case .structure(let inner): type = inner
            case .value(let field, let inner):
                guard type.isStructure || found != nil else {
                    throw problem(at: next.offset, "fields of a variable of type \(type.name) are not supported")
                }
                (found, type) = ((field, inner), inner)
            case .headerMethod(let isList):
                return try headerMethod(name, isList: isList, at: next.offset, &parser, isCommand: isCommand)
            case nil:
                noteUnknown(name, of: type, at: next.offset)
                while let more = parser.peek(), case .field = more.kind, more.offset == parser.lastEnd {
                    parser.index += 1
                }
                push(.pushBool(false))
                return .unknown
            }
        }
        if let found {
            push(.pushField(found.field))
            headerNames.formUnion(found.field.headerNames)
        } else if !type.isStructure {
            push(.load(Int32(variable.slot)))
        }
        return type
    }

    private mutating func noteUnknown(_ name: String, of type: GoType, at offset: Int) {
        guard let members = GoType.members[type.name] else {
            return note(at: offset, "can't evaluate field \(name) in type \(type.name)")
        }
        let known = members.keys.sorted().joined(separator: ", ")
        note(at: offset, "can't evaluate field \(name) in type \(type.name); supported are \(known)")
    }

    private mutating func headerMethod(
        _ name: String, isList: Bool, at offset: Int, _ parser: inout GoPipeline, isCommand: Bool
    ) throws(GoTemplate.Problem) -> GoType {
        guard isCommand else { throw problem(at: offset, "put the call of \(name) in parentheses") }
        guard let argument = parser.next(), case .string(let bytes) = argument.kind else {
            throw problem(at: offset, "\(name) needs the name of a header as a constant")
        }
        pushHeader(bytes, isList: isList)
        return isList ? .strings : .string
    }

    private mutating func pushHeader(_ name: [UInt8], isList: Bool) {
        let lower = name.map { ASCII.lowercased($0) }
        // Go takes Host out of the header.
        let text = String(decoding: lower, as: UTF8.self)
        let place = intern(text == "host" ? [] : lower)
        if place.count > 0 { headerNames.insert(text) }
        push(
            isList
                ? .pushHeaders(offset: place.offset, count: place.count)
                : .pushHeader(offset: place.offset, count: place.count))
    }

    /// `x-b3-traceid` as Go keeps it: `X-B3-Traceid`.
    static func canonical(_ name: [UInt8]) -> [UInt8] {
        var isStart = true
        return name.map { byte in
            defer { isStart = byte == UInt8(ascii: "-") }
            let lower = ASCII.lowercased(byte)
            return isStart && lower &- 0x61 < 26 ? lower & ~0x20 : lower
        }
    }
}
