import Primitives
import TLS

/// Another dialogue in TLS, as its client. The certificate must be good for 127.0.0.1, as Go's client asks.
final class SecureDialogue: ProbeDialogue {
    /// Room for what TLS itself says in one step.
    private static let replyBytes = 4 * 1024
    /// Room for the data of one step; a record has 16 KiB at most.
    private static let plainBytes = 16 * 1024

    private let inner: HTTP1Dialogue
    private var tls: TLSConnection
    /// What TLS itself has to say and found no room yet.
    private var replies: [UInt8] = []
    /// What the inner dialogue said and was not encrypted yet.
    private var unsaid: [UInt8] = []
    private var failure: ProbeOutcome?

    /// Nil without memory.
    init?(_ inner: HTTP1Dialogue, _ context: TLSClientContext) {
        let peer = PeerIdentity(serverName: nil, verifiedName: "127.0.0.1")
        guard let tls = try? TLSConnection(connecting: context, to: peer) else { return nil }
        self.inner = inner
        self.tls = tls
    }

    var verdict: ProbeOutcome? { inner.verdict ?? failure }

    var isOver: Bool { inner.isOver || failure != nil && replies.isEmpty }

    func transmit(into writer: inout ByteWriter, now: Instant) {
        if !replies.isEmpty {
            let count = min(replies.count, writer.capacity - writer.count)
            replies.withUnsafeBytes { writer.append(ByteView($0)[0..<count]) }
            replies.removeFirst(count)
            guard replies.isEmpty else { return }
        }
        tls.transmit(into: &writer)
        guard tls.state == .open else { return }
        if unsaid.isEmpty { ask(now) }
        guard !unsaid.isEmpty else { return }
        let taken = unsaid.withUnsafeBytes { tls.write(ByteView($0), into: &writer) }
        unsaid.removeFirst(taken)
    }

    private func ask(_ now: Instant) {
        withUnsafeTemporaryAllocation(byteCount: 1_024, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            inner.transmit(into: &writer, now: now)
            for index in 0..<writer.count { unsaid.append(writer.written[index]) }
        }
    }

    func receive(_ bytes: ByteView, now: Instant) {
        var rest = bytes
        // Each step takes bytes, makes room for more, or is the last.
        while step(&rest, now) {}
    }

    /// One step of TLS. False if it has taken all, or there will be no more.
    private func step(_ rest: inout ByteView, _ now: Instant) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: Self.plainBytes + Self.replyBytes, alignment: 16) { memory in
            let plain = UnsafeMutableRawBufferPointer(rebasing: memory[..<Self.plainBytes])
            var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: memory[Self.plainBytes...]))
            let progress = tls.receive(rest, into: plain, replies: &writer)
            for index in 0..<writer.count { replies.append(writer.written[index]) }
            rest = rest.dropping(first: progress.consumed)
            if progress.produced > 0 {
                inner.receive(ByteView(UnsafeRawBufferPointer(rebasing: plain[..<progress.produced])), now: now)
            }
            switch progress.next {
            case .bytes: return false
            case .opened, .room, .replies: return true
            case .end:
                inner.closed(nil, now: now)
                return false
            case .failure:
                fail()
                return false
            }
        }
    }

    func closed(_ reason: ProbeOutcome?, now: Instant) {
        tls.endOfStream()
        if tls.state == .handshaking || reason != nil { fail() } else { inner.closed(reason, now: now) }
        replies = []
    }

    private func fail() {
        guard case .failed(let found) = tls.state else {
            failure = failure ?? .failed("the connection was closed in the TLS handshake; does the port speak TLS?")
            return
        }
        failure = failure ?? .failed("TLS: \(found)")
    }
}
