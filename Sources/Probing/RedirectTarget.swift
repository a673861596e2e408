import Primitives

/// Where a `Location` leads, if that is plain HTTP on this machine (RFC 9110 §10.2.2).
struct RedirectTarget: Equatable {
    var port: UInt16
    /// Path with query.
    var path: String

    init(port: UInt16, path: String) {
        self.port = port
        self.path = path
    }

    /// Reads an absolute URI, or a reference with an absolute or a relative path. Nil for another machine or scheme:
    /// no other machine is asked.
    init?(_ location: String, from origin: RedirectTarget) {
        let text = location.prefix { $0 != "#" }
        guard !text.isEmpty, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { return nil }
        if text.hasPrefix("//") {
            self.init(authorityAndPath: text.dropFirst(2))
        } else if text.lowercased().hasPrefix("http://") {
            self.init(authorityAndPath: text.dropFirst(7))
        } else if text.prefix(while: { $0 != "/" && $0 != "?" }).contains(":") {
            return nil
        } else if text.hasPrefix("/") {
            self.init(port: origin.port, path: String(text))
        } else {
            let own = origin.path.prefix { $0 != "?" }
            let folder = text.hasPrefix("?") ? own : own[...(own.lastIndex(of: "/") ?? own.startIndex)]
            self.init(port: origin.port, path: String(folder) + text)
        }
    }

    private init?(authorityAndPath text: Substring) {
        let authority = text.prefix { $0 != "/" && $0 != "?" }
        let rest = text.dropFirst(authority.count)
        let parts = authority.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let host = parts.first, host == "127.0.0.1" || host.lowercased() == "localhost" else { return nil }
        guard let port = parts.count > 1 ? UInt16(parts[1]) : 80, port > 0 else { return nil }
        self.init(port: port, path: rest.hasPrefix("/") ? String(rest) : "/" + rest)
    }
}
