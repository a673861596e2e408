import HTTP
import HTTP2Wire
import Primitives
import Testing

@testable import HTTP2

/// RFC 7541 Appendix C through a session: the dynamic table lives on from head to head.
@Suite struct HPACKTests {
    private func bytes(_ hex: String) -> [UInt8] {
        let digits = hex.utf8.filter { $0 != UInt8(ascii: " ") }.map { ASCII.hexValue($0) ?? 0 }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    static let requests: [(String, [String])] = [
        (
            "C.3",
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ]
        ),
        (
            "C.4",
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ]
        ),
    ]

    @Test(arguments: requests) func requestHeads(_ section: String, _ blocks: [String]) {
        let side = Side.openServer()
        for (index, block) in blocks.enumerated() {
            side.receive(Make.frame(1, 5, UInt32(index * 2 + 1), bytes(block)))
        }
        let heads = side.log.filter { $0.hasPrefix("head") }
        let wanted = [
            "head 1 GET / www.example.com", "head 3 GET / www.example.com", "head 5 GET /index.html www.example.com",
        ]
        #expect(heads == wanted, "\(section)")
        #expect(side.fields[1] == ["host: www.example.com"], "\(section)")
        #expect(Set(side.fields[3] ?? []) == ["host: www.example.com", "cache-control: no-cache"], "\(section)")
        #expect(Set(side.fields[5] ?? []) == ["host: www.example.com", "custom-key: custom-value"], "\(section)")
    }

    @Test func responseHeads() {
        let side = Side.openClient()
        for _ in 0..<3 { side.request() }
        _ = side.transmit()
        let blocks = [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718"
                + "63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7"
                + "b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ]
        for (index, block) in blocks.enumerated() {
            side.receive(Make.frame(1, 5, UInt32(index * 2 + 1), bytes(block)))
        }
        let place = "location: https://www.example.com"
        let heads = side.log.filter { $0.hasPrefix("head") }
        #expect(heads == ["head 1 302", "head 3 307", "head 5 200"], "\(side.log)")
        let first = ["cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT", place]
        #expect(side.fields[1] == first && side.fields[3] == first)
        let last = [
            "cache-control: private", "date: Mon, 21 Oct 2013 20:13:22 GMT", place, "content-encoding: gzip",
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ]
        #expect(side.fields[5] == last)
    }

    /// Both directions keep their tables: the second of two like heads is much shorter.
    @Test func headsAreCompressed() {
        let side = Side.openServer()
        var counts: [Int] = []
        for number in [1, 3] as [UInt32] {
            side.receive(Make.headers(number, Make.get))
            side.respond(side.streams[Int32(number)], fields: [("x-long-name-of-a-field", "and its even longer value")])
            counts.append(side.frames().filter { $0.type == 1 }.reduce(0) { $0 + $1.payload.count })
        }
        #expect(counts[0] > 30 && counts[1] <= 4, "\(counts)")
    }

    /// What differs each time is sent as never indexed (RFC 7541 §6.2.3), so nothing else leaves the table for it, and
    /// a name of ours goes out as one that was received.
    @Test func newValuesAreNotIndexed() throws {
        func heads(isRepeated: Bool) throws -> [TestFrame] {
            let side = Side.openClient()
            for id in ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "bbbbbbbbbbbbbbbb"] as [StaticString] {
                var fields = HTTP2Fields()
                fields.beginRequest(
                    method: ByteView("GET"), scheme: ByteView("http"), authority: ByteView("a.example"),
                    path: ByteView("/"))
                fields.append("x-request-id", ByteView(id), isRepeated: isRepeated)
                try #require(side.session.submitRequest(fields, hasBody: false, now: side.now) != nil)
            }
            return side.frames().filter { $0.type == 1 }
        }
        let indexed = try heads(isRepeated: true), literal = try heads(isRepeated: false)
        #expect(indexed.count == 3 && literal.count == 3)
        #expect(indexed[2].payload.count == 5, "all of it stands in the table")
        #expect(literal[2].payload.count == literal[1].payload.count)
        #expect(literal[1].payload.count > 16)
        let pieces = literal[2].payload.prefix(5)
        #expect(pieces.dropLast().allSatisfy { $0 & 0x80 != 0 }, "the others are indexed still")
        #expect(pieces.last.map { $0 & 0xF0 } == 0x10)
        // And the other side reads the same.
        let server = Side.openServer()
        for frame in literal { server.receive(frame.bytes) }
        #expect(server.fields[5]?.contains("x-request-id: bbbbbbbbbbbbbbbb") == true)
    }

    /// Fields of a parsed head go out with a literal name if they are known ones, in whatever case they came.
    @Test func knownNamesAreLowercase() throws {
        let text = Array("X-Request-ID: 1\r\nCONTENT-type: a/b\r\nX-Own: c\r\nDate: d\r\n".utf8)
        let side = Side.openClient(), server = Side.openServer()
        try withView(text) { bytes throws in
            var table = FieldTable(capacity: 8), start = 0
            while start < bytes.count {
                let colon = try #require(bytes.firstIndex(of: UInt8(ascii: ":"), from: start))
                let end = try #require(bytes.firstIndex(of: 13, from: colon))
                let isListed = table.append(
                    FieldLine(
                        nameStart: UInt32(start), valueStart: UInt32(colon + 2), valueLength: UInt32(end - colon - 2),
                        nameLength: UInt16(colon - start), known: KnownField.classify(bytes[start..<colon]),
                        isHopByHop: false, isPlain: true))
                #expect(isListed)
                start = end + 2
            }
            var fields = HTTP2Fields()
            fields.beginRequest(
                method: ByteView("GET"), scheme: ByteView("http"), authority: ByteView("a.example"),
                path: ByteView("/"))
            fields.append(table, of: bytes)
            let stream = side.session.submitRequest(fields, hasBody: false, now: side.now)
            try #require(stream != nil)
        }
        for frame in side.frames() where frame.type == 1 { server.receive(frame.bytes) }
        let received = Set(server.fields[1] ?? [])
        #expect(received == ["host: a.example", "x-request-id: 1", "content-type: a/b", "x-own: c", "date: d"])
    }

    /// Every literal name is the one by which the field is found.
    @Test func literalNamesAreTheirFields() {
        for field in KnownField.allCases {
            guard let name = HTTP2Fields.literal(field) else { continue }
            #expect(KnownField.classify(ByteView(name)) == field)
            #expect(ByteClass.isLowercaseToken(ByteView(name)))
        }
    }
}
