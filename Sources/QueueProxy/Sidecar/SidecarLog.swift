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
            ",\"knative.dev/key\":" + Self.quoted("\(revision.namespace)/\(revision.name)")
            + ",\"knative.dev/pod\":" + Self.quoted(revision.pod)
    }

    /// Whether lines of `level` are written.
    public func isOn(_ level: LogLevel) -> Bool { level >= self.level }

    /// Writes a line if its level is on. The message is constant; what varies stands in `fields`.
    public func write(
        _ level: LogLevel, _ message: String, _ fields: [Field] = [], file: String = #fileID, line: Int = #line
    ) {
        guard isOn(level) else { return }
        var text = Self.line(
            level, message, fields, caller: "\(file):\(line)", identity: identity,
            unixNanoseconds: MonotonicClock.wallNanoseconds())
        WholeText.write(&text, to: descriptor)
    }

    static func line(
        _ level: LogLevel, _ message: String, _ fields: [Field], caller: String, identity: String,
        unixNanoseconds: UInt64
    ) -> String {
        var text = "{\"severity\":\"\(level.rawValue.uppercased())\",\"timestamp\":\"\(timestamp(unixNanoseconds))\""
        text += ",\"logger\":\"queueproxy\",\"caller\":\(quoted(caller)),\"message\":\(quoted(message))\(identity)"
        for field in fields { text += ",\(quoted(field.key)):\(quoted(field.value))" }
        return text + "}\n"
    }

    /// `2026-01-02T03:04:05.000000006Z`.
    static func timestamp(_ unixNanoseconds: UInt64) -> String {
        let civil = CivilTime(unixNanoseconds: unixNanoseconds)
        let fraction = padded(unixNanoseconds % 1_000_000_000, 9)
        let day = "\(civil.year)-\(padded(civil.month, 2))-\(padded(civil.day, 2))"
        let time = "\(padded(civil.hour, 2)):\(padded(civil.minute, 2)):\(padded(civil.second, 2))"
        return "\(day)T\(time).\(fraction)Z"
    }

    private static func padded(_ number: some BinaryInteger, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }

    /// A string of JSON (RFC 8259 §7).
    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case let control where control.value < 0x20 || control.value == 0x7F:
                let hex = String(control.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex
            case _: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

/// Texts that are written whole, and waited for.
enum WholeText {
    static func write(_ text: inout String, to descriptor: Int32) {
        text.withUTF8 { bytes in
            var rest = UnsafeRawBufferPointer(bytes)
            while !rest.isEmpty {
                let written = Glibc.write(descriptor, rest.baseAddress, rest.count)
                guard written > 0 || errno == EINTR else { return }  // nobody reads any more
                rest = UnsafeRawBufferPointer(rebasing: rest[max(0, written)...])
            }
        }
    }
}
