import EventLoop
import Glibc
import Logging
import Telemetry

/// How log lines are written.
public enum LogForm: String, Sendable, CaseIterable {
    /// `time level message key=value …`
    case text
    /// One JSON object a line.
    case json
}

/// Writes the control side's log to standard error, a line an event. Never used per request.
public struct ConsoleLog: LogHandler {
    /// Fields on every line.
    public var metadata: Logger.Metadata = [:]
    /// The least level written.
    public var logLevel: Logger.Level
    private let form: LogForm
    private let label: String

    /// A log in `form`, of events at `level` or above.
    public init(label: String, form: LogForm, level: Logger.Level) {
        self.label = label
        self.form = form
        logLevel = level
    }

    /// Reads or sets a field of every line.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes one line.
    public func log(event: LogEvent) {
        var fields = metadata
        if let own = event.metadata { fields.merge(own) { $1 } }
        let sorted = fields.map { ($0.key, "\($0.value)") }.sorted { $0.0 < $1.0 }
        let time = LogText.timestamp(MonotonicClock.wallNanoseconds(), digits: 3)
        var line: String
        switch form {
        case .text:
            line = "\(time) \(event.level.rawValue.uppercased()) \(event.message)"
            for (key, value) in sorted { line += " \(key)=\(Self.quotedIfNeeded(value))" }
        case .json:
            line = "{\"time\":\"\(time)\",\"level\":\"\(event.level.rawValue)\""
            line += ",\"message\":\(LogText.quoted("\(event.message)"))"
            for (key, value) in sorted { line += ",\(LogText.quoted(key)):\(LogText.quoted(value))" }
            line += "}"
        }
        WholeBytes.write(line + "\n", to: STDERR_FILENO)
    }

    private static func quotedIfNeeded(_ value: String) -> String {
        let isPlain = !value.isEmpty && value.unicodeScalars.allSatisfy { $0.value > 0x20 && $0 != "\"" && $0 != "=" }
        return isPlain ? value : LogText.quoted(value)
    }
}
