import EventLoop
import Foundation
import Primitives
import TestProcess

@testable import StatChannel

extension Loop {
    /// Turns until `condition` holds; false if it does not within 20 s.
    func until(_ condition: () -> Bool) -> Bool {
        let deadline = MonotonicClock.now().adding(milliseconds: 20_000)
        while !condition() {
            guard MonotonicClock.now() < deadline else { return false }
            runOnce(atMostMilliseconds: 20)
        }
        return true
    }

    /// Turns for so long, whatever happens.
    func turn(milliseconds: UInt64) {
        let deadline = MonotonicClock.now().adding(milliseconds: milliseconds)
        while MonotonicClock.now() < deadline { runOnce(atMostMilliseconds: 5) }
    }
}

/// A foreign program whose lines are read on the loop.
final class Peer {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/Peers"

    private let process: TestProcess
    private let input: TestPipe, output: TestPipe
    private let loop: Loop
    private var watch: Loop.WatchToken?
    private var partial = ""
    /// What it has printed, its errors with it.
    private(set) var lines: [String] = []

    /// Debian's Python, whose packages `scripts/setup` installs.
    convenience init(python script: String, _ arguments: [String] = [], loop: Loop) throws {
        try self.init("/usr/bin/python3", ["-B", "\(Self.folder)/\(script)"] + arguments, loop: loop)
    }

    init(_ program: String, _ arguments: [String], loop: Loop) throws {
        self.loop = loop
        (input, output) = (try TestPipe(), try TestPipe())
        process = try TestProcess(
            [program] + arguments, input: input.readEnd, output: output.writeEnd, errors: output.writeEnd)
        input.closeReadEnd()
        output.closeWriteEnd()
        watch = try loop.watch(output.readEnd, .readable) { [weak self] _ in self?.read() }
    }

    deinit {
        if let watch { loop.unwatch(watch) }
    }

    private func read() {
        let bytes = output.read()
        if bytes.isEmpty {
            if let watch { loop.unwatch(watch) }
            watch = nil
        }
        partial += String(decoding: bytes, as: UTF8.self)
        var parts = partial.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        partial = parts.removeLast()
        lines += parts
    }

    /// Writes one line to it.
    func tell(_ line: String) { input.write("\(line)\n") }

    /// Whether it has closed its output: it is at its end.
    var isOver: Bool { watch == nil }

    /// The status of a program that has ended; the loop turns until then.
    func end() -> Int32? {
        guard loop.until({ self.isOver }) else { return nil }
        return process.waitForEnd()
    }

    /// Waits for one more line that begins with `words` than there were at `mark`.
    func line(_ words: String, after mark: Int = 0) -> String? {
        var found: String?
        _ = loop.until {
            found = lines.dropFirst(mark).first { $0.hasPrefix(words) }
            return found != nil || isOver
        }
        return found
    }
}

/// A raw TCP client on the loop.
final class RawClient {
    private let socket: ChannelSocket
    private(set) var received: [UInt8] = []
    /// How the connection ended; nil while it has not.
    private(set) var ended: String?

    init?(_ address: SocketAddress, loop: Loop) {
        switch Socket.connect(to: address) {
        case .connected(let opened): socket = ChannelSocket(opened, loop: loop)
        case .pending(let opened): socket = ChannelSocket(opened, loop: loop)
        case .failed: return nil
        }
        socket.onBytes = { [weak self] in
            self?.received.append(contentsOf: UnsafeBufferPointer(start: $0.base, count: $0.count))
        }
        socket.onEnd = { [weak self] in self?.ended = $0 }
        guard socket.start() else { return nil }
    }

    func send(_ bytes: [UInt8]) { bytes.withUnsafeBytes { socket.send(ByteView($0)) } }
    func send(_ text: String) { send(Array(text.utf8)) }
    func close() { socket.close() }
    var text: String { String(decoding: received, as: UTF8.self) }

    /// Ended by the server, in order: not by a reset.
    var endedWell: Bool { ended == "the peer has ended the connection" }
}

/// A server of raw bytes on the loop: what each connection gets is a closure's matter.
final class RawServer {
    final class Connection {
        let socket: ChannelSocket
        var received: [UInt8] = []
        var text: String { String(decoding: received, as: UTF8.self) }

        init(_ socket: ChannelSocket) { self.socket = socket }

        func send(_ bytes: [UInt8]) { bytes.withUnsafeBytes { socket.send(ByteView($0)) } }

        /// Agrees to the handshake that has come; false if it has not.
        func agree() -> Bool {
            guard text.hasSuffix("\r\n\r\n"),
                let line = text.split(separator: "\r\n").first(where: {
                    $0.hasPrefix("Sec-WebSocket-Key: ")
                })
            else { return false }
            let key = Array(line.dropFirst("Sec-WebSocket-Key: ".utf8.count).utf8)
            send(RawServer.agreement(to: key))
            received = []
            return true
        }
    }

    private let listener: Listener
    private let loop: Loop
    private(set) var connections: [Connection] = []
    /// Bytes have come to a connection.
    var onBytes: (Connection) -> Void = { _ in }
    /// When each connection came, on the loop's clock.
    private(set) var times: [Instant] = []
    /// Whether connections are read at all.
    var reads = true

    init(_ loop: Loop, port: UInt16 = 0) throws {
        self.loop = loop
        listener = try Listener(.loopback(port: port), sharesPort: false)
        _ = try loop.watch(listener.fd, .readable) { [weak self] _ in self?.accept() }
    }

    var port: UInt16 { listener.address?.port ?? 0 }

    private func accept() {
        guard case .connection(let socket, _) = listener.accept() else { return }
        times.append(MonotonicClock.now())
        let connection = Connection(ChannelSocket(socket, loop: loop))
        connections.append(connection)
        connection.socket.onBytes = { [weak self, weak connection] in
            guard let connection else { return }
            connection.received.append(contentsOf: UnsafeBufferPointer(start: $0.base, count: $0.count))
            self?.onBytes(connection)
        }
        if reads { _ = connection.socket.start() }
    }
}
