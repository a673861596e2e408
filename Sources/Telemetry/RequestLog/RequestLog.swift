import Primitives

/// Writes the lines of the request log of one worker. Owns the memory a template needs while it runs.
public struct RequestLog: ~Copyable {
    /// Most bytes of a line. What would be longer is left out, and a short line says so.
    public static let lineLimit = 65_536
    /// Most bytes of a URL in the line that stands for one that could not be written.
    public static let failureURLLimit = 1024

    /// What became of a line.
    public enum Outcome: Equatable, Sendable {
        /// It was written.
        case written
        /// It could not be: a line with method, status, latency and URL says so.
        case failed
        /// The writer has no room for it, and nothing was written: empty it and try again. One with room for
        /// `lineLimit` takes any line.
        case noRoom
    }

    private let template: GoTemplate
    private let stack: UnsafeMutablePointer<GoValue>
    private let variables: UnsafeMutablePointer<GoValue>
    private let scratch: UnsafeMutableRawBufferPointer
    /// The texts of the program, where they stay.
    private let pool: UnsafeMutableRawBufferPointer

    /// Memory for one template: none that matters for the default one, `lineLimit` if it builds texts.
    public init(_ template: GoTemplate) {
        self.template = template
        stack = .allocate(capacity: template.stackDepth + 1)
        variables = .allocate(capacity: template.variableCount)
        variables.initialize(repeating: .bool(false), count: template.variableCount)
        scratch = .allocate(byteCount: template.needsScratch ? RequestLog.lineLimit : 1, alignment: 1)
        pool = .allocate(byteCount: max(1, template.pool.count), alignment: 1)
        pool.copyBytes(from: template.pool)
    }

    deinit {
        stack.deallocate()
        variables.deallocate()
        scratch.deallocate()
        pool.deallocate()
    }

    /// Appends the line of a request, with its line feed. Allocates nothing (but `printf` of a float with a precision).
    public mutating func write(_ record: RequestLogRecord, to writer: inout ByteWriter) -> Outcome {
        guard !writer.overflowed else { return .noRoom }
        let mark = writer.count
        let room = writer.capacity - mark
        do throws(GoRenderFailure) {
            try run(record, into: &writer)
            if !writer.overflowed, writer.count - mark <= RequestLog.lineLimit {
                if writer.count > mark, writer.base[writer.count - 1] != ASCII.lf { writer.append(ASCII.lf) }
                if !writer.overflowed { return .written }
            }
            guard room >= RequestLog.lineLimit else {
                writer.rewind(to: mark)
                return .noRoom
            }
            throw .tooLong
        } catch {
            writer.rewind(to: mark)
            writer.append(failure: error, of: record)
            guard writer.overflowed else { return .failed }
            writer.rewind(to: mark)
            return .noRoom
        }
    }

    /// Runs the program once, from its first step to its last: there is no way back, so it ends.
    private mutating func run(
        _ record: RequestLogRecord, into writer: inout ByteWriter
    ) throws(GoRenderFailure) {
        var scratch = ByteWriter(self.scratch)
        var top = 0
        var place = 0
        while place < template.code.count {
            let instruction = template.code[place]
            place += 1
            assert(top >= 0 && top <= template.stackDepth)
            switch instruction {
            case .text(let offset, let count): writer.append(poolText(offset, count))
            case .writeField(let field): try RequestLog.writeField(field, record, &scratch, into: &writer)
            case .writeEscapedField(let field): writer.append(js: field.text(in: record))
            case .write:
                top -= 1
                writer.append(stack[top], of: record)
            case .store(let slot):
                top -= 1
                variables[Int(slot)] = stack[top]
            case .jump(let target): place = Int(target)
            case .jumpUnless(let target):
                top -= 1
                if !stack[top].isTrue(in: record) { place = Int(target) }
            case .jumpIfFalse(let target), .jumpIfTrue(let target):
                let isWanted = if case .jumpIfTrue = instruction { true } else { false }
                if stack[top - 1].isTrue(in: record) == isWanted { place = Int(target) } else { top -= 1 }
            case .call(let function, let count, let isPiped):
                let arguments = UnsafeMutableBufferPointer(start: stack + top - Int(count), count: Int(count))
                if isPiped { RequestLog.moveFirstToLast(arguments) }
                let result = try function.call(UnsafeBufferPointer(arguments), record, &scratch)
                top -= Int(count)
                stack[top] = result
                top += 1
            case .pushText, .pushInteger, .pushFloat, .pushBool, .pushField, .pushHeader, .pushHeaders, .load:
                stack[top] = try value(of: instruction, record, &scratch)
                top += 1
            }
        }
    }

    private func value(
        of instruction: GoTemplate.Instruction, _ record: RequestLogRecord, _ scratch: inout ByteWriter
    ) throws(GoRenderFailure) -> GoValue {
        switch instruction {
        case .pushText(let offset, let count): return .string(poolText(offset, count))
        case .pushInteger(let value): return .integer(value)
        case .pushFloat(let value): return .float(value)
        case .pushBool(let value): return .bool(value)
        case .pushField(let field): return try field.value(in: record, scratch: &scratch)
        case .pushHeader(let offset, let count):
            let name = poolText(offset, count)
            return .string(name.isEmpty ? .empty : record.header(name) ?? .empty)
        case .pushHeaders(let offset, let count): return .strings(poolText(offset, count))
        case .load(let slot): return variables[Int(slot)]
        case .text, .writeField, .writeEscapedField, .write, .store, .jump, .jumpUnless, .jumpIfFalse, .jumpIfTrue,
            .call:
            assertionFailure("not a value")
            return .bool(false)
        }
    }

    /// A text of the program.
    private func poolText(_ offset: Int32, _ count: Int32) -> ByteView {
        ByteView(UnsafeRawBufferPointer(pool))[Int(offset)..<Int(offset + count)]
    }

    private static func writeField(
        _ field: GoField, _ record: RequestLogRecord, _ scratch: inout ByteWriter, into writer: inout ByteWriter
    ) throws(GoRenderFailure) {
        if field.isText { return writer.append(field.text(in: record)) }
        if field == .path { return writer.append(decoding: RequestTarget(record.requestURI).path) }
        writer.append(try field.value(in: record, scratch: &scratch), of: record)
    }

    private static func moveFirstToLast(_ values: UnsafeMutableBufferPointer<GoValue>) {
        for index in 1..<max(1, values.count) { values.swapAt(index - 1, index) }
    }
}

extension ByteWriter {
    /// Appends the line that stands for one that could not be written; Knative's, with what was wrong where it is ours.
    fileprivate mutating func append(failure: GoRenderFailure, of record: RequestLogRecord) {
        switch failure {
        case .tooLong: append("Request log line of more than 65536 bytes left out: method: ")
        case .nilPointer, .indexOutOfRange, .incomparable: append("Invalid request log template: method: ")
        }
        append(escaped: record.method, limit: RequestLog.failureURLLimit, isQuoted: true)
        append(", response code: ")
        append(decimal: UInt64(record.status))
        append(", latency: ")
        append(goFloat: record.latencySeconds)
        append(", url: ")
        append(escaped: record.requestURI, limit: RequestLog.failureURLLimit, isQuoted: true)
        append(ASCII.lf)
    }
}
