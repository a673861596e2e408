import Glibc
import Primitives

@testable import TLS

/// One end of a connection with its bytes in flight.
final class Endpoint {
    var tls: TLSConnection
    /// Bytes of the peer that were not taken yet.
    var inbox: [UInt8] = []
    /// Bytes for the peer.
    var outbox: [UInt8] = []
    /// Data that came.
    var data: [UInt8] = []
    /// Everything `receive` came to, without repetition.
    var story: [TLSConnection.Next] = []
    var replyRoom = 4096
    var dataRoom = 4096

    init(_ tls: consuming TLSConnection) { self.tls = tls }

    /// Hands in at most `chunk` bytes. True if anything moved.
    func step(chunk: Int) -> Bool {
        let part = Array(inbox.prefix(chunk))
        let before = (tls.state, outbox.count, data.count)
        var progress = TLSConnection.Progress(consumed: 0, produced: 0, next: .bytes)
        withRoom { replies in
            withUnsafeTemporaryAllocation(byteCount: dataRoom, alignment: 1) { plain in
                part.withUnsafeBytes { bytes in
                    progress = tls.receive(ByteView(bytes), into: plain, replies: &replies)
                }
                data += plain.prefix(progress.produced)
            }
        }
        inbox.removeFirst(progress.consumed)
        if story.last != progress.next { story.append(progress.next) }
        return progress.consumed > 0 || tls.state != before.0 || outbox.count != before.1 || data.count != before.2
    }

    /// Runs `body` with room for replies, whose bytes go to the outbox.
    func withRoom(_ room: Int? = nil, _ body: (inout ByteWriter) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: room ?? replyRoom, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            body(&writer)
            let written = writer.written
            outbox += UnsafeBufferPointer(start: written.base, count: written.count)
        }
    }

    func start() { withRoom { tls.transmit(into: &$0) } }

    func send(_ bytes: [UInt8], room: Int = 65536, recordLimit: Int = 16384) {
        var left = bytes[...]
        var rounds = 0
        while !left.isEmpty, rounds < 10_000 {
            rounds += 1
            var taken = 0
            withRoom(room) { out in
                left.withUnsafeBytes { taken = tls.write(ByteView($0), into: &out, recordLimit: recordLimit) }
            }
            guard taken > 0 else { return }
            left = left.dropFirst(taken)
        }
    }

    func close() { withRoom { tls.closeNotify(into: &$0) } }

    var failure: TLSFailure? { if case .failed(let failure) = tls.state { failure } else { nil } }
}

/// A client and a server that talk in memory.
final class Pair {
    let client: Endpoint
    let server: Endpoint

    init(_ client: consuming TLSConnection, _ server: consuming TLSConnection) {
        self.client = Endpoint(client)
        self.server = Endpoint(server)
    }

    convenience init(
        _ client: TLSClientContext, _ server: TLSServerContext, to peer: PeerIdentity = Fixture.local,
        resuming session: TLSSession? = nil
    ) throws {
        self.init(
            try TLSConnection(connecting: client, to: peer, resuming: session), try TLSConnection(accepting: server))
    }

    /// Moves bytes, at most `chunk` at once, until nothing moves. True if both are open.
    @discardableResult
    func run(chunk: Int = 1 << 20) -> Bool {
        if client.tls.state == .handshaking, client.story.isEmpty { client.start() }
        var quiet = 0
        while quiet < 3 {
            swap()
            let clientMoved = client.step(chunk: chunk)
            swap()
            let serverMoved = server.step(chunk: chunk)
            quiet = clientMoved || serverMoved ? 0 : quiet + 1
        }
        return client.tls.isEstablished && server.tls.isEstablished
    }

    private func swap() {
        server.inbox += client.outbox
        client.outbox = []
        client.inbox += server.outbox
        server.outbox = []
    }
}

/// Authorities and certificates that many tests use, made once.
enum Fixture {
    static let now = Int64(time(nil))
    static let local = PeerIdentity(serverName: "app.default.localhost")

    // Shared by tests that run side by side, so only texts.
    static let authority: PEMPair = (try? make("Martlet tests")) ?? empty
    static let stranger: PEMPair = (try? make("Stranger")) ?? empty
    static let ecdsa = issued(["*.default.localhost", "localhost", "127.0.0.1"])
    static let rsa = issued(["*.default.localhost", "localhost", "127.0.0.1"], key: .rsa)
    private static let empty = PEMPair(certificate: [], key: [])

    private static func make(_ name: String) throws -> PEMPair {
        try LocalAuthority.create(commonName: name, now: now - 1000 * 86_400).pem
    }

    static func issued(
        _ names: [String], key: LocalAuthority.KeyKind = .ecdsa, by authority: PEMPair = authority,
        at time: Int64 = now, days: Int64 = 30
    ) -> PEMPair {
        let signer = try? LocalAuthority(authority, certificateFile: "ca.crt", keyFile: "ca.key")
        return (try? signer?.issue(names: names, key: key, days: days, now: time)) ?? empty
    }

    static func source(_ pair: PEMPair, _ name: String = "tls", isDefault: Bool = false) -> CertificateSource {
        CertificateSource(
            certificateFile: "\(name).crt", certificate: pair.certificate, keyFile: "\(name).key", key: pair.key,
            isDefault: isDefault)
    }

    static func set(_ pairs: PEMPair...) -> CertificateSet {
        let sources = pairs.enumerated().map { source($0.element, "tls\($0.offset)", isDefault: true) }
        return CertificateSet.load(sources, now: now).set
    }

    static func trust(_ pair: PEMPair = authority) throws -> TrustBundle {
        try TrustBundle(pem: pair.certificate, file: "ca.crt")
    }

    static func server(
        _ set: CertificateSet? = nil, tickets: TicketKeyRing? = nil,
        _ change: (inout TLSServerSettings) -> Void = { _ in }
    ) throws -> TLSServerContext {
        var settings = TLSServerSettings()
        change(&settings)
        return try TLSServerContext(settings, certificates: set ?? Self.set(ecdsa), tickets: tickets)
    }

    static func client(
        trust: TrustBundle? = nil, identity: CertificateSet? = nil, _ change: (inout TLSSettings) -> Void = { _ in }
    ) throws -> TLSClientContext {
        var settings = TLSSettings()
        change(&settings)
        return try TLSClientContext(settings, trust: trust ?? Self.trust(), identity: identity)
    }
}
