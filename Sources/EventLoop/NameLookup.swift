import CLinux
import Glibc

/// Asks the system's resolver for the addresses of a name, on a thread of its own: it may block for long.
public enum NameLookup {
    /// Most addresses of an answer.
    public static let addressLimit = 8

    /// What came of it.
    public struct Answer: Sendable {
        /// The number that was given to the question.
        public let number: UInt64
        /// In the resolver's order of preference; empty if there is a problem.
        public let addresses: [SocketAddress]
        /// Why there is none, in the system's words.
        public let problem: String?
    }

    /// Begins to look for `host`, a name or an address without brackets; the answer, with `port` in the addresses, is
    /// left in `answers`. The thread ends right after that: join it then.
    public static func start(
        _ host: String, port: UInt16, number: UInt64, answers: Mailbox<Answer>
    ) throws(SystemError) -> WorkerThread {
        try WorkerThread(name: "lookup") { answers.post(look(host, port, number)) }
    }

    private static func look(_ host: String, _ port: UInt16, _ number: UInt64) -> Answer {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, nil, &hints, &list)
        guard code == 0 else {
            return Answer(number: number, addresses: [], problem: String(cString: gai_strerror(code)))
        }
        defer { freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var entry = list
        while let current = entry, addresses.count < addressLimit {
            if let address = address(current.pointee, port) { addresses.append(address) }
            entry = current.pointee.ai_next
        }
        return Answer(number: number, addresses: addresses, problem: addresses.isEmpty ? "no address" : nil)
    }

    private static func address(_ entry: addrinfo, _ port: UInt16) -> SocketAddress? {
        guard let raw = UnsafeRawPointer(entry.ai_addr) else { return nil }
        var native = clinux_address()
        native.port = port
        switch entry.ai_family {
        case AF_INET:
            let found = raw.loadUnaligned(as: sockaddr_in.self)
            withUnsafeBytes(of: found.sin_addr) { bytes in
                withUnsafeMutableBytes(of: &native.bytes) { $0.copyBytes(from: bytes) }
            }
        case AF_INET6:
            let found = raw.loadUnaligned(as: sockaddr_in6.self)
            native.is_ipv6 = 1
            withUnsafeBytes(of: found.sin6_addr) { bytes in
                withUnsafeMutableBytes(of: &native.bytes) { $0.copyBytes(from: bytes) }
            }
        default: return nil
        }
        return SocketAddress(native: native)
    }
}
