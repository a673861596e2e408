import EventLoop
import Glibc
import Primitives
import TLS

/// One end of a TLS connection in the hands of a test, over a `Peer`. Every step waits for the event it needs.
final class SecurePeer: Hearing {
    let peer: Peer
    private var tls: TLSConnection
    /// Data received and not yet taken.
    private var data: [UInt8] = []
    /// Ciphertext that was not taken yet.
    private var cipher: [UInt8] = []
    /// Whether close_notify has come.
    private(set) var hasEnded = false

    /// The client's side; nothing is said yet.
    init(
        _ peer: Peer, connecting context: TLSClientContext, to identity: PeerIdentity,
        resuming session: TLSSession? = nil
    ) throws {
        self.peer = peer
        tls = try TLSConnection(connecting: context, to: identity, resuming: session)
    }

    /// The server's side of an accepted connection; nothing is said yet.
    init(_ peer: Peer, accepting context: TLSServerContext) throws {
        self.peer = peer
        tls = try TLSConnection(accepting: context)
    }

    /// Says the first flight and goes on until the handshake is done.
    @discardableResult
    func handshake() throws -> SecurePeer {
        try say { $0.transmit(into: &$1) }
        while tls.state == .handshaking { try hear("the handshake") }
        if case .failed(let failure) = tls.state { throw PeerFailure(description: "handshake: \(failure)") }
        return self
    }

    /// The server's side: goes on until the handshake is done. `holdingBack` keeps what is to be said after the
    /// client's last flight (tickets) in `held`.
    @discardableResult
    func answer(holdingBack: Bool = false) throws -> SecurePeer {
        var steps = 0
        while tls.state == .handshaking {
            isHolding = holdingBack && steps > 0
            try hear("the handshake")
            steps += 1
        }
        isHolding = false
        if let failure { throw PeerFailure(description: "handshake: \(failure)") }
        return self
    }

    /// What `answer` held back.
    private(set) var held: [UInt8] = []
    private var isHolding = false

    /// Only the first flight.
    func hello() throws { try say { $0.transmit(into: &$1) } }

    // What the handshake settled.
    var version: TLSVersion? { tls.version }
    var peerNames: [String] { tls.peerNames }
    var isResumed: Bool { tls.isResumed }
    var serverName: String? { tls.serverName }
    var applicationProtocol: ApplicationProtocol? { tls.applicationProtocol }
    func session() -> TLSSession? { tls.session() }

    // MARK: Saying

    func send(_ text: String) throws { try send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws { try peer.send(sealed(bytes)) }

    /// `bytes` as records, to be sent piece by piece.
    func sealed(_ bytes: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            var taken = 0
            out += Self.written(to: 1 << 17) { writer in
                rest.withUnsafeBytes { taken = tls.write(ByteView($0), into: &writer) }
            }
            guard taken > 0 else { break }
            rest = rest.dropFirst(taken)
        }
        return out
    }

    /// Says close_notify; the connection stays.
    func closeNotify() throws { try say { $0.closeNotify(into: &$1) } }

    private func say(_ body: (inout TLSConnection, inout ByteWriter) -> Void) throws {
        try peer.send(Self.written(to: 1 << 16) { body(&tls, &$0) })
    }

    private static func written(to room: Int, _ body: (inout ByteWriter) -> Void) -> [UInt8] {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 16)
        defer { memory.deallocate() }
        var writer = ByteWriter(memory)
        body(&writer)
        return Array(UnsafeBufferPointer(start: writer.written.base, count: writer.written.count))
    }

    // MARK: Hearing

    func receive(_ count: Int) throws -> [UInt8] {
        while data.count < count { try hear("\(count) bytes") }
        defer { data.removeFirst(count) }
        return Array(data[..<count])
    }

    func receive(through mark: String) throws -> String {
        while true {
            if let end = data.firstRange(of: Array(mark.utf8))?.upperBound {
                return String(decoding: try receive(end), as: UTF8.self)
            }
            try hear(mark)
        }
    }

    func expect(_ expected: String) throws {
        let got = String(decoding: try receive(expected.utf8.count), as: UTF8.self)
        guard got == expected else { throw PeerFailure(description: "expected \(expected), got \(got)") }
    }

    /// Takes everything until close_notify; throws if the connection ends without it.
    func receiveToEnd() throws -> String {
        while !hasEnded { try hear("close_notify") }
        defer { data = [] }
        return String(decoding: data, as: UTF8.self)
    }

    /// Takes in what has come within `milliseconds`, if anything has; returns the data that is there.
    func look(milliseconds: Int32) throws -> [UInt8] {
        if peer.pending.isEmpty { try peer.poll(milliseconds: milliseconds) }
        if !peer.pending.isEmpty { try hear("") }
        return data
    }

    /// What it failed with.
    var failure: TLSFailure? { if case .failed(let failure) = tls.state { failure } else { nil } }

    /// Reads until the connection has failed or ended.
    func waitForFailure() throws -> TLSFailure? {
        while failure == nil, !hasEnded {
            do { try hear("a failure") } catch { break }
        }
        return failure
    }

    private func hear(_ what: String) throws {
        if hasEnded { throw PeerFailure(description: "waited for \(what), close_notify after \(data.count) bytes") }
        if let failure { throw PeerFailure(description: "waited for \(what), \(failure)") }
        if peer.pending.isEmpty, !isUnfinished {
            if peer.hasEnded {
                tls.endOfStream()
                throw PeerFailure(description: "waited for \(what), the transport ended after \(data.count) bytes")
            }
            let before = MonotonicClock.now()
            try peer.poll(milliseconds: Int32(Peer.patience))
            guard !peer.pending.isEmpty || peer.hasEnded else {
                let waited = MonotonicClock.now().milliseconds(since: before)
                throw PeerFailure(description: "no \(what) in \(waited) ms")
            }
        }
        cipher += try peer.receive(peer.pending.count)
        let replies = Self.written(to: 1 << 16) { writer in
            let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
            defer { room.deallocate() }
            let progress = cipher.withUnsafeBytes { tls.receive(ByteView($0), into: room, replies: &writer) }
            cipher.removeFirst(progress.consumed)
            data += room[..<progress.produced]
            isUnfinished = progress.next == .room || progress.next == .opened || progress.next == .replies
            if progress.next == .end { hasEnded = true }
        }
        // After a failure the other side may have gone already.
        if isHolding { held += replies } else { peer.sendWhatFits(replies) }
    }

    private var isUnfinished = false
}
