import EventLoop
import Glibc
import Primitives

/// What went wrong with a peer, and what it had received by then.
struct PeerFailure: Error, CustomStringConvertible {
    let description: String
}

/// One end of a TCP connection in the hands of a test: a client, or a pod's side of a connection it accepted.
///
/// Every step waits for the event it needs, at most `patience`; nothing sleeps. Says exactly the bytes it is told to
/// say and keeps exactly the bytes it gets.
final class Peer {
    /// How long one step may take, in milliseconds. Generous: test machines are busy.
    static let patience: UInt64 = 15_000

    let fd: Int32
    /// Received and not yet taken.
    private(set) var pending: [UInt8] = []
    private(set) var hasEnded = false
    private var isClosed = false

    init(owning fd: Int32) { self.fd = fd }

    /// Connects to a port of this machine.
    convenience init(port: UInt16, receiveBuffer: Int32? = nil) throws {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if var size = receiveBuffer { setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, 4) }
        var address = Net.loopback(port)
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(fd, $0, 16) }
        }
        guard code == 0 else { throw PeerFailure(description: "connect: errno \(errno)") }
        var on: Int32 = 1
        setsockopt(fd, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
        self.init(owning: fd)
    }

    /// Begins to connect, without waiting for an answer.
    convenience init(connectingTo port: UInt16) throws {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var address = Net.loopback(port)
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(fd, $0, 16) }
        }
        self.init(owning: fd)
    }

    // MARK: Saying

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count { sent += try sendSome(bytes[sent...]) }
    }

    /// Sends each byte (or piece of `size`) in a packet of its own, as far as the kernel keeps them apart.
    func sendInPieces(_ text: String, of size: Int) throws {
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: size) {
            try send(Array(bytes[start..<min(start + size, bytes.count)]))
        }
    }

    private func sendSome(_ bytes: ArraySlice<UInt8>) throws -> Int {
        try wait(for: Int16(POLLOUT), "send")
        let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
        let count = bytes.withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, flags) }
        if count < 0, errno != EAGAIN { throw PeerFailure(description: "send: errno \(errno)") }
        return max(0, count)
    }

    /// Sends until the kernel takes no more for `silence` milliseconds; returns how much it took.
    func sendUntilBlocked(_ byte: UInt8, atMost limit: Int, silence: Int32) throws -> Int {
        let block = [UInt8](repeating: byte, count: 65_536)
        var total = 0
        while total < limit {
            var entry = pollfd(fd: fd, events: Int16(POLLOUT), revents: 0)
            guard Glibc.poll(&entry, 1, silence) > 0 else { break }
            total += try sendSome(block[...])
        }
        return total
    }

    /// Sends as much as the kernel takes at once; the rest, or all if the connection has gone, is left out.
    func sendWhatFits(_ bytes: [UInt8]) {
        let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
        _ = bytes.withUnsafeBytes { Glibc.send(fd, $0.baseAddress, $0.count, flags) }
    }

    /// Says that it will send no more.
    func endSending() { shutdown(fd, Int32(SHUT_WR)) }

    func close() {
        guard !isClosed else { return }
        isClosed = true
        Glibc.close(fd)
    }

    /// Closes with a reset.
    func reset() {
        guard !isClosed else { return }
        var now = linger(l_onoff: 1, l_linger: 0)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, 8)
        close()
    }

    // MARK: Hearing

    /// Takes exactly `count` bytes.
    func receive(_ count: Int) throws -> [UInt8] {
        while pending.count < count { try receiveMore("\(count) bytes") }
        return take(count)
    }

    /// Takes everything up to and including `mark`.
    func receive(through mark: String) throws -> String {
        let wanted = Array(mark.utf8)
        var start = 0
        while true {
            if let end = Self.find(wanted, in: pending, from: start) { return text(take(end + wanted.count)) }
            start = max(0, pending.count - wanted.count)
            try receiveMore(mark)
        }
    }

    /// Takes exactly `expected`; throws as soon as something else comes.
    func expect(_ expected: String) throws {
        let wanted = Array(expected.utf8)
        while pending.count < wanted.count {
            guard wanted.starts(with: pending) else { break }
            try receiveMore(expected)
        }
        guard pending.starts(with: wanted) else {
            throw PeerFailure(
                description: "expected \(expected.debugDescription), got \(text(pending).debugDescription)")
        }
        _ = take(wanted.count)
    }

    /// Takes everything until the other side says that it will send no more.
    func receiveToEnd() throws -> String {
        while !hasEnded { try receiveMore("the end", throwsAtEnd: false) }
        return text(take(pending.count))
    }

    /// Waits for a reset or an end; returns whether it was a reset. Throws what had come away.
    func waitForBreak() throws -> Bool {
        while !hasEnded {
            do { try receiveMore("the end", throwsAtEnd: false) } catch let failure as PeerFailure
                where failure.description.hasPrefix("reset")
            { return true }
        }
        return false
    }

    /// Expects that the other side closes without another byte, by an end or a reset.
    func expectClosed() throws {
        _ = try waitForBreak()
        guard pending.isEmpty else {
            throw PeerFailure(description: "expected the end, got \(text(pending).debugDescription)")
        }
    }

    /// Takes in what comes within `milliseconds`, if anything does.
    func poll(milliseconds: Int32) throws {
        var entry = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
        if Glibc.poll(&entry, 1, milliseconds) > 0 { try receiveMore("more", throwsAtEnd: false) }
    }

    /// Expects that for `milliseconds` nothing comes, not even an end.
    func expectSilence(milliseconds: UInt64) throws {
        try poll(milliseconds: Int32(milliseconds))
        guard pending.isEmpty, !hasEnded else {
            throw PeerFailure(
                description: "expected silence, got \(text(pending).debugDescription), ended: \(hasEnded)")
        }
    }

    /// Receives and counts until `count` bytes have come, without keeping them.
    func discard(_ count: Int) throws {
        var left = count - take(min(count, pending.count)).count
        var place = [UInt8](repeating: 0, count: 1 << 18)
        while left > 0 {
            try wait(for: Int16(POLLIN), "\(left) more bytes")
            let got = recv(fd, &place, min(left, place.count), Int32(MSG_DONTWAIT))
            guard got > 0 || errno == EAGAIN else { throw PeerFailure(description: "\(left) bytes missing") }
            left -= max(0, got)
        }
    }

    private func receiveMore(_ what: String, throwsAtEnd: Bool = true) throws {
        guard !hasEnded else {
            throw PeerFailure(
                description: "waited for \(what.debugDescription), ended after \(text(pending).debugDescription)")
        }
        try wait(for: Int16(POLLIN), what)
        var place = [UInt8](repeating: 0, count: 65_536)
        let count = recv(fd, &place, place.count, Int32(MSG_DONTWAIT))
        if count > 0 { pending += place[..<count] }
        if count == 0 { hasEnded = true }
        if count < 0, errno != EAGAIN {
            throw PeerFailure(
                description: "reset (\(errno)) after \(text(pending).debugDescription), waiting for \(what)")
        }
        if hasEnded, throwsAtEnd {
            throw PeerFailure(
                description: "waited for \(what.debugDescription), ended after \(text(pending).debugDescription)")
        }
    }

    private func wait(for events: Int16, _ what: String) throws {
        var entry = pollfd(fd: fd, events: events, revents: 0)
        guard Glibc.poll(&entry, 1, Int32(Self.patience)) > 0 else {
            throw PeerFailure(
                description: "no \(what.debugDescription) in time, only \(text(pending).debugDescription.prefix(2_000))"
            )
        }
    }

    private func take(_ count: Int) -> [UInt8] {
        let taken = Array(pending[..<count])
        pending.removeFirst(count)
        return taken
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    private static func find(_ wanted: [UInt8], in bytes: [UInt8], from start: Int) -> Int? {
        guard bytes.count >= wanted.count else { return nil }
        for index in start...(bytes.count - wanted.count) where bytes[index] == wanted[0] {
            if bytes[index..<index + wanted.count].elementsEqual(wanted) { return index }
        }
        return nil
    }

    deinit { close() }
}

/// Small socket facts.
enum Net {
    static func loopback(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }
}

/// A pod as the proxy sees it: a listening port; the test accepts and plays each connection itself.
final class Pod {
    let port: UInt16
    private let fd: Int32
    private var isOpen = true
    /// Connections that the test took.
    private(set) var connections: [Peer] = []

    init(receiveBuffer: Int32? = nil) throws {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if var size = receiveBuffer { setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, 4) }
        self.fd = fd
        var address = Net.loopback(0)
        var length = socklen_t(16)
        let code = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { place in
                bind(fd, place, length) | listen(fd, 128) | getsockname(fd, place, &length)
            }
        }
        guard code == 0 else { throw PeerFailure(description: "pod: errno \(errno)") }
        port = UInt16(bigEndian: address.sin_port)
    }

    /// Waits for the next connection.
    func accept() throws -> Peer {
        guard isConnectionWaiting(Int32(Peer.patience)) else { throw PeerFailure(description: "nobody connected") }
        let peer = Peer(owning: Glibc.accept(fd, nil, nil))
        var on: Int32 = 1
        setsockopt(peer.fd, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
        connections.append(peer)
        return peer
    }

    /// Whether somebody has connected whom the test has not taken.
    func isConnectionWaiting(_ milliseconds: Int32 = 0) -> Bool {
        var entry = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
        return Glibc.poll(&entry, 1, milliseconds) > 0
    }

    /// Fills the queue of connections waiting to be accepted, so that the kernel answers no more.
    func fillBacklog() throws -> [Peer] {
        listen(fd, 0)
        return try (0..<4).map { _ in try Peer(connectingTo: port) }
    }

    /// Closes all connections, those that nobody accepted too, and listens no more.
    func close() {
        for connection in connections { connection.close() }
        while isOpen, isConnectionWaiting() { Glibc.close(Glibc.accept(fd, nil, nil)) }
        stop()
    }

    /// Stops listening: connections are refused from now on.
    func stop() {
        if isOpen { Glibc.close(fd) }
        isOpen = false
    }

    deinit { stop() }
}
