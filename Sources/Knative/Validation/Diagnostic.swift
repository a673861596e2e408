/// One problem of a manifest, with the place, the key, and what would be accepted.
public struct Diagnostic: Error, Hashable, Sendable, CustomStringConvertible {
    /// How bad it is.
    public enum Severity: String, Sendable {
        /// The manifest cannot be used.
        case error
        /// It can be used, but something in it does nothing or is doubtful.
        case warning
    }

    /// How bad it is.
    public let severity: Severity
    /// The name of the source as the user gave it.
    public let file: String
    /// The line, from 1; 0 if there is no text to point at.
    public let line: Int
    /// The column in characters, from 1.
    public let column: Int
    /// The key the problem belongs to (`spec.template.spec.containers[0].image`); empty for the file or document.
    public let key: String
    /// What was found; Knative's own words where it has the same rule.
    public let problem: String
    /// What would be accepted; may be empty.
    public let remedy: String

    /// Makes a problem.
    public init(
        severity: Severity, file: String, mark: YAMLMark, key: String, problem: String, remedy: String
    ) {
        self.severity = severity
        self.file = file
        self.line = mark.line
        self.column = mark.column
        self.key = key
        self.problem = problem
        self.remedy = remedy
    }

    /// `file:line:col: error: key: problem; remedy`, on one line.
    ///
    /// Knative's own messages end with the key; it is then not repeated in front of them.
    public var description: String {
        var text = file
        if line > 0 { text += ":\(line):\(column)" }
        text += ": \(severity.rawValue): "
        if !key.isEmpty, !problem.contains(key) { text += key + ": " }
        text += problem
        if !remedy.isEmpty { text += "; " + remedy }
        return escaped(text, quotes: false, limit: .max)
    }
}

extension Sequence where Element == Diagnostic {
    /// Whether any of them is an error.
    public var hasErrors: Bool { contains { $0.severity == .error } }
}
