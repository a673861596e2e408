import CYAML

/// One event of libyaml, copied into Swift values.
enum YAMLEvent {
    case documentStart
    case documentEnd
    case alias(String)
    case scalar(text: String, isPlain: Bool, tag: String?, anchor: String?)
    case sequenceStart(tag: String?, anchor: String?)
    case sequenceEnd
    case mappingStart(tag: String?, anchor: String?)
    case mappingEnd
}

/// Reads the events of one text with libyaml. The only place that touches its C interface.
///
/// libyaml keeps pointers into its own structure, so both it and the input live at fixed addresses until `deinit`.
struct YAMLEventReader: ~Copyable {
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let input: UnsafeMutableBufferPointer<UInt8>
    private let isUsable: Bool

    init(_ bytes: [UInt8]) {
        input = .allocate(capacity: max(1, bytes.count))
        _ = input.initialize(from: bytes)
        parser = .allocate(capacity: 1)
        parser.initialize(to: yaml_parser_t())
        isUsable = yaml_parser_initialize(parser) != 0
        if isUsable { yaml_parser_set_input_string(parser, input.baseAddress, bytes.count) }
    }

    deinit {
        if isUsable { yaml_parser_delete(parser) }
        parser.deallocate()
        input.deallocate()
    }

    /// The next event and its place, or nil at the end of the stream.
    /// - Throws: what libyaml says about the text; nothing can be read after it.
    func next() throws(YAMLProblem) -> (YAMLEvent, YAMLMark)? {
        guard isUsable else { throw YAMLProblem("out of memory", at: YAMLMark(line: 1, column: 1), remedy: "") }
        while true {
            var event = yaml_event_t()
            guard yaml_parser_parse(parser, &event) != 0 else { throw failure() }
            defer { yaml_event_delete(&event) }
            switch event.type {
            case YAML_NO_EVENT, YAML_STREAM_END_EVENT: return nil
            case YAML_STREAM_START_EVENT: continue
            default: break
            }
            if let swiftEvent = Self.translate(event) { return (swiftEvent, YAMLMark(event.start_mark)) }
        }
    }

    private static func translate(_ event: yaml_event_t) -> YAMLEvent? {
        switch event.type {
        case YAML_DOCUMENT_START_EVENT: return .documentStart
        case YAML_DOCUMENT_END_EVENT: return .documentEnd
        case YAML_ALIAS_EVENT: return .alias(string(event.data.alias.anchor) ?? "")
        case YAML_SEQUENCE_END_EVENT: return .sequenceEnd
        case YAML_MAPPING_END_EVENT: return .mappingEnd
        case YAML_SEQUENCE_START_EVENT:
            let start = event.data.sequence_start
            return .sequenceStart(tag: string(start.tag), anchor: string(start.anchor))
        case YAML_MAPPING_START_EVENT:
            let start = event.data.mapping_start
            return .mappingStart(tag: string(start.tag), anchor: string(start.anchor))
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            let bytes = UnsafeBufferPointer(start: scalar.value, count: scalar.value == nil ? 0 : scalar.length)
            return .scalar(
                text: String(decoding: bytes, as: UTF8.self), isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE,
                tag: string(scalar.tag), anchor: string(scalar.anchor))
        default: return nil
        }
    }

    private static func string(_ pointer: UnsafeMutablePointer<yaml_char_t>?) -> String? {
        guard let pointer else { return nil }
        return String(cString: pointer)
    }

    private func failure() -> YAMLProblem {
        let state = parser.pointee
        var problem = state.problem.map { String(cString: $0) } ?? "the text cannot be read"
        if state.error == YAML_READER_ERROR {
            let mark = self.mark(atByte: state.problem_offset)
            return YAMLProblem("invalid YAML: \(problem)", at: mark, remedy: "the file must be UTF-8 text")
        }
        let mark = YAMLMark(state.problem_mark)
        let remedy = remedy(for: problem, at: state.problem_mark.index)
        if let context = state.context, state.context_mark.line != state.problem_mark.line {
            problem += " (\(String(cString: context)) that begins at line \(Int(state.context_mark.line) + 1))"
        }
        return YAMLProblem("invalid YAML: \(problem)", at: mark, remedy: remedy)
    }

    /// The place of a byte, for failures of the decoder, which know no line. Bytes inside a character do not count.
    private func mark(atByte offset: Int) -> YAMLMark {
        var mark = YAMLMark(line: 1, column: 1)
        for byte in input.prefix(max(0, min(offset, input.count))) {
            if byte == UInt8(ascii: "\n") {
                mark = YAMLMark(line: mark.line + 1, column: 1)
            } else if byte & 0xC0 != 0x80 {
                mark.column += 1
            }
        }
        return mark
    }

    private func remedy(for problem: String, at index: Int) -> String {
        if problem.hasPrefix("found character that cannot start any token") {
            // `index` counts characters; it equals the byte in the ASCII texts where a tab is the usual culprit.
            let isTab = index < input.count && input[index] == UInt8(ascii: "\t")
            return isTab ? "indent with spaces, not tabs" : "quote the value"
        }
        if problem.hasPrefix("mapping values are not allowed") {
            return "check the indentation; quote a value that contains `: `"
        }
        return "check the indentation and the quotes around this place"
    }
}

extension YAMLMark {
    fileprivate init(_ mark: yaml_mark_t) { self.init(line: Int(mark.line) + 1, column: Int(mark.column) + 1) }
}
