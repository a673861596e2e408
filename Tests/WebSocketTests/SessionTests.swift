import Primitives
import Testing

@testable import WebSocket

/// Two sessions, the way to the end, and the limits.
@Suite struct SessionTests {
    /// What one side sends is what the other is told, in order, whatever room there is to write.
    @Test func bothWays() {
        for seed in 0..<20 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            let client = Side(.client(maskSeed: seed)), server = Side(.server)
            for (from, to) in [(client, server), (server, client)] {
                var expected: [Told] = []
                for _ in 0..<20 {
                    let size = Int([0, 1, 125, 126, 5000, 70_000][Int(random.next() % 6)])
                    let payload = [UInt8](repeating: UInt8(truncatingIfNeeded: random.next()), count: size)
                    if from.send(payload) { expected.append(Told(.binary, payload)) }
                    if random.next() % 4 == 0, from.send(text: "héllo") {
                        expected.append(Told(.text, Array("héllo".utf8)))
                    }
                    to.receive(from.transmit(room: 1 + Int(random.next() % 9000)), longest: 4000, &random)
                }
                #expect(to.told == expected, "seed \(seed)")
                to.told = []
            }
            #expect(client.session.ping())
            server.receive(client.transmit())
            client.receive(server.transmit())
            #expect(server.told == [Told(.ping)] && client.told == [Told(.pong)])
        }
    }

    /// Each frame of a client has a mask of its own, from its seed.
    @Test func masksAreNew() {
        var masks: Set<[UInt8]> = []
        let sides = [Side(.client(maskSeed: 5)), Side(.client(maskSeed: 6))]
        for side in sides {
            for _ in 0..<50 {
                #expect(side.send([0, 0, 0, 0]))
                let frame = side.transmit()
                #expect(frame.count == 10 && frame[0] == 0x82 && frame[1] == 0x84 && frame[2..<6] == frame[6...])
                masks.insert(Array(frame[2..<6]))
            }
        }
        #expect(masks.count == 100)
        let again = Side(.client(maskSeed: 5)), first = Side(.client(maskSeed: 5))
        #expect(again.send([1, 2]) && first.send([1, 2]))
        #expect(again.transmit() == first.transmit())
    }

    /// What waits is sent before our Close frame, which is the last; the peer may go on until it closes too.
    @Test func closingInOrder() {
        let client = Side(.client(maskSeed: 1)), server = Side(.server)
        for number in UInt8(0)..<20 { #expect(client.send([UInt8](repeating: number, count: 3000))) }
        client.session.close(.normal, reason: "done")
        #expect(!client.send([1]) && !client.session.ping() && client.session.wantsTransmit)
        let sent = client.transmit(room: 777)
        #expect(!client.session.isFinished && !client.session.wantsTransmit)
        client.receive(Wire.frame(2, [5]) + Wire.frame(9))
        #expect(client.told == [Told(.binary, [5]), Told(.ping)] && client.transmit().isEmpty)
        server.receive(sent)
        #expect(server.told.count == 21 && server.told.last == Told(.closed(.normal, reason: "done")))
        client.receive(server.transmit())
        #expect(client.told.last == Told(.closed(.normal, reason: "")))
        #expect(client.session.isFinished && server.session.isFinished)
    }

    /// Both close at once, and one that is still to say something when the peer closes.
    @Test func closingAtOnce() {
        let client = Side(.client(maskSeed: 1)), server = Side(.server)
        client.session.close(.goingAway)
        server.session.close(.serviceRestart, reason: "Restarting")
        let (one, other) = (client.transmit(), server.transmit())
        client.receive(other)
        server.receive(one)
        #expect(client.told == [Told(.closed(.serviceRestart, reason: "Restarting"))])
        #expect(server.told == [Told(.closed(.goingAway, reason: ""))])
        #expect(client.session.isFinished && server.session.isFinished)
        let late = Side(.server)
        #expect(late.send([1]))
        late.receive(Wire.close(1000, mask: Wire.key))
        #expect(late.transmit() == [0x88, 2, 3, 0xE8], "what waited is given up")
    }

    /// 123 bytes of reason, never half a character.
    @Test(arguments: [(String(repeating: "x", count: 200), 123), (String(repeating: "é", count: 100), 122), ("", 0)])
    func reasonsAreCut(reason: String, expected: Int) {
        let side = Side(.server)
        side.session.close(.policyViolation, reason: reason)
        let sent = side.transmit()
        #expect(sent.count == expected + 4 && String(validating: sent[4...], as: UTF8.self) != nil)
    }

    @Test func outboundIsBounded() {
        var limits = WebSocketLimits()
        limits.outboundBytes = 1000
        limits.outboundMessages = 10
        let side = Side(.client(maskSeed: 1), limits)
        #expect(!side.send([UInt8](repeating: 1, count: 1001)) && side.send([UInt8](repeating: 1, count: 1000)))
        #expect(!side.send([1]) && side.session.waitingBytes == 1000)
        _ = side.transmit()
        #expect(side.session.waitingBytes == 0)
        for _ in 0..<10 { #expect(side.send([])) }
        #expect(!side.send([]) && !side.session.ping())
    }

    /// A peer that pings and does not read is given up when its answers are too many, by count or by bytes.
    @Test(arguments: [(10, 100_000), (1000, 1250)]) func answersAreBounded(messages: Int, bytes: Int) {
        var limits = WebSocketLimits()
        limits.outboundMessages = messages
        limits.outboundBytes = bytes
        limits.idleFrames = FloodLimit(perSecond: 10, burst: 1000)
        let side = Side(.server, limits)
        let ping = Wire.frame(9, [UInt8](repeating: 1, count: 125), mask: Wire.key)
        for _ in 0..<10 { side.receive(ping) }
        #expect(side.told == [Told](repeating: Told(.ping), count: 10))
        side.receive(ping)
        #expect(side.told.last == Told(.failed(.peerDoesNotRead)))
    }

    /// Pings, pongs and empty fragments have a rate; messages have none.
    @Test(arguments: [(UInt8(9), true), (10, true), (2, false)]) func idleFramesAreBounded(opcode: UInt8, final: Bool) {
        let side = Side(.server)
        for number in 0..<100 {
            side.receive(Wire.frame(number > 0 && !final ? 0 : opcode, final: final, mask: Wire.key))
        }
        _ = side.transmit()
        #expect(!side.told.contains { if case .failed = $0.event { true } else { false } })
        side.now = side.now.adding(milliseconds: 200)
        for _ in 0..<2 { side.receive(Wire.frame(final ? opcode : 0, final: final, mask: Wire.key)) }
        #expect(!side.told.contains { if case .failed = $0.event { true } else { false } }, "10 a second come back")
        side.receive(Wire.frame(final ? opcode : 0, final: final, mask: Wire.key))
        #expect(side.told.last == Told(.failed(.tooManyIdleFrames)))
        let busy = Side(.server)
        for _ in 0..<1000 { busy.receive(Wire.frame(2, mask: Wire.key)) }
        #expect(busy.told == [Told](repeating: Told(.binary), count: 1000))
    }

    /// An announced length takes no memory; what has come is told, for limits over many connections.
    @Test func gatheredBytes() {
        let side = Side(.server)
        side.receive(Wire.head(2, 1 << 20, mask: Wire.key))
        #expect(side.session.gatheredBytes == 0 && side.session.message.capacity < 1024)
        side.receive([UInt8](repeating: 0, count: 5000))
        #expect(side.session.gatheredBytes == 5000)
        side.session.fail(.overloaded)
        side.drain()
        #expect(side.told == [Told(.failed(.overloaded))] && side.session.gatheredBytes == 0)
        #expect(side.transmit().prefix(4) == [0x88, 12, 0x03, 0xF5])
        let kept = Side(.server)
        kept.receive(Wire.frame(2, [UInt8](repeating: 1, count: 300_000), mask: Wire.key))
        #expect(kept.told.first?.message.count == 300_000)
        #expect(kept.session.message.capacity < 32 << 10, "a large message's memory is given back")
    }
}
