import Glibc

/// The variables this process was started with.
public enum ProcessEnvironment {
    /// All of them. Of a name that occurs twice the first counts, as in Go. Bytes that are no UTF-8 become U+FFFD.
    public static func all() -> [String: String] {
        var variables: [String: String] = [:]
        var cursor = environ
        while let entry = cursor.pointee {
            let text = String(cString: entry)
            cursor += 1
            guard let equals = text.firstIndex(of: "="), equals != text.startIndex else { continue }
            let name = String(text[..<equals])
            if variables[name] == nil { variables[name] = String(text[text.index(after: equals)...]) }
        }
        return variables
    }
}
