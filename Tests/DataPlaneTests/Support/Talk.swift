import Testing

@testable import DataPlane

/// A version of HTTP, as a client or a pod speaks it.
enum Speech: CaseIterable, Sendable { case http1, http2 }

/// Who speaks what.
struct Combination: Sendable, CustomTestStringConvertible {
    let client: Speech
    let pod: Speech
    var testDescription: String { "\(client) to \(pod)" }

    static let all = Speech.allCases.flatMap { client in Speech.allCases.map { Combination(client: client, pod: $0) } }
}

/// How a message says where its body ends.
enum Length: Equatable, Sendable {
    /// There is no body, and nothing about it.
    case none
    /// By a field.
    case said(Int)
    /// By chunks, or by the end of the stream.
    case unknown
}

/// A message in no version's words: names in lower case, framing and connection apart.
struct Talk: Equatable, Sendable, CustomStringConvertible {
    /// "GET /path authority" or "200".
    var start = "GET / hello.example.com"
    var fields: [String] = []
    var length = Length.none
    var body = ""
    var trailers: [String] = []

    var description: String { "\(start) \(fields) \(length) \(body.prefix(80).debugDescription) \(trailers)" }

    static func post(_ body: String, _ length: Length? = nil, trailers: [String] = []) -> Talk {
        Talk(
            start: "POST / hello.example.com", length: length ?? .said(body.utf8.count), body: body,
            trailers: trailers)
    }

    static func response(
        _ status: Int = 200, _ body: String = "", _ length: Length? = nil, fields: [String] = [],
        trailers: [String] = []
    ) -> Talk {
        Talk(
            start: "\(status)", fields: fields, length: length ?? .said(body.utf8.count), body: body,
            trailers: trailers)
    }

    var words: [String] { start.split(separator: " ").map(String.init) }

    static func pair(_ line: String) -> (String, String) {
        let name = line.prefix { $0 != ":" }
        return (String(name).lowercased(), String(line.dropFirst(name.count + 1).drop { $0 == " " }))
    }

    static func line(_ field: (String, String)) -> String { "\(field.0.lowercased()): \(field.1)" }

    // MARK: Writing

    /// As bytes of HTTP/1.1.
    var http1: String {
        guard length == .unknown else { return http1Head + body }
        let chunk = body.isEmpty ? "" : String(body.utf8.count, radix: 16) + "\r\n\(body)\r\n"
        return http1Head + chunk + "0\r\n" + trailers.map { $0 + "\r\n" }.joined() + "\r\n"
    }

    /// The head alone.
    var http1Head: String {
        var text =
            words.count == 3
            ? "\(words[0]) \(words[1]) HTTP/1.1\r\nHost: \(words[2])\r\n" : "HTTP/1.1 \(start) Phrase\r\n"
        for field in fields { text += field + "\r\n" }
        switch length {
        case .none: break
        case .said(let count): text += "Content-Length: \(count)\r\n"
        case .unknown: text += "Transfer-Encoding: chunked\r\n"
        }
        return text + "\r\n"
    }

    /// As fields of a head of HTTP/2.
    var http2: [(String, String)] {
        var list =
            words.count == 3
            ? [(":method", words[0]), (":scheme", "http"), (":authority", words[2]), (":path", words[1])]
            : [(":status", start)]
        list += fields.map(Self.pair)
        if case .said(let count) = length { list.append(("content-length", "\(count)")) }
        return list
    }

    /// Sends it on a stream.
    func send(_ peer: HTTP2Peer, _ stream: UInt32) throws {
        let hasBody = !body.isEmpty || length == .unknown
        try peer.headers(stream, http2, end: !hasBody && trailers.isEmpty)
        if hasBody { try peer.body(stream, Array(body.utf8), end: trailers.isEmpty) }
        if !trailers.isEmpty { try peer.headers(stream, trailers.map(Self.pair), end: true) }
    }

    // MARK: Reading

    /// Fields that say how a message is framed, or are ours to add; tests of those look at them themselves.
    static let leftOut: Set<String> = [
        "content-length", "transfer-encoding", "connection", "host", "date", "x-forwarded-for", "x-forwarded-proto",
        "x-forwarded-host", "forwarded", "x-request-id",
    ]

    init(
        start: String = "GET / hello.example.com", fields: [String] = [], length: Length = .none, body: String = "",
        trailers: [String] = []
    ) {
        (self.start, self.fields, self.length, self.body) = (start, fields, length, body)
        self.trailers = trailers
    }

    init(_ message: Message) {
        let line = message.startLine.split(separator: " ").map(String.init) + ["", ""]  // whatever came
        let isResponse = message.startLine.hasPrefix("HTTP/")
        start = isResponse ? line[1] : "\(line[0]) \(line[1]) \(message.values("Host").joined(separator: "+"))"
        fields = message.fields.map { Self.line(Self.pair($0)) }.filter { !Self.leftOut.contains(Self.pair($0).0) }
        let said = message.values("Content-Length")
        length =
            message.values("Transfer-Encoding").isEmpty
            ? said.first.flatMap { Int($0) }.map { .said($0) } ?? .none : .unknown
        body = message.body
        trailers = message.trailers.map { Self.line(Self.pair($0)) }
    }

    init(_ message: HTTP2Message) {
        let list = message.head
        start =
            message.value(":status")
            ?? [":method", ":path", ":authority"].map { message.values($0).joined(separator: "+") }
            .joined(separator: " ")
        fields = list.filter { !$0.0.hasPrefix(":") && !Self.leftOut.contains($0.0) }.map(Self.line)
        let said = message.value("content-length").flatMap { Int($0) }
        length = said.map { .said($0) } ?? (message.pieces.isEmpty && message.trailers == nil ? .none : .unknown)
        body = message.text
        trailers = message.trailers?.map(Self.line) ?? []
    }
}

extension ProxySetup {
    /// The pods speak what `combination` says.
    mutating func speak(_ speech: Speech) { upstreamProtocol = speech == .http1 ? .http1 : .h2c }
}

/// A client and a pod that talk in no version's words, one request at a time.
final class Line {
    let proxy: ProxyHarness
    let combination: Combination
    private(set) var client1: Peer?
    private(set) var client2: HTTP2Peer?
    private(set) var pod1: Peer?
    private(set) var pod2: HTTP2Peer?
    private(set) var stream: UInt32 = 0
    private(set) var podStream: UInt32 = 0

    init(
        _ proxy: ProxyHarness, _ combination: Combination, receiveBuffer: Int32? = nil, client: HTTP2Peer? = nil
    ) throws {
        (self.proxy, self.combination) = (proxy, combination)
        if let client {
            client2 = client
        } else if combination.client == .http1 {
            client1 = try proxy.client(receiveBuffer: receiveBuffer)
        } else {
            client2 = try proxy.client2(receiveBuffer: receiveBuffer)
        }
    }

    /// The client asks.
    func ask(_ talk: Talk) throws {
        try client1?.send(talk.http1)
        guard let client2 else { return }
        stream = client2.newStream()
        try talk.send(client2, stream)
    }

    /// The pod takes the connection, if it has none.
    func connect() throws {
        guard pod1 == nil, pod2 == nil else { return }
        if combination.pod == .http1 { pod1 = try proxy.accept() } else { pod2 = try proxy.accept2() }
    }

    /// The pod takes a whole request.
    func take() throws -> Talk {
        try connect()
        if let pod1 { return Talk(try pod1.receiveMessage()) }
        guard let pod2 else { return Talk() }
        podStream = try pod2.nextStream()
        return Talk(try pod2.receiveMessage(podStream))
    }

    /// The pod takes a request's head.
    func takeHead() throws -> Talk {
        try connect()
        if let pod1 { return Talk(try pod1.receiveHead()) }
        guard let pod2 else { return Talk() }
        podStream = try pod2.nextStream()
        return Talk(pod2.streams[podStream] ?? HTTP2Message())
    }

    /// The pod answers.
    func answer(_ talk: Talk) throws {
        try pod1?.send(talk.http1)
        if let pod2 { try talk.send(pod2, podStream) }
    }

    /// The pod says a head only; it goes on with `pod1` or `pod2`.
    func answerHead(_ talk: Talk) throws {
        try pod1?.send(talk.http1Head)
        try pod2?.headers(podStream, talk.http2, end: false)
    }

    /// The client takes the response.
    func hear(bodyless: Bool = false) throws -> Talk {
        if let client1 { return Talk(try client1.receiveMessage(bodyless: bodyless)) }
        guard let client2 else { return Talk() }
        return Talk(try client2.receiveMessage(stream))
    }

    /// A whole round with `request` and `response`; what each side took.
    func round(_ request: Talk, _ response: Talk, bodyless: Bool = false) throws -> (taken: Talk, heard: Talk) {
        try ask(request)
        let taken = try take()
        try answer(response)
        return (taken, try hear(bodyless: bodyless))
    }

    /// A round that shows that both connections understand each other.
    func marker(_ path: String = "/marker") throws {
        let (taken, heard) = try round(Talk(start: "GET \(path) hello.example.com"), .response(200, "marked"))
        guard taken.start == "GET \(path) hello.example.com", heard.start == "200", heard.body == "marked" else {
            throw PeerFailure(description: "the marker became \(taken), \(heard)")
        }
    }
}
