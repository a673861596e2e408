import EventLoop
import Glibc
import Telemetry

/// The sidecar's own log: a JSON object a line, with the keys of Knative's zap (spec/dataplane 1.11). For what happens
/// now and then, never for a request. Owner: the control thread.
public struct SidecarLog {
    /// A key beside the usual ones, and its value.
    public typealias Field = (key: String, value: String)

    private let level: LogLevel
    private let descriptor: Int32
    /// What every line ends with: whose sidecar it is.
    private let identity: String

    /// A log as the settings want it, of the sidecar of `revision`.
    public init(_ settings: LogSettings, revision: QueueConfiguration.Revision) {
        level = settings.level
        descriptor = settings.usesStandardOutput ? STDOUT_FILENO : STDERR_FILENO
        identity =
            ",\"knative.dev/key\":" + LogText.quoted("\(revision.namespace)/\(revision.name)")
            + ",\"knative.dev/pod\":" + LogText.quoted(revision.pod)
    }

    /// Whether lines of `level` are written.
    public func isOn(_ level: LogLevel) -> Bool { level >= self.level }

    /// Writes a line if its level is on. The message is constant; what varies stands in `fields`.
    public func write(
        _ level: LogLevel, _ message: String, _ fields: [Field] = [], file: String = #fileID, line: Int = #line
    ) {
        guard isOn(level) else { return }
        let text = Self.line(
            level, message, fields, caller: "\(file):\(line)", identity: identity,
            unixNanoseconds: MonotonicClock.wallNanoseconds())
        WholeBytes.write(text, to: descriptor)
    }

    static func line(
        _ level: LogLevel, _ message: String, _ fields: [Field], caller: String, identity: String,
        unixNanoseconds: UInt64
    ) -> String {
        let time = LogText.timestamp(unixNanoseconds, digits: 9)
        var text = "{\"severity\":\"\(level.rawValue.uppercased())\",\"timestamp\":\"\(time)\""
        text += ",\"logger\":\"queueproxy\",\"caller\":\(LogText.quoted(caller))"
        text += ",\"message\":\(LogText.quoted(message))\(identity)"
        for field in fields { text += ",\(LogText.quoted(field.key)):\(LogText.quoted(field.value))" }
        return text + "}\n"
    }
}
