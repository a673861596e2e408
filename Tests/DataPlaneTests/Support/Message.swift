/// A message as it was received.
struct Message {
    var startLine = ""
    /// Field lines in order, as received.
    var fields: [String] = []
    var body = ""
    /// Trailer lines in order.
    var trailers: [String] = []
    var isChunked = false

    /// The values of the fields called `name`.
    func values(_ name: String) -> [String] {
        fields.filter { $0.lowercased().hasPrefix(name.lowercased() + ":") }
            .map { line in String(line.drop { $0 != ":" }.dropFirst().drop { $0 == " " }) }
    }

    func value(_ name: String) -> String? { values(name).first }

    var status: Int { Int(startLine.split(separator: " ").dropFirst().first ?? "") ?? 0 }
}

/// Whoever takes messages from a connection, plain or not.
protocol Hearing: AnyObject {
    /// Takes exactly `count` bytes.
    func receive(_ count: Int) throws -> [UInt8]
    /// Takes everything up to and including `mark`.
    func receive(through mark: String) throws -> String
    /// Takes exactly `expected`; throws if something else comes.
    func expect(_ expected: String) throws
    /// Takes everything until the other side says that it will send no more.
    func receiveToEnd() throws -> String
}

extension Peer: Hearing {}

extension Hearing {
    /// Takes a head.
    func receiveHead() throws -> Message {
        let head = try receive(through: "\r\n\r\n")
        var message = Message()
        var lines = head.split(separator: "\r\n").map(String.init)
        message.startLine = lines.isEmpty ? "" : lines.removeFirst()
        message.fields = lines
        message.isChunked = message.value("Transfer-Encoding") == "chunked"
        return message
    }

    /// Takes a message with its body: by length, by chunks, or none. `untilEnd` reads on to the end of the connection.
    func receiveMessage(bodyless: Bool = false, untilEnd: Bool = false) throws -> Message {
        var message = try receiveHead()
        if bodyless { return message }
        if message.isChunked {
            while true {
                let line = try receive(through: "\r\n")
                guard let size = Int(line.dropLast(1), radix: 16) else {
                    throw PeerFailure(description: "chunk line \(line.debugDescription)")
                }
                if size == 0 { break }
                message.body += String(decoding: try receive(size), as: UTF8.self)
                try expect("\r\n")
            }
            while true {
                let line = try receive(through: "\r\n")
                if line == "\r\n" { break }
                message.trailers.append(String(line.dropLast(1)))
            }
        } else if let length = message.value("Content-Length").flatMap({ Int($0) }) {
            message.body = String(decoding: try receive(length), as: UTF8.self)
        } else if untilEnd {
            message.body = try receiveToEnd()
        }
        return message
    }
}
