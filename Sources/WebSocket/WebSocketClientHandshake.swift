import HTTP
import HTTP1
import Primitives

/// Why a server's answer to the opening handshake is none.
public enum WebSocketRefusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// It is not HTTP, or too large.
    case invalid(ParseFailure.Reason)
    /// Another status than 101.
    case status(Int)
    /// 101, but `Upgrade` or `Connection` do not say what they must.
    case notWebSocket
    /// `Sec-WebSocket-Accept` is missing or does not belong to our key.
    case wrongAcceptance
    /// An extension or a subprotocol that nobody asked for.
    case unasked

    /// A few words.
    public var description: String {
        switch self {
        case .invalid(let reason): "the answer is not valid HTTP: \(reason.text)"
        case .status(let status): "refused with status \(status)"
        case .notWebSocket: "the answer does not switch to websocket"
        case .wrongAcceptance: "wrong Sec-WebSocket-Accept"
        case .unasked: "an extension or subprotocol that was not asked for"
        }
    }
}

/// The opening handshake of a client (RFC 6455 §4.1): no `Origin`, no extension, no subprotocol. Pure.
public struct WebSocketClientHandshake: ~Copyable {
    /// Most bytes of the answer's heads, interim ones with it.
    public static let headLimit = 8 << 10

    /// What is sent first.
    public let request: [UInt8]
    private let acceptance: [UInt8]
    private var head: ResponseHead
    private var scanned = 0
    /// Bytes of interim heads before the answer.
    private var skipped = 0

    /// A handshake for path `/` of a server. Nil if `authority`, a host with its port, cannot stand in `Host`.
    public init?(authority: String, key: WebSocketKey) {
        let host = Array(authority.utf8)
        let isHost = host.withUnsafeBytes { bytes in
            (try? Authority.host(ByteView(bytes), at: 0..<bytes.count)) != nil
        }
        let text = [UInt8](unsafeUninitializedCapacity: 24) { place, count in
            var writer = ByteWriter(UnsafeMutableRawBufferPointer(place))
            key.append(to: &writer)
            count = writer.count
        }
        let answer = text.withUnsafeBytes { WebSocketAcceptance.of(ByteView($0)) }
        guard isHost, let answer else { return nil }
        acceptance = answer
        var limits = HTTPLimits()
        limits.headBytes = Self.headLimit
        head = ResponseHead(limits: limits)
        request =
            Array("GET / HTTP/1.1\r\nHost: ".utf8) + host
            + Array("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".utf8)
            + Array("Sec-WebSocket-Key: ".utf8) + text + Array("\r\n\r\n".utf8)
    }

    /// Reads the answer from all bytes of the server so far.
    ///
    /// - Returns: The bytes of the handshake when the server has agreed: frames follow them. Nil if more are needed.
    public mutating func receive(_ bytes: ByteView) throws(WebSocketRefusal) -> Int? {
        guard bytes.count >= skipped else { return nil }
        while true {
            let rest = bytes.dropping(first: skipped)
            guard try parse(rest) else {
                guard bytes.count < Self.headLimit else { throw .invalid(.headTooLarge) }
                return nil
            }
            scanned = 0
            guard skipped + head.length <= Self.headLimit else { throw .invalid(.headTooLarge) }
            guard head.isInterim else { break }
            skipped += head.length
        }
        try check(bytes.dropping(first: skipped))
        return skipped + head.length
    }

    private mutating func parse(_ bytes: ByteView) throws(WebSocketRefusal) -> Bool {
        do throws(ParseFailure) {
            return try head.parse(bytes, scanned: &scanned, requestMethod: .get)
        } catch {
            throw .invalid(error.reason)
        }
    }

    private func check(_ bytes: ByteView) throws(WebSocketRefusal) {
        guard head.status == 101 else { throw .status(head.status) }
        guard head.version == .http11, let upgrade = value(of: .upgrade, bytes),
            upgrade.equalsIgnoringCase("websocket"),
            connectionSaysUpgrade(bytes)
        else { throw .notWebSocket }
        var answers = 0
        for index in 0..<head.fields.count {
            let name = head.fields.name(index, in: bytes)
            if name.equalsIgnoringCase("sec-websocket-extensions") || name.equalsIgnoringCase("sec-websocket-protocol")
            {
                throw .unasked
            }
            guard name.equalsIgnoringCase("sec-websocket-accept") else { continue }
            answers += 1
            let value = head.fields.value(index, in: bytes)
            guard acceptance.withUnsafeBytes({ value.equals(ByteView($0)) }) else { throw .wrongAcceptance }
        }
        guard answers == 1 else { throw .wrongAcceptance }
    }

    /// The value of a field that stands there once.
    private func value(of field: KnownField, _ bytes: ByteView) -> ByteView? {
        guard !head.fields.repeated.contains(field), let index = head.fields.firstIndex(of: field) else { return nil }
        return head.fields.value(index, in: bytes)
    }

    private func connectionSaysUpgrade(_ bytes: ByteView) -> Bool {
        var next = head.fields.firstIndex(of: .connection)
        while let index = next {
            var elements = ListElements(head.fields.value(index, in: bytes))
            while let element = elements.next() {
                if element.equalsIgnoringCase("upgrade") { return true }
            }
            next = head.fields.nextIndex(of: .connection, from: index + 1)
        }
        return false
    }
}
