import HTTP
import HTTP2Wire
import Primitives
import Testing

@testable import HTTP2

/// Bodies are as long as their heads have said, and stand where they may (RFC 9113 §8.1, §8.1.1): rules of ours, since
/// nghttp2's are switched off.
@Suite struct LengthTests {
    struct Answer: CustomStringConvertible, Sendable {
        let method: StaticString
        let status: String
        let length: String?
        /// Bytes of DATA, with END_STREAM on the last; nil: the head ends the stream.
        let sent: [Int]?
        let isFine: Bool
        init(_ method: StaticString, _ status: String, _ length: String?, _ sent: [Int]?, isFine: Bool) {
            (self.method, self.status, self.length, self.sent, self.isFine) = (method, status, length, sent, isFine)
        }
        var description: String { "\(method) \(status) \(length ?? "-") \(sent.map { "\($0)" } ?? "none")" }
    }

    static let answers = [
        Answer("GET", "200", "5", [5], isFine: true), Answer("GET", "200", "5", [2, 3], isFine: true),
        Answer("GET", "200", "5", [5, 0], isFine: true), Answer("GET", "200", "0", nil, isFine: true),
        Answer("GET", "200", "0", [0], isFine: true), Answer("GET", "200", nil, [7], isFine: true),
        Answer("GET", "200", nil, nil, isFine: true), Answer("GET", "200", "5", nil, isFine: false),
        Answer("GET", "200", "5", [4], isFine: false), Answer("GET", "200", "5", [6], isFine: false),
        Answer("GET", "200", "5", [5, 1], isFine: false), Answer("GET", "200", "0", [1], isFine: false),
        Answer("GET", "404", "5", [4], isFine: false), Answer("GET", "304", "5", nil, isFine: true),
        Answer("GET", "304", "5", [0], isFine: true), Answer("GET", "304", "5", [5], isFine: false),
        Answer("GET", "304", nil, [5], isFine: false), Answer("GET", "204", nil, nil, isFine: true),
        Answer("GET", "204", "0", nil, isFine: true), Answer("GET", "204", "5", nil, isFine: false),
        Answer("GET", "204", nil, [1], isFine: false), Answer("HEAD", "200", "5", nil, isFine: true),
        Answer("HEAD", "200", "5", [0], isFine: true), Answer("HEAD", "200", "5", [5], isFine: false),
        Answer("HEAD", "200", nil, [1], isFine: false), Answer("POST", "200", "3", [3], isFine: true),
        Answer("POST", "200", "3", [1, 1], isFine: false),
    ]

    @Test(arguments: answers, [false, true]) func answersHaveTheLengthTheySay(_ answer: Answer, isCut: Bool) {
        let side = Side.openClient()
        #expect(side.request("/", method: answer.method) != nil)
        #expect(side.request("/next") != nil)
        _ = side.transmit()
        var bytes = Make.headers(
            1, [(":status", answer.status)] + (answer.length.map { [("content-length", $0)] } ?? []),
            end: answer.sent == nil)
        for (index, count) in (answer.sent ?? []).enumerated() {
            bytes += Make.data(1, count, end: index + 1 == answer.sent?.count)
        }
        if isCut { for byte in bytes { side.receive([byte]) } } else { side.receive(bytes) }
        let resets = side.frames().filter { $0.type == 3 }
        let last = side.log.last
        if answer.isFine {
            #expect(resets.isEmpty && last == "finished 1", "\(answer): \(side.log)")
            #expect(side.bodies[1]?.count ?? 0 == answer.sent?.reduce(0, +) ?? 0)
        } else {
            #expect(last == "reset 1 PROTOCOL_ERROR" && !side.log.contains("end 1"), "\(answer): \(side.log)")
            #expect(resets.map { $0.number() } == [1], "\(answer): \(resets)")
            let promised = answer.length.flatMap { Int($0) } ?? 0
            #expect(side.bodies[1]?.count ?? 0 <= promised, "no more than was said is handed on")
        }
        side.receive(Make.headers(3, [(":status", "200")]))
        #expect(side.log.last == "finished 3", "\(answer): the connection goes on")
    }

    @Test func interimHasNoBody() {
        for rest in [Make.data(1, 3), Make.data(1, 0, end: true), Make.data(1, 3, end: true)] {
            let side = Side.openClient()
            side.request()
            _ = side.transmit()
            side.receive(Make.headers(1, [(":status", "103")], end: false) + rest)
            let resets = side.frames().filter { $0.type == 3 }
            #expect(side.log.last == "reset 1 PROTOCOL_ERROR" && resets.count == 1, "\(side.log)")
            #expect(side.bodies.isEmpty && !side.log.contains("end 1"))
        }
        let side = Side.openClient()
        side.request()
        _ = side.transmit()
        side.receive(Make.headers(1, [(":status", "103"), ("content-length", "0")], end: false))
        #expect(side.frames().contains { $0.type == 3 && $0.number() == 1 }, "an interim head has no length")
    }

    @Test func trailersEndABodyThatIsWhole() {
        for (count, isFine) in [(3, true), (2, false), (0, false)] {
            let server = Side.openServer()
            server.receive(Make.headers(1, Make.post + [("content-length", "3")], end: false))
            server.receive(Make.data(1, count) + Make.headers(1, [("x-sum", "1")]))
            #expect(server.frames().contains { $0.type == 3 } != isFine)
            #expect(server.log.contains("end 1") == isFine, "\(server.log)")
            #expect(isFine || server.log.last == "reset 1 PROTOCOL_ERROR", "\(server.log)")
            #expect(!server.log.contains { $0.hasPrefix("trailers") } || isFine)
        }
    }

    @Test(arguments: [1, 7, 1000]) func tooLongRequestsStopAtTheirLength(_ piece: Int) {
        let side = Side.openServer()
        side.receive(Make.headers(1, Make.post + [("content-length", "100")], end: false))
        let bytes = Make.data(1, 5000) + Make.data(1, 10, end: true)
        for start in stride(from: 0, to: bytes.count, by: piece) {
            side.receive(Array(bytes[start..<min(start + piece, bytes.count)]))
        }
        let frames = side.frames()
        #expect(frames.filter { $0.type == 3 }.count == 1)
        #expect(side.bodies[1]?.count ?? 0 <= 100)
        #expect(side.log.last == "reset 1 PROTOCOL_ERROR" && !side.log.contains("end 1"), "\(side.log.suffix(3))")
        // The window of the connection is not lost with it: as much again and again can be sent.
        for number in stride(from: UInt32(3), to: 201, by: 2) {
            side.receive(Make.headers(number, Make.post, end: false))
            side.receive(Make.data(number, 16_000, end: true))
            #expect(side.log.contains("end \(number)"))
            side.respond(side.streams[Int32(number)])
            _ = side.transmit()
        }
    }
}
