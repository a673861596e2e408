import EventLoop
import Primitives
import Testing

@testable import Probing

/// Where probes follow an answer that names another place.
@Suite struct RedirectTests {
    @Test func targets() {
        let origin = RedirectTarget(port: 8080, path: "/a/b?c=d")
        let table: [(String, RedirectTarget?)] = [
            ("/x?y", RedirectTarget(port: 8080, path: "/x?y")),
            ("x", RedirectTarget(port: 8080, path: "/a/x")),
            ("?e", RedirectTarget(port: 8080, path: "/a/b?e")),
            ("http://127.0.0.1:9/z#part", RedirectTarget(port: 9, path: "/z")),
            ("HTTP://localhost", RedirectTarget(port: 80, path: "/")),
            ("//localhost:81?q", RedirectTarget(port: 81, path: "/?q")),
            ("http://example.com/", nil), ("https://127.0.0.1/", nil), ("ftp://127.0.0.1/", nil),
            ("http://127.0.0.1:0/", nil), ("http://127.0.0.1:70000/", nil), ("", nil), ("#x", nil), ("/a b", nil),
            ("//127.0.0.1@example.com/", nil),
        ]
        for (location, target) in table {
            #expect(RedirectTarget(location, from: origin) == target, "\(location)")
        }
    }

    private func location(_ answer: String) -> (ProbeOutcome?, String?) {
        let dialogue = HTTP1Dialogue(path: "/", port: 80, headers: [], userAgent: "x", seeksLocation: true)
        for byte in Array(answer.utf8) {
            withUnsafeBytes(of: byte) { dialogue.receive(ByteView($0), now: Instant(nanoseconds: 1)) }
        }
        return (dialogue.verdict, dialogue.location)
    }

    /// Byte by byte: an answer that names a place is read to the end of its head, others to the end of a line.
    @Test func answers() {
        let head = "HTTP/1.1 302 Found\r\nServer: x\r\nlocation:  /next \r\n"
        #expect(location(head).0 == nil)
        let (outcome, place) = location(head + "\r\n")
        #expect(outcome == .passed && place == "/next")
        #expect(location("HTTP/1.1 200 OK\r\nLocation: /next\r\n\r\n") == (.passed, nil))
        #expect(location("HTTP/1.1 304 Not Modified\r\nLocation: /next\r\n\r\n") == (.passed, nil))
        #expect(location("HTTP/1.1 301 Moved\r\n\r\n") == (.passed, nil))
    }
}
