import HTTP
import HTTP1
import Primitives

/// The opening handshake of a server (RFC 6455 §4.2): any path, no extension, no subprotocol. Pure.
public enum WebSocketServerHandshake {
    /// What a request comes to.
    public enum Verdict: Equatable, Sendable {
        /// It is agreed to with this `Sec-WebSocket-Accept`.
        case accept([UInt8])
        /// It is refused with this status, in these words.
        case refuse(status: Int, text: StaticString)

        /// Whether both are the same.
        public static func == (left: Verdict, right: Verdict) -> Bool {
            switch (left, right) {
            case (.accept(let one), .accept(let other)): one == other
            case (.refuse(let one, let oneText), .refuse(let other, let otherText)):
                one == other && ByteView(oneText).equals(otherText)
            case (.accept, .refuse), (.refuse, .accept): false
            }
        }
    }

    /// Judges a request of which `head` was parsed from `bytes`.
    public static func verdict(_ head: borrowing RequestHead, of bytes: ByteView) -> Verdict {
        guard head.method == .get else { return .refuse(status: 405, text: "only GET is allowed") }
        guard head.wantsUpgrade, offersWebSocket(head, bytes) else {
            return .refuse(status: 426, text: "only WebSocket is spoken here")
        }
        guard let version = single("sec-websocket-version", head, bytes), version.equals("13") else {
            return .refuse(status: 426, text: "Sec-WebSocket-Version must be 13")
        }
        guard let key = single("sec-websocket-key", head, bytes), WebSocketAcceptance.isKey(key) else {
            return .refuse(status: 400, text: "Sec-WebSocket-Key must be 16 bytes in base64")
        }
        guard head.framing == .none || head.framing == .length(0) else {
            return .refuse(status: 400, text: "a handshake has no body")
        }
        guard isSameOrigin(head, bytes) else { return .refuse(status: 403, text: "Origin differs from Host") }
        guard let answer = WebSocketAcceptance.of(key) else { return .refuse(status: 500, text: "no SHA-1") }
        return .accept(answer)
    }

    /// Writes the head that agrees.
    public static func write(acceptance: [UInt8], to writer: inout ByteWriter) {
        HeadWriter.writeStatusLine(101, to: &writer)
        writer.append("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ")
        acceptance.withUnsafeBytes { writer.append(ByteView($0)) }
        writer.append("\r\n\r\n")
    }

    /// Writes a whole answer that refuses, or one to a question that was no handshake. It ends the connection.
    public static func write(status: Int, text: StaticString, to writer: inout ByteWriter) {
        HeadWriter.writeStatusLine(status, to: &writer)
        switch status {
        case 405: writer.append("Allow: GET\r\nConnection: close\r\n")
        case 426:
            writer.append("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n")
        default: writer.append("Connection: close\r\n")
        }
        writer.append("Content-Type: text/plain\r\nContent-Length: ")
        writer.append(decimal: UInt64(text.utf8CodeUnitCount + 1))
        writer.append("\r\n\r\n")
        writer.append(text)
        writer.append("\n")
    }

    private static func offersWebSocket(_ head: borrowing RequestHead, _ bytes: ByteView) -> Bool {
        var next = head.fields.firstIndex(of: .upgrade)
        while let index = next {
            var elements = ListElements(head.fields.value(index, in: bytes))
            while let element = elements.next() {
                if element.equalsIgnoringCase("websocket") { return true }
            }
            next = head.fields.nextIndex(of: .upgrade, from: index + 1)
        }
        return false
    }

    /// The value of a field that stands there exactly once.
    private static func single(
        _ name: StaticString, _ head: borrowing RequestHead, _ bytes: ByteView
    ) -> ByteView? {
        var found: ByteView?
        for index in 0..<head.fields.count where head.fields.name(index, in: bytes).equalsIgnoringCase(name) {
            guard found == nil else { return nil }
            found = head.fields.value(index, in: bytes)
        }
        return found
    }

    /// Programs send no `Origin`. A browser does, and a page of another host must not speak through it (RFC 6455
    /// §10.2).
    private static func isSameOrigin(_ head: borrowing RequestHead, _ bytes: ByteView) -> Bool {
        guard head.fields.firstIndex(named: "origin", in: bytes) != nil else { return true }
        guard let origin = single("origin", head, bytes), let colon = origin.firstIndex(of: ASCII.colon),
            origin.dropping(first: colon).hasPrefix("://")
        else { return false }
        return origin.dropping(first: colon + 3).matchesIgnoringCase(bytes[head.authority])
    }
}
