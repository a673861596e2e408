import EventLoop
import Glibc
import Primitives
import TLS
import Testing

@testable import QueueProxy

/// A collector of telemetry that a test plays, on the test's own loop: it takes POSTs and answers as it is told.
final class Collector {
    /// What it does with a request.
    enum Reply {
        /// A status with these field lines.
        case status(Int, String = "")
        /// The connection is closed instead.
        case hangUp
        /// Nothing is said.
        case silence
        /// These very bytes, and then the end.
        case raw(String)
    }

    struct Request {
        let head: String
        let body: [UInt8]
    }

    private final class Connection {
        var socket: Socket?
        var watch: Loop.WatchToken?
        var received: [UInt8] = []
        var channel: Channel?

        func close(_ loop: Loop) {
            if let watch { loop.unwatch(watch) }
            watch = nil
            socket = nil
        }
    }

    private final class Channel {
        var tls: TLSConnection

        init(_ tls: consuming TLSConnection) { self.tls = tls }
    }

    let loop: Loop
    let port: UInt16
    private let listener: Listener
    private let context: TLSServerContext?
    private var replies: [Reply]
    private var watch: Loop.WatchToken?
    private var open: [Connection] = []
    private(set) var requests: [Request] = []
    private(set) var connections = 0

    /// Answers the first requests as said, all further ones with 200.
    init(_ loop: Loop, _ replies: [Reply] = [], context: TLSServerContext? = nil) throws {
        self.loop = loop
        self.replies = replies
        self.context = context
        listener = try Listener(.loopback(port: 0), sharesPort: false)
        port = try #require(listener.address?.port)
        watch = try loop.watch(listener.fd, .readable) { [weak self] _ in self?.accept() }
    }

    /// Closes all connections.
    func hangUp() {
        for connection in open { connection.close(loop) }
        open = []
    }

    private func accept() {
        guard case .connection(let socket, _) = listener.accept() else { return }
        connections += 1
        let connection = Connection()
        if let context, let tls = try? TLSConnection(accepting: context) { connection.channel = Channel(tls) }
        let fd = socket.fd
        connection.socket = consume socket
        open.append(connection)
        connection.watch = try? loop.watch(fd, .readable) { [weak self, weak connection] _ in
            if let connection { self?.read(connection) }
        }
    }

    private func read(_ connection: Connection) {
        var ended = false
        withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { place in
            switch connection.socket?.receive(into: place) ?? .endOfStream {
            case .bytes(let count): take(ByteView(UnsafeRawBufferPointer(rebasing: place[..<count])), connection)
            case .wouldBlock: break
            case .endOfStream, .failed: ended = true
            }
        }
        if ended { return connection.close(loop) }
        while let request = next(connection) {
            requests.append(request)
            reply(replies.isEmpty ? .status(200) : replies.removeFirst(), connection)
        }
    }

    private func take(_ bytes: ByteView, _ connection: Connection) {
        guard let channel = connection.channel else {
            connection.received += UnsafeBufferPointer(start: bytes.base, count: bytes.count)
            return
        }
        var rest = bytes, out: [UInt8] = []
        withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { plain in
            withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { replies in
                while true {
                    var writer = ByteWriter(replies)
                    let progress = channel.tls.receive(rest, into: plain, replies: &writer)
                    out += UnsafeBufferPointer(start: writer.base, count: writer.count)
                    rest = rest.dropping(first: progress.consumed)
                    connection.received += plain[..<progress.produced]
                    switch progress.next {
                    case .opened, .room, .replies: continue
                    case .bytes, .end, .failure: return
                    }
                }
            }
        }
        send(out, connection)
    }

    private func next(_ connection: Connection) -> Request? {
        guard let end = connection.received.indices.first(where: { connection.received[$0...].starts(with: Self.gap) })
        else { return nil }
        let head = String(decoding: connection.received[..<end], as: UTF8.self)
        guard let field = head.split(separator: "\r\n").first(where: { $0.lowercased().hasPrefix("content-length: ") }),
            let length = Int(field.dropFirst(16)), connection.received.count >= end + 4 + length
        else { return nil }
        let body = Array(connection.received[(end + 4)..<(end + 4 + length)])
        connection.received.removeFirst(end + 4 + length)
        return Request(head: head, body: body)
    }

    private static let gap = Array("\r\n\r\n".utf8)

    private func reply(_ reply: Reply, _ connection: Connection) {
        switch reply {
        case .status(let status, let fields):
            say("HTTP/1.1 \(status) Phrase\r\n\(fields)Content-Length: 2\r\n\r\n{}", connection)
        case .hangUp: connection.close(loop)
        case .silence: break
        case .raw(let text):
            say(text, connection)
            connection.close(loop)
        }
    }

    private func say(_ text: String, _ connection: Connection) {
        guard let channel = connection.channel else { return send(Array(text.utf8), connection) }
        var out: [UInt8] = []
        withUnsafeTemporaryAllocation(byteCount: 1 << 16, alignment: 16) { place in
            var writer = ByteWriter(place)
            Array(text.utf8).withUnsafeBytes { _ = channel.tls.write(ByteView($0), into: &writer) }
            out += UnsafeBufferPointer(start: writer.base, count: writer.count)
        }
        send(out, connection)
    }

    private func send(_ bytes: [UInt8], _ connection: Connection) {
        bytes.withUnsafeBytes { _ = connection.socket?.send(ByteView($0)) }
    }
}

extension Loop {
    /// Turns until `condition` holds; false if it does not within 20 s.
    func until(_ condition: () -> Bool) -> Bool {
        let deadline = MonotonicClock.now().adding(milliseconds: 20_000)
        while !condition() {
            guard MonotonicClock.now() < deadline else { return false }
            runOnce(atMostMilliseconds: 100)
        }
        return true
    }
}
