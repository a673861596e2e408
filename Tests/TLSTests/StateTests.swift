import Primitives
import Testing

@testable import TLS

/// Every state meets every event; and what workers share is shared.
@Suite struct StateTests {
    enum Word: CaseIterable { case handshaking, open, peerClosed, closing, closed, failed }
    enum Event: CaseIterable { case receive, write, transmit, closeNotify, endOfStream }

    static func word(_ state: TLSConnection.State) -> Word {
        switch state {
        case .handshaking: .handshaking
        case .open: .open
        case .peerClosed: .peerClosed
        case .closing: .closing
        case .closed: .closed
        case .failed: .failed
        }
    }

    /// A server's end in a state.
    private func end(in state: Word) throws -> Endpoint {
        let pair = try Pair(Fixture.client(), Fixture.server())
        if state == .handshaking { return pair.server }
        #expect(pair.run())
        if state == .peerClosed || state == .closed {
            pair.client.close()
            pair.run()
        }
        if state == .closing || state == .closed { pair.server.close() }
        if state == .failed { pair.server.tls.endOfStream() }
        pair.server.outbox = []
        return pair.server
    }

    static func expected(_ state: Word, _ event: Event) -> Word {
        switch (state, event) {
        case (.handshaking, .closeNotify): .closed
        case (.handshaking, .endOfStream), (.open, .endOfStream): .failed
        case (.open, .closeNotify): .closing
        case (.peerClosed, .closeNotify), (.closing, .endOfStream): .closed
        case (_, .receive), (_, .write), (_, .transmit), (.peerClosed, .endOfStream), (.closing, .closeNotify),
            (.closed, _), (.failed, _):
            state
        }
    }

    @Test func everyEventInEveryState() throws {
        for state in Word.allCases {
            for event in Event.allCases {
                let end = try end(in: state)
                #expect(Self.word(end.tls.state) == state)
                switch event {
                case .receive: _ = end.step(chunk: 1)
                case .write: end.send([1, 2, 3])
                case .transmit: end.start()
                case .closeNotify: end.close()
                case .endOfStream: end.tls.endOfStream()
                }
                #expect(Self.word(end.tls.state) == Self.expected(state, event), "\(state) \(event)")
                let maySpeak =
                    (event == .write || event == .closeNotify) && (state == .open || state == .peerClosed)
                #expect(end.outbox.isEmpty != maySpeak, "\(state) \(event)")
            }
        }
    }

    /// Workers on threads of their own, over one ring and one set that change meanwhile: no handshake fails.
    @Test func workersShareKeysAndCertificates() async throws {
        let ring = try TicketKeyRing(rotationMilliseconds: 1, now: Instant(nanoseconds: 0))
        let sets = [Fixture.set(Fixture.ecdsa, Fixture.rsa), Fixture.set(Fixture.ecdsa)]
        let failures = try await withThrowingTaskGroup(of: Int.self) { group in
            for worker in 0..<3 {
                group.addTask {
                    var failures = 0
                    let server = try Fixture.server(sets[0], tickets: ring)
                    let client = try Fixture.client { $0.highestVersion = worker == 0 ? .tls12 : .tls13 }
                    var session: TLSSession?
                    for round in 0..<40 {
                        server.certificates = sets[round % 2]
                        if round % 3 == worker {
                            _ = try ring.timeout(now: Instant(nanoseconds: UInt64(round) * 1_000_000))
                        }
                        let pair = try Pair(client, server, resuming: session)
                        pair.run()
                        pair.server.send(ConnectionTests.text)
                        pair.run()
                        if pair.client.data != ConnectionTests.text { failures += 1 }
                        session = pair.client.tls.session()
                    }
                    return failures
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(failures == 0)
    }
}
