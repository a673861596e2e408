/// One thing that is wrong with the environment, or that is passed over.
public struct ConfigurationProblem: Error, Equatable, Sendable, CustomStringConvertible {
    /// The variable, for JSON with the path of the value: `SERVING_READINESS_PROBE.httpGet.port`.
    public let variable: String
    /// What was found: `is "abc"`, `is not set`.
    public let found: String
    /// What is allowed, or what happens instead.
    public let remedy: String

    /// `variable found; remedy`, on one line.
    public var description: String { "\(variable) \(found); \(remedy)" }
}

/// One line of the effective configuration.
public struct ConfigurationEntry: Equatable, Sendable, CustomStringConvertible {
    /// Where a value came from.
    public enum Origin: String, Sendable {
        /// From the environment.
        case set
        /// Nobody said anything.
        case `default`
    }

    /// The variable, for JSON with the path of the value.
    public let name: String
    /// The value as it is used.
    public let value: String
    /// Where it came from.
    public let origin: Origin

    /// `NAME=value  # set`; control characters are written as escapes, so that it is one line.
    public var description: String { "\(name)=\(value.onOneLine)  # \(origin.rawValue)" }
}

extension String {
    /// Most characters of a value that a message repeats.
    static let messageCharacters = 80

    /// In double quotes, control characters as escapes, cut if long.
    var quotedForMessage: String {
        let isLong = unicodeScalars.count > String.messageCharacters
        let text = isLong ? String(String.UnicodeScalarView(unicodeScalars.prefix(String.messageCharacters))) : self
        return "\"\(text.onOneLine)\(isLong ? "…" : "")\""
    }

    /// What stands before and behind the first `separator`; nil if there is none.
    ///
    /// The library's search in strings brings the interpreter of regular expressions into the program.
    func cut(at separator: StaticString) -> (before: Substring, behind: Substring)? {
        var start = utf8.startIndex
        while start < utf8.endIndex {
            let length = separator.utf8CodeUnitCount
            if separator.withUTF8Buffer({ utf8[start...].starts(with: $0) }) {
                return (self[..<start], self[utf8.index(start, offsetBy: length)...])
            }
            start = utf8.index(after: start)
        }
        return nil
    }

    /// The same without control characters and line separators.
    var onOneLine: String {
        var result = ""
        for scalar in unicodeScalars {
            let isSafe = scalar.value >= 0x20 && !(0x7F...0x9F ~= scalar.value) && !(0x2028...0x2029 ~= scalar.value)
            result += isSafe ? String(scalar) : scalar.escaped(asASCII: true)
        }
        return result
    }
}
