import HTTP
import HTTP1
import Primitives
import Testing

@testable import WebSocket

/// The opening handshake on both sides.
@Suite struct HandshakeTests {
    private static let key = WebSocketKey(0x7468_6520_7361_6D70, 0x6C65_206E_6F6E_6365)  // "the sample nonce"
    private static let sample = "dGhlIHNhbXBsZSBub25jZQ=="
    private static let answer = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    private func view<Result>(_ text: String, _ body: (ByteView) -> Result) -> Result {
        Array(text.utf8).withUnsafeBytes { body(ByteView($0)) }
    }

    /// RFC 6455 §1.3.
    @Test func exampleOfTheRFC() {
        #expect(view(Self.sample) { WebSocketAcceptance.of($0) } == Array(Self.answer.utf8))
    }

    @Test func keys() {
        #expect(view(Self.sample) { WebSocketAcceptance.isKey($0) })
        #expect(view("+/+/+/+/+/+/+/+/+/+/+w==") { WebSocketAcceptance.isKey($0) })
        for wrong in [
            "", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZR==",
            "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZ_==", "dGhlIHNhbXBsZSBub25jZQAA",
            "dGhlIHNhbXBsZSBub25 ZQ==",
        ] {
            #expect(!view(wrong) { WebSocketAcceptance.isKey($0) }, "\(wrong)")
        }
    }

    // MARK: Client

    private func outcome(_ answer: String, cutAt cut: Int? = nil) -> Result<Int?, WebSocketRefusal> {
        guard var handshake = WebSocketClientHandshake(authority: "host:8080", key: Self.key) else {
            return .failure(.unasked)
        }
        func receive(_ text: String) -> Result<Int?, WebSocketRefusal> {
            do throws(WebSocketRefusal) {
                let bytes = Array(text.utf8)
                let place = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, bytes.count), alignment: 1)
                defer { place.deallocate() }
                place.copyBytes(from: bytes)
                let view = ByteView(UnsafeRawBufferPointer(rebasing: place[..<bytes.count]))
                return .success(try handshake.receive(view))
            } catch {
                return .failure(error)
            }
        }
        if let cut, case .failure(let early) = receive(String(decoding: answer.utf8.prefix(cut), as: UTF8.self)) {
            return .failure(early)
        }
        return receive(answer)
    }

    private static let good =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + "Sec-WebSocket-Accept: \(answer)\r\n\r\n"

    @Test func request() throws {
        let handshake = try #require(Made(authority: "autoscaler.knative-serving.svc.cluster.local:8080"))
        #expect(
            handshake.request == "GET / HTTP/1.1\r\nHost: autoscaler.knative-serving.svc.cluster.local:8080\r\n"
                + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                + "Sec-WebSocket-Key: \(Self.sample)\r\n\r\n")
        for wrong in ["", "a b:80", "a\r\nX: y", "host:99999", "host:80:80"] { #expect(Made(authority: wrong) == nil) }
        #expect(Made(authority: "[::1]:80") != nil)
    }

    /// A handshake cannot be copied, so what a test asks of it is.
    private struct Made {
        let request: String

        init?(authority: String) {
            guard let made = WebSocketClientHandshake(authority: authority, key: HandshakeTests.key) else { return nil }
            request = String(decoding: made.request, as: UTF8.self)
        }
    }

    @Test func agreement() {
        let good = Self.good
        #expect(outcome(good) == .success(good.utf8.count))
        #expect(outcome(good + "\u{81}") == .success(good.utf8.count), "frames follow")
        let interim = "HTTP/1.1 102 Processing\r\n\r\n" + good
        #expect(outcome(interim) == .success(interim.utf8.count))
        let other = good.replacing("websocket", with: "WebSocket").replacing(": Upgrade", with: ": keep-alive, UPGRADE")
        #expect(outcome(other) == .success(other.utf8.count))
        for cut in 0..<interim.utf8.count {
            #expect(outcome(String(decoding: interim.utf8.prefix(cut), as: UTF8.self)) == .success(nil))
            #expect(outcome(interim, cutAt: cut) == .success(interim.utf8.count), "cut at \(cut)")
        }
    }

    @Test func refusals() {
        let good = Self.good
        let table: [(String, WebSocketRefusal)] = [
            (good.replacing("101 Switching Protocols", with: "200 OK"), .status(200)),
            ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", .status(403)),
            (good.replacing("HTTP/1.1", with: "HTTP/1.0"), .notWebSocket),
            (good.replacing("Upgrade: websocket\r\n", with: ""), .notWebSocket),
            (good.replacing("Upgrade: websocket", with: "Upgrade: h2c"), .notWebSocket),
            (good.replacing("Connection: Upgrade\r\n", with: ""), .notWebSocket),
            (good.replacing("Connection: Upgrade", with: "Connection: close"), .notWebSocket),
            (good.replacing(Self.answer, with: "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="), .wrongAcceptance),
            (good.replacing("Sec-WebSocket-Accept", with: "X-Accept"), .wrongAcceptance),
            (
                good.replacing("Upgrade: w", with: "Sec-WebSocket-Accept: \(Self.answer)\r\nUpgrade: w"),
                .wrongAcceptance
            ),
            (good.replacing("Upgrade: w", with: "Sec-WebSocket-Extensions: x\r\nUpgrade: w"), .unasked),
            (good.replacing("Upgrade: w", with: "Sec-WebSocket-Protocol: x\r\nUpgrade: w"), .unasked),
            ("SSH-2.0-OpenSSH\r\n", .invalid(.invalidVersion)),
            ("HTTP/1.1 101 X\r\nA: " + String(repeating: "a", count: 9000), .invalid(.headTooLarge)),
            (String(repeating: "HTTP/1.1 102 Processing\r\n\r\n", count: 500), .invalid(.headTooLarge)),
        ]
        for (answer, refusal) in table { #expect(outcome(answer) == .failure(refusal), "\(answer.prefix(120))") }
    }

    // MARK: Server

    private static let request = [
        "GET /any?x HTTP/1.1", "Host: as:8080", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: \(sample)",
    ]

    private func verdict(_ lines: [String]) -> WebSocketServerHandshake.Verdict? {
        view(lines.joined(separator: "\r\n") + "\r\n\r\n") { bytes in
            var head = RequestHead(limits: HTTPLimits()), scanned = 0
            guard (try? head.parse(bytes, scanned: &scanned)) == true else { return nil }
            return WebSocketServerHandshake.verdict(head, of: bytes)
        }
    }

    private func status(_ lines: [String]) -> Int? {
        switch verdict(lines) {
        case nil: nil
        case .accept?: 101
        case .refuse(let status, _)?: status
        }
    }

    @Test func requestsAgreedTo() {
        #expect(verdict(Self.request) == .accept(Array(Self.answer.utf8)))
        for line in [
            "Origin: http://as:8080", "Origin: https://AS:8080", "Sec-WebSocket-Protocol: a, b",
            "Sec-WebSocket-Extensions: permessage-deflate", "Content-Length: 0", "User-Agent: Go-http-client/1.1",
        ] {
            #expect(status(Self.request + [line]) == 101, "\(line)")
        }
        let mixed = Self.request.map {
            $0.replacing("websocket", with: "WebSocket").replacing(": Upgrade", with: ": keep-alive, upgrade")
        }
        #expect(status(mixed) == 101)
    }

    @Test func requestsRefused() {
        func changed(_ old: String, _ new: String?) -> [String] {
            Self.request.compactMap { $0.hasPrefix(old) ? new : $0 }
        }
        let table: [([String], Int)] = [
            (changed("GET", "POST / HTTP/1.1"), 405), (changed("GET", "HEAD / HTTP/1.1"), 405),
            (changed("GET", "GET / HTTP/1.0"), 426), (changed("Connection", nil), 426),
            (changed("Connection", "Connection: close"), 426), (changed("Upgrade", nil), 426),
            (changed("Upgrade", "Upgrade: h2c"), 426), (changed("Upgrade", "Upgrade: chat"), 426),
            (changed("Sec-WebSocket-Version", nil), 426),
            (changed("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), 426),
            (Self.request + ["Sec-WebSocket-Version: 13"], 426), (changed("Sec-WebSocket-Key", nil), 400),
            (changed("Sec-WebSocket-Key", "Sec-WebSocket-Key: short"), 400),
            (Self.request + ["Sec-WebSocket-Key: \(Self.sample)"], 400), (Self.request + ["Content-Length: 1"], 400),
            (Self.request + ["Transfer-Encoding: chunked"], 400), (Self.request + ["Origin: http://evil"], 403),
            (Self.request + ["Origin: http://as"], 403), (Self.request + ["Origin: null"], 403),
            (Self.request + ["Origin: "], 403), (Self.request + ["Origin: http://as:8080.evil"], 403),
            (Self.request + ["Origin: http://as:8080", "Origin: http://as:8080"], 403),
        ]
        for (lines, expected) in table { #expect(status(lines) == expected, "\(lines)") }
    }

    @Test func answersAreWhole() {
        func written(_ body: (inout ByteWriter) -> Void) -> String {
            withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1) { place in
                var writer = ByteWriter(place)
                body(&writer)
                return writer.written.string
            }
        }
        let agreed = written { WebSocketServerHandshake.write(acceptance: Array(Self.answer.utf8), to: &$0) }
        #expect(outcome(agreed) == .success(agreed.utf8.count))
        for (status, line) in [
            (405, "\r\nAllow: GET\r\n"), (426, "\r\nUpgrade: websocket\r\n"),
            (426, "\r\nSec-WebSocket-Version: 13\r\n"),
            (403, "\r\nConnection: close\r\n"),
        ] {
            let refused = written { WebSocketServerHandshake.write(status: status, text: "no", to: &$0) }
            #expect(refused.hasPrefix("HTTP/1.1 \(status) ") && refused.contains(line))
            #expect(refused.hasSuffix("Content-Length: 3\r\n\r\nno\n"))
        }
    }
}
