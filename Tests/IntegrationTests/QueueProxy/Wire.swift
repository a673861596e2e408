import Foundation
import Testing

/// A peer that others wrote (python3-h2, OpenSSL), for requests over any protocol; see Clients/wire.py.
final class Wire: Sendable {
    /// How a request travels.
    enum Way: String, CaseIterable, Sendable {
        /// HTTP/1.1.
        case h1
        /// HTTP/2 by prior knowledge.
        case h2c
        /// `Upgrade: h2c`.
        case upgrade
        /// TLS, HTTP/1.1.
        case tls1
        /// TLS, HTTP/2 by ALPN.
        case tls2
        /// TLS, no ALPN, the preface of HTTP/2.
        case bare2

        var isEncrypted: Bool { self == .tls1 || self == .tls2 || self == .bare2 }
        var isHTTP2: Bool { self != .h1 && self != .tls1 }
        var listener: ContractPod.Listener { isEncrypted ? .tls : .queue }
    }

    /// What is asked.
    struct Request: Sendable {
        var method = "GET"
        var path = "/"
        /// nil: none at all.
        var host: String? = ContractPod.host
        var version = "HTTP/1.1"
        var fields: [[String]] = []
        var body: String?
        /// A body of so many bytes, instead of `body`.
        var bodyBytes: Int?
        var trailers: [[String]] = []
        /// Requests of the same kind over the same connection (HTTP/2).
        var more = 0
        /// When the client goes away, in milliseconds.
        var cancelMilliseconds: Int?
        var seconds = 25

        init(_ path: String = "/", fields: [(String, String)] = []) {
            self.path = path
            self.fields = fields.map { [$0.0, $0.1] }
        }
    }

    /// What came back.
    struct Reply: Decodable, Sendable {
        var status: Int?
        var fields: [[String]]?
        /// At most 64 KiB of the body; a byte a character.
        var body: String?
        var count: Int?
        var sha256: String?
        var trailers: [[String]]?
        /// Whether the message came to its proper end.
        var ended: Bool?
        var reset: String?
        var goaways: [[Int]]?
        var seconds: Double
        var tls: String?
        var statuses: [Int?]?
        var error: String?
        let interim: [Interim]?

        struct Interim: Decodable, Sendable {
            let status: Int
            let fields: [[String]]

            init(from decoder: Decoder) throws {
                var container = try decoder.unkeyedContainer()
                status = try container.decode(Int.self)
                fields = try container.decode([[String]].self)
            }
        }

        func values(_ name: String) -> [String] {
            (fields ?? []).filter { $0[0].lowercased() == name.lowercased() }.map { $0[1] }
        }
    }

    private let process: Martlet
    private let port: UInt16

    init(_ scratch: Scratch) throws {
        process = try Martlet(
            Array(Foreign.python("wire.py").dropFirst()), scratch: scratch, program: Foreign.python("wire.py")[0])
        port = try process.announcedPort()
    }

    /// Performs a request on a connection of its own. Any thread, any number at a time.
    func perform(_ request: Request, _ way: Way, _ pod: ContractPod) throws -> Reply {
        var object: [String: Any] = [
            "way": way.rawValue, "port": Int(try pod.port(way.listener)), "method": request.method,
            "path": request.path, "fields": request.fields, "trailers": request.trailers, "more": request.more,
            "version": request.version, "seconds": request.seconds, "host": request.host ?? NSNull(),
        ]
        if let bytes = request.bodyBytes { object["body"] = ["size": bytes] } else { object["body"] = request.body }
        if let cancel = request.cancelMilliseconds { object["cancel"] = cancel }
        let client = try Client(port: port, seconds: request.seconds + 5)
        try client.send(Array(JSONSerialization.data(withJSONObject: object)) + [10])
        var line: [UInt8] = []
        while line.last != 10 {
            let bytes = try client.receive()
            guard !bytes.isEmpty else { throw Failure("wire.py gave up:\n\(process.tail)") }
            line += bytes
        }
        return try JSONDecoder().decode(Reply.self, from: Data(line))
    }
}
