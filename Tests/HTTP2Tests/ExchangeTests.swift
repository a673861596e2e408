import Glibc
import HTTP
import HTTP2Wire
import Primitives
import Testing

@testable import HTTP2

/// A client and a server session talk over a link that cuts bytes anywhere.
@Suite struct ExchangeTests {
    final class Pair {
        let client: Side, server: Side
        var pieces: SeededRandom
        init(seed: UInt64 = 1, limits: HTTP2Limits = HTTP2Limits(), room: Int = 20_000) {
            (client, server, pieces) = (
                Side(.client, limits: limits), Side(.server, limits: limits), SeededRandom(seed: seed)
            )
            settle(room: room)
            (client.log, server.log) = ([], [])
        }
        func settle(room: Int = 20_000) { exchange(client, server, pieces: &pieces, room: room) }
        func at(_ number: Int32) -> HTTP2Stream? { server.streams[number] }
    }

    @Test func aRequestAndItsResponse() {
        for seed in 0..<64 as Range<UInt64> {
            let pair = Pair(seed: seed, room: 64 + Int(seed) * 7)
            pair.server.onEvent = { event, side in
                guard case .end(let stream) = event else { return }
                side.respond(stream, 200, fields: [("content-type", "text/plain")], body: true)
                side.write(stream, Array("hello".utf8), end: true)
            }
            pair.client.request("/x?y=z", fields: [("accept", "*/*")])
            pair.settle(room: 64 + Int(seed) * 7)
            #expect(
                pair.server.log == ["head 1 GET /x?y=z a.example", "end 1", "finished 1"],
                "seed \(seed): \(pair.server.log)")
            let heard = pair.client.log.filter { !$0.hasPrefix("data") }
            #expect(heard == ["head 1 200", "end 1", "finished 1"], "seed \(seed): \(pair.client.log)")
            #expect(pair.client.bodies[1] == Array("hello".utf8), "seed \(seed)")
            #expect(pair.client.fields[1] == ["content-type: text/plain"], "seed \(seed)")
            for side in [pair.client, pair.server] {
                #expect(
                    side.pool.streamCount == 0 && side.pool.lentHeads == 0 && side.pool.lentBytes == 0, "seed \(seed)")
            }
        }
    }

    /// Bodies both ways at once, larger than every window, echoed, on several streams.
    @Test func bodiesPassWhole() {
        for seed in 0..<6 as Range<UInt64> {
            let pair = Pair(seed: seed)
            var sources: [HTTP2Stream: [UInt8]] = [:], offsets: [HTTP2Stream: Int] = [:]
            func pump(_ side: Side, _ stream: HTTP2Stream) {
                guard let source = sources[stream], let at = offsets[stream], at <= source.count else { return }
                let taken = side.write(stream, Array(source[at...]), end: true) ?? 0
                offsets[stream] = at + taken == source.count ? source.count + 1 : at + taken
            }
            var random = SeededRandom(seed: seed), wanted: [Int32: [UInt8]] = [:]
            for index in 0..<3 {
                let body = (0..<(100_000 + index * 60_000)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                guard let stream = pair.client.request(method: "POST", body: true) else { return #expect(Bool(false)) }
                (sources[stream], offsets[stream], wanted[Int32(index * 2 + 1)]) = (body, 0, body)
                pump(pair.client, stream)
            }
            var echo: [HTTP2Stream: [UInt8]] = [:], ended: Set<HTTP2Stream> = []
            func flush(_ side: Side, _ stream: HTTP2Stream) {
                let held = echo[stream] ?? []
                guard !held.isEmpty || ended.contains(stream) else { return }
                let taken = side.write(stream, held, end: ended.contains(stream)) ?? 0
                echo[stream] = Array(held[taken...])
                side.session.consume(taken, on: stream)
                if taken == held.count { ended.remove(stream) }
            }
            pair.server.consumes = false
            pair.client.onEvent = { event, side in if case .writable(let stream) = event { pump(side, stream) } }
            pair.server.onEvent = { event, side in
                switch event {
                case .head(let stream): side.respond(stream, 200, body: true)
                case .data(let stream, let view):
                    echo[stream, default: []] += (0..<view.count).map { view[$0] }
                    #expect(echo[stream]?.count ?? 0 <= 65_535, "a stalled stream is bounded by its window")
                    flush(side, stream)
                case .end(let stream):
                    ended.insert(stream)
                    flush(side, stream)
                case .writable(let stream): flush(side, stream)
                default: break
                }
            }
            pair.settle()
            for (number, body) in wanted {
                #expect(pair.client.bodies[number] == body, "seed \(seed) stream \(number)")
            }
            #expect(pair.server.pool.lentBytes == 0 && pair.client.pool.lentBytes == 0, "seed \(seed)")
        }
    }

    @Test func interimHeadsAndTrailers() {
        for seed in 0..<16 as Range<UInt64> {
            let pair = Pair(seed: seed)
            pair.client.request(fields: [("te", "trailers"), ("expect", "100-continue")], body: true)
            pair.settle()
            #expect(pair.server.respondInterim(pair.at(1), 100) && pair.server.respondInterim(pair.at(1), 103))
            pair.server.respond(pair.at(1), 200, body: true)
            pair.server.write(pair.at(1), [1, 2])
            #expect(pair.server.sendTrailers(pair.at(1), [("grpc-status", "0"), ("grpc-message", "")]))
            #expect(pair.server.write(pair.at(1), [3]) == nil, "nothing follows trailers")
            pair.client.sendTrailers(pair.client.streams[1] ?? pair.client.lastStream, [("x-sum", "5")])
            pair.settle()
            let heard = pair.client.log.filter { !$0.hasPrefix("data") }
            #expect(
                heard == [
                    "head 1 100", "head 1 103", "head 1 200", "trailers 1 grpc-status: 0, grpc-message: ", "end 1",
                    "finished 1",
                ],
                "seed \(seed): \(heard)")
            #expect(pair.server.log.suffix(3) == ["trailers 1 x-sum: 5", "end 1", "finished 1"], "\(pair.server.log)")
        }
    }

    @Test func trailersAlone() {
        let pair = Pair()
        pair.client.request()
        pair.settle()
        pair.server.respond(pair.at(1), 200, body: true)
        pair.server.sendTrailers(pair.at(1), [("grpc-status", "12")])
        pair.settle()
        #expect(pair.client.log == ["head 1 200", "trailers 1 grpc-status: 12", "end 1", "finished 1"])
    }

    // MARK: Flow control

    /// A reader that takes nothing costs the writer a bounded buffer, and the other streams go on.
    @Test func stalledReaderIsBounded() {
        let pair = Pair()
        pair.client.consumes = false
        pair.client.request("/slow")
        pair.client.request("/quick")
        pair.settle()
        pair.server.respond(pair.at(1), body: true)
        let chunk = [UInt8](repeating: 7, count: 10_000)
        var written = 0
        for _ in 0..<100 {
            let taken = pair.server.write(pair.at(1), chunk) ?? 0
            written += taken
            pair.settle()
            if taken < chunk.count { break }
        }
        #expect(written <= 65_535 + 65_536 && written >= 100_000, "\(written)")
        #expect(pair.client.bodies[1]?.count == 65_535)
        #expect(pair.server.pool.lentBytes <= 131_072)
        pair.server.respond(pair.at(3), body: true)
        pair.server.write(pair.at(3), [1], end: true)
        pair.settle()
        #expect(pair.client.log.contains("finished 3"))
        // What is consumed flows on.
        if let stream = pair.client.streams[1] { pair.client.session.consume(65_535, on: stream) }
        pair.settle()
        #expect(pair.server.log.contains("writable 1") && pair.client.bodies[1]?.count == min(written, 131_070))
    }

    @Test func unconsumedBytesGoBackToTheConnection() {
        var limits = HTTP2Limits()
        limits.connectionWindowBytes = 65_535
        let side = Side.openServer(limits: limits)
        side.consumes = false
        for round in 0..<40 as Range<UInt32> {
            side.receive(Make.headers(round * 2 + 1, Make.post, end: false) + Make.data(round * 2 + 1, 16_000))
            if let stream = side.streams[Int32(round * 2 + 1)] { side.session.reset(stream, .cancel) }
            let frames = side.frames()
            #expect(!frames.contains { $0.type == 7 }, "round \(round)")
        }
        #expect(side.log.filter { $0.hasPrefix("data") }.count == 40 && side.pool.streamCount == 0)
    }

    @Test func zeroWindowEndsTheStreamAlone() {
        let side = Side.openServer(settings: [(4, 0)])
        side.receive(Make.headers(1, Make.get) + Make.headers(3, Make.get))
        side.respond(side.streams[1], body: true)
        side.write(side.streams[1], [1, 2, 3], end: true)
        _ = side.transmit()
        #expect(!side.session.wantsTransmit, "nothing to do without a window")
        side.advance(milliseconds: 59_999)
        #expect(!side.session.wantsTransmit)
        side.advance(milliseconds: 1)
        #expect(side.frames().contains { $0.type == 3 && $0.stream == 1 && $0.number() == 8 })
        #expect(side.log.last == "reset 1 CANCEL" && side.session.failure == nil)
        #expect(side.respond(side.streams[3], 204) && side.pool.lentBytes == 0)
    }

    /// Any progress starts the time anew.
    @Test func slowWindowIsNoStall() {
        let side = Side.openServer(settings: [(4, 0)])
        side.receive(Make.headers(1, Make.get))
        side.respond(side.streams[1], body: true)
        side.write(side.streams[1], [1, 2, 3], end: true)
        for _ in 0..<2 {
            side.advance(milliseconds: 50_000)
            side.receive(Make.window(1, 1))
            _ = side.transmit()
        }
        side.advance(milliseconds: 59_000)
        #expect(side.log.last?.hasPrefix("reset") == false, "\(side.log)")
    }

    // MARK: Ends

    @Test func drainLosesNothing() {
        let pair = Pair()
        pair.client.request("/before")
        pair.settle()
        pair.server.session.goAway(now: pair.server.now)
        // A request that crosses the first GOAWAY on the way.
        pair.client.request("/crossing")
        let notice = TestFrame.parse(pair.server.transmit()).frames
        #expect(notice.filter { $0.type == 7 }.map { $0.number() } == [0x7FFF_FFFF])
        pair.server.receive(pair.client.transmit())
        #expect(pair.server.log.contains("head 3 GET /crossing a.example"))
        for frame in notice { pair.client.receive(frame.bytes) }
        #expect(pair.client.request("/after") == nil, "the client opens no more")
        pair.server.receive(pair.client.transmit())
        let second = TestFrame.parse(pair.server.transmit()).frames.filter { $0.type == 7 }
        #expect(second.map { $0.number() } == [3] && second.map { $0.number(at: 4) } == [0])
        pair.server.respond(pair.at(1), 204)
        pair.server.respond(pair.at(3), 204)
        #expect(!pair.server.session.isFinished)
        pair.client.receive(second.flatMap { $0.bytes } + pair.server.transmit())
        #expect(pair.client.log.contains("finished 1") && pair.client.log.contains("finished 3"))
        #expect(pair.server.session.isFinished && pair.server.session.failure == nil)
    }

    @Test func drainDoesNotWaitForASilentPeer() {
        let side = Side.openServer()
        side.session.goAway(now: side.now)
        _ = side.transmit()
        #expect(side.session.deadline == side.now.adding(milliseconds: 1000))
        side.advance(milliseconds: 1000)
        #expect(side.frames().filter { $0.type == 7 }.map { $0.number() } == [0])
        #expect(side.session.isFinished)
    }

    @Test func requestLimitDrains() {
        var limits = HTTP2Limits()
        limits.requestsPerConnection = 3
        let side = Side.openServer(limits: limits)
        for number in [1, 3, 5] as [UInt32] { side.receive(Make.headers(number, Make.get)) }
        #expect(side.frames().contains { $0.type == 7 && $0.number() == 0x7FFF_FFFF })
    }

    @Test func goAwayTellsWhatMayBeRepeated() {
        let side = Side.openClient()
        for _ in 0..<3 { side.request() }
        _ = side.transmit()
        side.receive(Make.goAway(1))
        #expect(side.log == ["goaway NO_ERROR 1", "reset 3 REFUSED_STREAM", "reset 5 REFUSED_STREAM"], "\(side.log)")
        side.receive(Make.headers(1, [(":status", "204")]))
        #expect(side.log.suffix(2) == ["end 1", "finished 1"])
    }

    /// Requests that never left when the connection began to drain are refused too.
    @Test func unsentRequestsAreRefused() {
        let side = Side.openClient()
        side.request()
        side.receive(Make.goAway(0))
        _ = side.transmit()
        #expect(side.log.last == "reset 1 REFUSED_STREAM", "\(side.log)")
        #expect(side.pool.streamCount == 0)
    }

    @Test func resetsGoBothWays() {
        let pair = Pair()
        pair.client.request(body: true)
        pair.client.request(body: true)
        pair.settle()
        if let stream = pair.client.lastStream { pair.client.session.reset(stream, .cancel) }
        if let stream = pair.at(1) { pair.server.session.reset(stream, .refusedStream) }
        pair.settle()
        #expect(pair.server.log.last == "reset 3 CANCEL" && pair.client.log.last == "reset 1 REFUSED_STREAM")
        #expect(pair.client.pool.streamCount == 0 && pair.server.pool.streamCount == 0)
    }

    /// An early whole response, then RST_STREAM NO_ERROR: the client has what it wants (RFC 9113 §8.1).
    @Test func earlyResponse() {
        let pair = Pair()
        pair.client.request(method: "POST", body: true)
        pair.settle()
        pair.server.respond(pair.at(1), 413)
        pair.settle()
        if let stream = pair.at(1) { pair.server.session.reset(stream, .noError) }
        pair.settle()
        #expect(pair.client.log == ["head 1 413", "end 1", "finished 1"], "\(pair.client.log)")
    }

    @Test func transportGone() {
        let pair = Pair()
        pair.client.request(body: true)
        pair.settle()
        pair.server.session.transportClosed(now: pair.server.now)
        pair.server.drain()
        #expect(pair.server.log.last == "reset 1 CANCEL" && pair.server.session.isFinished)
        #expect(pair.server.pool.streamCount == 0 && pair.server.pool.lentHeads == 0)
        #expect(pair.server.session.receive(ByteView("x"), now: pair.server.now) == 1)
    }

    @Test func staleNamesAreHarmless() {
        let pair = Pair()
        pair.client.request()
        pair.settle()
        guard let stream = pair.at(1) else { return #expect(Bool(false)) }
        pair.server.respond(stream, 204)
        pair.settle()
        #expect(pair.server.log.last == "finished 1")
        #expect(!pair.server.respond(stream, 204) && pair.server.write(stream, [1]) == nil)
        pair.server.session.reset(stream, .cancel)
        pair.server.session.consume(5, on: stream)
        #expect(pair.client.session.head(of: stream) == nil && pair.server.session.number(of: stream) == nil)
        #expect(!pair.server.session.wantsTransmit)
    }

    @Test func roomForStreams() {
        let side = Side.openClient(settings: [(3, 2)])
        #expect(side.session.roomForStreams == 2)
        #expect(side.request() != nil && side.request() != nil && side.request() == nil)
        _ = side.transmit()
        side.receive(Make.headers(1, [(":status", "204")]))
        #expect(side.session.roomForStreams == 1)
    }

    @Test func pushIsRefused() {
        let side = Side.openClient()
        side.request(body: true)
        _ = side.transmit()
        side.receive(Make.frame(5, 4, 1, big(2) + Make.block(Make.get)))
        #expect(side.frames().contains { $0.type == 7 && $0.number(at: 4) == 1 })
    }

    // MARK: What the driver stops to want

    @Test func restOfARequestIsDroppedAndTheStreamResetAfterTheAnswer() {
        let side = Side.openServer()
        side.consumes = false
        side.receive(Make.headers(1, Make.post, end: false) + Make.data(1, 3))
        guard let stream = side.streams[1] else { return #expect(Bool(false), "\(side.log)") }
        side.session.dropRest(of: stream)
        #expect(side.session.unconsumedBytes(of: stream) == 0)
        side.receive(Make.data(1, 2))
        #expect(!side.log.contains("data 1 2"), "\(side.log)")
        side.respond(stream)
        let frames = side.frames()
        #expect(frames.map(\.type).suffix(2) == [1, 3] && frames.last?.payload == [0, 0, 0, 0], "\(frames)")
        #expect(side.pool.streamCount == 0 && side.log.last == "reset 1 NO_ERROR", "\(side.log)")
    }

    @Test func wholeRequestIsNotResetWhenItsRestIsDropped() {
        let side = Side.openServer()
        side.receive(Make.headers(1, Make.get))
        guard let stream = side.streams[1] else { return #expect(Bool(false), "\(side.log)") }
        side.session.dropRest(of: stream)
        side.respond(stream)
        #expect(side.frames().map(\.type) == [1] && side.log.last?.hasPrefix("finished") == true, "\(side.log)")
    }

    @Test func writableBytesAreToldAgainWhenHalfIsFree() {
        var limits = HTTP2Limits()
        limits.outboundBytes = 8192
        let side = Side.openServer(limits: limits, settings: [(4, 0)])
        side.receive(Make.headers(1, Make.get))
        guard let stream = side.streams[1] else { return #expect(Bool(false), "\(side.log)") }
        side.respond(stream, body: true)
        #expect(side.session.writableBytes(on: stream) == 8192)
        side.write(stream, [UInt8](repeating: 7, count: 5000))
        #expect(side.session.writableBytes(on: stream) == 0)
        side.receive(Make.window(1, 800))
        _ = side.transmit()
        #expect(!side.log.contains { $0.hasPrefix("writable") }, "\(side.log)")
        side.receive(Make.window(1, 800))
        _ = side.transmit()
        #expect(side.log.contains { $0.hasPrefix("writable") }, "\(side.log)")
        #expect(side.session.writableBytes(on: stream) == 8192 - 3400)
    }

    @Test func streamsShareWhatAConnectionKeeps() {
        var limits = HTTP2Limits()
        (limits.outboundBytes, limits.connectionOutboundBytes) = (8192, 16384)
        let side = Side.openServer(limits: limits, settings: [(4, 0)])
        for number in [1, 3, 5] as [UInt32] {
            side.receive(Make.headers(number, Make.get))
            guard let stream = side.streams[Int32(number)] else { return #expect(Bool(false), "\(side.log)") }
            side.respond(stream, body: true)
            let room = side.session.writableBytes(on: stream)
            #expect(room == (number == 5 ? 4096 : 8192))
            side.write(stream, [UInt8](repeating: 7, count: room))
            #expect(side.session.writableBytes(on: stream) == 0)
        }
        // The third goes on in small pieces, whatever becomes of the others.
        guard let third = side.streams[5] else { return #expect(Bool(false), "\(side.log)") }
        side.receive(Make.window(5, 4096) + Make.window(0, 16384))
        _ = side.transmit()
        #expect(side.log.last == "writable 5" && side.session.writableBytes(on: third) == 4096, "\(side.log)")
        // The end of the first frees half.
        if let first = side.streams[1] { side.session.reset(first, .cancel) }
        _ = side.transmit()
        #expect(side.session.writableBytes(on: third) == 8192)
    }

    @Test func takenTrailersOutliveTheirStream() {
        let side = Side.openServer()
        var taken: UnsafeMutablePointer<HTTP2Head>?
        side.onEvent = { event, side in
            if case .trailers(let stream) = event { taken = side.session.takeTrailers(of: stream) }
        }
        side.receive(Make.headers(1, Make.post, end: false) + Make.headers(1, [("x-sum", "6")]))
        if let stream = side.streams[1] { side.session.reset(stream, .cancel) }
        _ = side.transmit()
        #expect(side.pool.streamCount == 0 && side.pool.lentHeads == 1)
        guard let taken else { return #expect(Bool(false), "\(side.log)") }
        let count = taken.pointee.fields.count
        #expect(count == 1)
        side.pool.giveHead(taken)
        #expect(side.pool.lentHeads == 0)
    }

    @Test func pings() {
        let pair = Pair()
        pair.server.session.ping(42)
        pair.settle()
        #expect(pair.server.log == ["pong 42"])
    }

    // MARK: Upgrade: h2c

    /// The request of an HTTP/1.1 head, as a driver hands it over.
    private func upgraded(_ side: Side, settings: StaticString, path: StaticString = "/") -> Bool {
        var fields = HTTP2Fields()
        fields.beginRequest(
            method: ByteView("GET"), scheme: ByteView("http"), authority: ByteView("a.example"), path: ByteView(path))
        fields.append(ByteView("X-Mixed-Case"), ByteView("1"))
        return side.session.upgrade(settings: ByteView(settings), request: fields, isHead: false)
    }

    @Test func upgradeGoesOnAsStreamOne() {
        let side = Side(.server)
        let isUpgraded = upgraded(side, settings: "AAMAAABkAAQAoAAAAAIAAAAA")
        #expect(isUpgraded)
        side.drain()
        #expect(side.log.first == "head 1 GET / a.example" && side.log.contains("end 1"), "\(side.log)")
        let stream = side.streams[1]
        side.receive(Make.preface + Make.settings() + Make.frame(4, 1))
        side.respond(stream, body: true)
        side.write(stream, [1, 2, 3], end: true)
        let frames = side.frames()
        #expect(frames.contains { $0.type == 1 && $0.stream == 1 } && frames.contains { $0.payload == [1, 2, 3] })
        #expect(side.log.last?.hasPrefix("finished") == true && side.pool.streamCount == 0, "\(side.log)")
        side.receive(Make.headers(3, Make.get))
        #expect(side.log.contains("head 3 GET / a.example"))
    }

    @Test func upgradeRefusesNonsense() {
        for bad in ["A", "AA==", "AAMAAABk!", "AAMAAAB", "AAMAAABkAAQAoAAAAAIAAAA"] as [StaticString] {
            let side = Side(.server)
            let isUpgraded = upgraded(side, settings: bad)
            #expect(!isUpgraded && side.pool.streamCount == 0, "\(bad)")
        }
    }

    @Test func prefaceIsTold() {
        for count in 0..<24 {
            #expect(withView(Array(Make.preface.prefix(count))) { HTTP2Preface.match($0) } == .needMore)
        }
        #expect(withView(Make.preface + [1]) { HTTP2Preface.match($0) } == .yes)
        #expect(HTTP2Preface.match(ByteView("GET / HTTP/1.1\r\n")) == .no)
        #expect(HTTP2Preface.match(ByteView("PRI * HTTP/1.1\r\n")) == .no)
        #expect(HTTP2Preface.match(ByteView("PUT /")) == .no)
    }
}

extension Side {
    /// The stream that was opened last.
    var lastStream: HTTP2Stream? { session.firstStream == .none ? nil : session.firstStream }

    func respondInterim(_ stream: HTTP2Stream?, _ status: Int) -> Bool {
        guard let stream else { return false }
        var fields = HTTP2Fields()
        fields.beginResponse(status: status)
        return session.submitInterim(fields, on: stream)
    }
}
