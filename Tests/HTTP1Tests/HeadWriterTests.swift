import HTTP
import Primitives
import Testing

@testable import HTTP1

@Suite struct HeadWriterTests {
    /// Parses a request with these field lines and returns what `writeFields` makes of them.
    private func rewritten(_ lines: String, excluding: KnownFieldSet = [], capacity: Int = 4096) throws -> String {
        var head = RequestHead(limits: HTTPLimits())
        var scanned = 0
        let memory = GuardedMemory()
        let view = memory.view("GET / HTTP/1.0\r\n\(lines)\r\n".latinBytes[...])
        let isComplete = try head.parse(view, scanned: &scanned)
        #expect(isComplete)
        return written(capacity) { writer in
            HeadWriter.writeFields(head.fields, of: view, excluding: excluding, to: &writer)
        }
    }

    @Test func plainLinesAreKeptAsTheyAre() throws {
        let lines = "Host: h\r\naCCept: x  y\r\nEmpty: \r\nX: \u{e9}\r\n"
        #expect(try rewritten(lines) == lines)
        #expect(try rewritten("") == "")
    }

    @Test func oddWhiteSpaceIsMadePlain() throws {
        let lines = "A: 1\r\nB:2\r\nC:  3\r\nD:\t4\r\nE: 5 \r\nF: 6\t\r\nG:\r\nH: \t \r\nI: 7\r\n"
        #expect(
            try rewritten(lines)
                == "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\nF: 6\r\nG: \r\nH: \r\nI: 7\r\n")
    }

    @Test func droppedLinesCutTheRun() throws {
        let lines = "Host: h\r\nA: 1\r\nConnection: x-y\r\nB: 2\r\nX-Y: 3\r\nHost2: 4\r\nC:5\r\nVia: v\r\nTE: t\r\n"
        #expect(
            try rewritten(lines, excluding: KnownFieldSet(.host, .via))
                == "A: 1\r\nB: 2\r\nHost2: 4\r\nC: 5\r\n")
        #expect(try rewritten("Connection: close\r\n") == "")
        #expect(try rewritten("A: 1\r\nB: 2\r\n", capacity: 11) == "overflowed")
    }

    @Test func firstLines() throws {
        for (line, expected) in [
            ("GET /a?b HTTP/1.0", "GET /a?b HTTP/1.1\r\n"), ("GET http://h HTTP/1.0", "GET / HTTP/1.1\r\n"),
            ("FOO http://h?x HTTP/1.0", "FOO /?x HTTP/1.1\r\n"),
            ("OPTIONS http://h HTTP/1.0", "OPTIONS * HTTP/1.1\r\n"),
            ("OPTIONS * HTTP/1.0", "OPTIONS * HTTP/1.1\r\n"), ("GET http://h/x HTTP/1.0", "GET /x HTTP/1.1\r\n"),
        ] {
            var head = RequestHead(limits: HTTPLimits())
            var scanned = 0
            let memory = GuardedMemory()
            let view = memory.view("\(line)\r\n\r\n".latinBytes[...])
            let isComplete = try head.parse(view, scanned: &scanned)
            #expect(isComplete)
            #expect(written { HeadWriter.writeRequestLine(head, of: view, to: &$0) } == expected)
        }
        #expect(written { HeadWriter.writeStatusLine(200, to: &$0) } == "HTTP/1.1 200 OK\r\n")
        #expect(written { HeadWriter.writeStatusLine(299, to: &$0) } == "HTTP/1.1 299 \r\n")
        #expect(
            written { HeadWriter.writeStatusLine(404, reason: ByteView("Nope"), to: &$0) } == "HTTP/1.1 404 Nope\r\n")
        #expect(written { HeadWriter.writeChunkHead(0xABC0, to: &$0) } == "abc0\r\n")
        #expect(written { HeadWriter.writeField("A", ByteView("b"), to: &$0) } == "A: b\r\n")
    }
}
