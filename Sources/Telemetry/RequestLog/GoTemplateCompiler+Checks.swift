import Primitives

/// What functions may be given, checked while the template is read, so that no line fails for it later.
extension GoTemplateCompiler {
    /// Notes what is wrong with a call.
    ///
    /// - Parameter format: the constant first argument, for `printf`.
    /// - Returns: the type of the result.
    mutating func check(
        _ function: GoFunction, _ types: [GoType], format: [UInt8]?, at offset: Int
    ) -> GoType {
        switch function {
        case .not:
            expect(types.count == 1, "not needs one argument", at: offset)
            return .bool
        case .eq:
            expect(types.count >= 2, "eq needs two or more arguments", at: offset)
            compare(function, types, at: offset)
            return .bool
        case .ne, .lt, .le, .gt, .ge:
            expect(types.count == 2, "\(function.rawValue) needs two arguments", at: offset)
            compare(function, types, at: offset)
            return .bool
        case .len:
            let isCountable = types.count == 1 && [.string, .strings, .unknown].contains(types[0])
            expect(isCountable, "len needs one text or list", at: offset)
            return .integer
        case .index:
            let isList = types.count == 2 && [.strings, .unknown].contains(types[0]) && types[1] == .integer
            expect(isList, "index needs .Request.Header and a name, or a list and an integer", at: offset)
            return .string
        case .printf:
            guard let format else {
                note(at: offset, "printf needs its format as a constant")
                return .string
            }
            if let problem = GoFormat.problem(of: format, with: Array(types.dropFirst())) {
                note(at: offset, "printf: \(problem)")
            }
            return .string
        case .sprint, .println: return .string
        case .js, .html, .urlquery:
            expect(!types.isEmpty, "\(function.rawValue) needs an argument", at: offset)
            return .string
        case .and, .or: return .unknown
        }
    }

    private mutating func expect(_ holds: Bool, _ message: String, at offset: Int) {
        if !holds { note(at: offset, message) }
    }

    /// Go compares only what is of one kind: no integer with a float, no pointer and no list at all.
    private mutating func compare(_ function: GoFunction, _ types: [GoType], at offset: Int) {
        guard let first = types.first else { return }
        for type in types {
            guard [.string, .integer, .float, .bool, .unknown].contains(type) else {
                return note(at: offset, "\(function.rawValue) cannot compare a \(type.name)")
            }
            guard type == first || type == .unknown || first == .unknown else {
                let both = "\(first.name) and \(type.name)"
                return note(at: offset, "\(function.rawValue): incompatible types for comparison: \(both)")
            }
        }
        let isOrder = function != .eq && function != .ne
        if isOrder, first == .bool { note(at: offset, "\(function.rawValue) cannot compare a bool") }
    }
}
