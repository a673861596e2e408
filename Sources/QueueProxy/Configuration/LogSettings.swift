/// The sidecar's own log: zap's levels (`go.uber.org/zap/zapcore`).
public enum LogLevel: String, CaseIterable, Comparable, Sendable {
    case debug, info, warn, error, dpanic, panic, fatal

    /// By its name in capitals or small letters; empty is info, as zap reads it.
    init?(zap text: String) {
        guard !text.isEmpty else {
            self = .info
            return
        }
        self.init(rawValue: text.lowercased())
    }

    /// Whether `lhs` says more than `rhs`.
    public static func < (lhs: LogLevel, rhs: LogLevel) -> Bool {
        let order = LogLevel.allCases
        return (order.firstIndex(of: lhs) ?? 0) < (order.firstIndex(of: rhs) ?? 0)
    }
}

/// The sidecar's own log.
public struct LogSettings: Equatable, Sendable {
    /// What is written, and everything above it. Default info.
    public var level = LogLevel.info
    /// Whether lines go to standard output instead of standard error. Default no; Knative's own configuration says yes.
    public var usesStandardOutput = false

    /// Reads SERVING_LOGGING_CONFIG (zap's JSON; its level and output paths) and SERVING_LOGGING_LEVEL, which wins.
    ///
    /// What cannot be read is passed over with a warning, as Knative does: no log setting keeps a pod from serving.
    static func read(_ reader: inout VariableReader) -> LogSettings {
        var settings = LogSettings()
        let name = "SERVING_LOGGING_CONFIG", levelName = "SERVING_LOGGING_LEVEL"
        for required in [name, levelName] where reader.raw(required) == nil { _ = reader.requiredText(required) }
        let isLenient = reader.isLenient
        reader.isLenient = true
        defer { reader.isLenient = isLenient }
        if let text = reader.raw(name, empty: .isAbsent), let root = reader.json(name, text) {
            settings = decode(root, name, &reader)
        }
        let text = reader.raw(levelName, empty: .isAbsent) ?? ""
        if let level = LogLevel(zap: text) {
            if !text.isEmpty { settings.level = level }
        } else {
            reader.reject(
                levelName, found: "is \(text.quotedForMessage)",
                allowed: LogLevel.allCases.map(\.rawValue).joined(separator: ", "))
        }
        let isSet = reader.raw(name, empty: .isAbsent) != nil
        reader.note(levelName, settings.level.rawValue, text.isEmpty && !isSet ? .default : .set)
        reader.note("\(name).outputPaths", settings.usesStandardOutput ? "stdout" : "stderr", isSet ? .set : .default)
        return settings
    }

    private static func decode(_ root: JSONValue, _ name: String, _ reader: inout VariableReader) -> LogSettings {
        var settings = LogSettings()
        var decoder = GoJSONDecoder()
        decoder.fields(of: root, at: "") { decoder, key, value, path in
            if key == "level" {
                var text = ""
                decoder.string(value, at: path, into: &text)
                guard let level = LogLevel(zap: text) else { return decoder.mismatch(value, path, "a level of zap") }
                settings.level = level
            }
            if key == "outputpaths" {
                var paths: [String] = []
                decoder.elements(of: value, at: path) { decoder, element, path in
                    var text = ""
                    decoder.string(element, at: path, into: &text)
                    paths.append(text)
                }
                settings.usesStandardOutput = paths.contains("stdout")
            }
        }
        reader.reject(name, decoder)
        return decoder.mismatches.isEmpty ? settings : LogSettings()
    }
}
