import Primitives

/// The functions of the language.
extension GoFunction {
    /// Calls it. Texts it makes go to `scratch`.
    func call(
        _ arguments: UnsafeBufferPointer<GoValue>, _ record: RequestLogRecord, _ scratch: inout ByteWriter
    ) throws(GoRenderFailure) -> GoValue {
        switch self {
        case .not: return .bool(!arguments[0].isTrue(in: record))
        case .eq:
            for other in arguments.dropFirst() where try equals(arguments[0], other) { return .bool(true) }
            return .bool(false)
        case .ne: return .bool(try !equals(arguments[0], arguments[1]))
        case .lt: return .bool(try isLess(arguments[0], arguments[1]))
        case .le, .gt:
            let isLess = try isLess(arguments[0], arguments[1])
            let isEqual = try equals(arguments[0], arguments[1])
            return .bool((isLess || isEqual) == (self == .le))
        case .ge: return .bool(try !isLess(arguments[0], arguments[1]))
        case .len: return .integer(try length(of: arguments[0], record))
        case .index:
            guard case .strings(let name) = arguments[0], case .integer(let index) = arguments[1], index >= 0,
                !name.isEmpty, let value = record.header(name, at: Int(index))
            else { throw .indexOutOfRange }
            return .string(value)
        case .and, .or:
            assertionFailure("compiled to jumps")
            return arguments[0]
        case .sprint, .println, .printf, .js, .html, .urlquery:
            return .string(try text(arguments, record, &scratch))
        }
    }

    private func length(of value: GoValue, _ record: RequestLogRecord) throws(GoRenderFailure) -> Int64 {
        switch value {
        case .string(let text): return Int64(text.count)
        case .strings(let name):
            var count = 0
            while !name.isEmpty, record.header(name, at: count) != nil { count += 1 }
            return Int64(count)
        case .integer, .float, .bool, .url, .tls, .nilPointer: throw .incomparable
        }
    }

    private func equals(_ left: GoValue, _ right: GoValue) throws(GoRenderFailure) -> Bool {
        switch (left, right) {
        case (.string(let left), .string(let right)): return left.equals(right)
        case (.integer(let left), .integer(let right)): return left == right
        case (.float(let left), .float(let right)): return left == right
        case (.bool(let left), .bool(let right)): return left == right
        case _: throw .incomparable
        }
    }

    private func isLess(_ left: GoValue, _ right: GoValue) throws(GoRenderFailure) -> Bool {
        switch (left, right) {
        case (.string(let left), .string(let right)):
            for index in 0..<min(left.count, right.count) where left[index] != right[index] {
                return left[index] < right[index]
            }
            return left.count < right.count
        case (.integer(let left), .integer(let right)): return left < right
        case (.float(let left), .float(let right)): return left < right
        case _: throw .incomparable
        }
    }

    // MARK: Texts

    private func text(
        _ arguments: UnsafeBufferPointer<GoValue>, _ record: RequestLogRecord, _ scratch: inout ByteWriter
    ) throws(GoRenderFailure) -> ByteView {
        let start: Int
        switch self {
        case .js, .html, .urlquery:
            let plain = printed(arguments, record, &scratch)
            start = scratch.count
            switch self {
            case .js: scratch.append(js: plain)
            case .html: scratch.append(html: plain)
            case _: scratch.append(urlQuery: plain)
            }
        case .printf:
            start = scratch.count
            format(arguments, record, &scratch)
        case _:
            start = scratch.count
            _ = printed(arguments, record, &scratch)
        }
        guard !scratch.overflowed else { throw .tooLong }
        return scratch.written.dropping(first: start)
    }

    /// Go's `Sprint`, or `Sprintln` for that function: a space between two operands if neither is a text.
    private func printed(
        _ arguments: UnsafeBufferPointer<GoValue>, _ record: RequestLogRecord, _ scratch: inout ByteWriter
    ) -> ByteView {
        let start = scratch.count
        let isLine = self == .println
        if !isLine, self != .sprint, arguments.count == 1, case .string(let text) = arguments[0] { return text }
        for index in 0..<arguments.count {
            let isBetween = index > 0
            if isBetween, isLine || !(arguments[index].isString || arguments[index - 1].isString) {
                scratch.append(ASCII.space)
            }
            scratch.append(arguments[index], of: record)
        }
        if isLine { scratch.append(ASCII.lf) }
        return scratch.written.dropping(first: start)
    }

    /// `printf`. The compiler has counted verbs and arguments.
    private func format(
        _ arguments: UnsafeBufferPointer<GoValue>, _ record: RequestLogRecord, _ scratch: inout ByteWriter
    ) {
        guard case .string(let format) = arguments[0] else { return }
        var pieces = GoFormat(format)
        var index = 1
        while true {
            switch pieces.next() {
            case .text(let range): scratch.append(format[range])
            case .verb(let verb):
                guard index < arguments.count else { return }
                scratch.append(arguments[index], verb: verb, of: record)
                index += 1
            case .malformed, .end: return
            }
        }
    }
}
