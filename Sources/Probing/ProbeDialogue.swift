import Primitives

/// What a probe says on its connection, and what it makes of the answer: bytes in, bytes out, no socket and no clock.
protocol ProbeDialogue: AnyObject {
    /// Writes what is to be said next, as much as fits; nothing if nothing is to be said now.
    func transmit(into writer: inout ByteWriter, now: Instant)
    /// Takes bytes of the answer.
    func receive(_ bytes: ByteView, now: Instant)
    /// The peer ended the connection, or it broke for `reason`.
    func closed(_ reason: ProbeOutcome?, now: Instant)
    /// What was found, once it is known; it stays.
    var verdict: ProbeOutcome? { get }
    /// Whether nothing more is to be said or heard. What follows the verdict is read, within limits, so that the
    /// application can finish writing it.
    var isOver: Bool { get }
}

/// A `GET` over HTTP/1.1 whose status decides.
final class HTTP1Dialogue: ProbeDialogue {
    /// Longest status line that is waited for, in bytes.
    static let statusLineBytes = 1_024

    private let request: [UInt8]
    private var said = 0
    private var answer: [UInt8] = []
    private let seeksLocation: Bool
    private(set) var verdict: ProbeOutcome?
    private(set) var isOver = false
    /// Where the answer sends us, if that is sought. It stands with the verdict.
    private(set) var location: String?

    /// A question for `path` at `port` of this machine.
    init(path: String, port: UInt16, headers: [ProbeHeader], userAgent: String, seeksLocation: Bool = false) {
        self.seeksLocation = seeksLocation
        request = Self.request(path: path, port: port, headers: headers, userAgent: userAgent)
    }

    func transmit(into writer: inout ByteWriter, now: Instant) {
        request.withUnsafeBytes { bytes in
            let rest = ByteView(bytes).dropping(first: said)
            let count = min(rest.count, writer.capacity - writer.count)
            writer.append(rest[0..<count])
            said += count
        }
    }

    func receive(_ bytes: ByteView, now: Instant) {
        guard verdict == nil else { return }
        let limit = seeksLocation ? ProbeConnection.answerBytes : Self.statusLineBytes
        for index in 0..<min(bytes.count, limit) { answer.append(bytes[index]) }
        judge(isComplete: false)
    }

    func closed(_ reason: ProbeOutcome?, now: Instant) {
        isOver = true
        guard verdict == nil else { return }
        if let reason { verdict = reason } else { judge(isComplete: true) }
    }

    /// Looks whether the status line has come. The rest of the answer is not looked at.
    private func judge(isComplete: Bool) {
        guard answer.contains(ASCII.lf) else {
            if isComplete || answer.count >= Self.statusLineBytes { verdict = .failed("not an HTTP/1.1 answer") }
            return
        }
        guard let status = answer.withUnsafeBytes({ Self.status(of: ByteView($0)) }) else {
            verdict = .failed("not an HTTP/1.1 answer")
            return
        }
        if seeksLocation, Self.redirects.contains(status) {
            let hasHead = Self.hasHead(answer)
            guard hasHead || isComplete || answer.count >= ProbeConnection.answerBytes else { return }
            location = Self.location(in: answer)
        }
        verdict = ProbeOutcome(status: status)
    }

    /// Statuses that name another place (RFC 9110 §15.4).
    private static let redirects: Set<Int> = [301, 302, 303, 307, 308]

    /// Whether the empty line that ends a head is there.
    private static func hasHead(_ answer: [UInt8]) -> Bool {
        var lineIsEmpty = false
        for byte in answer where byte != ASCII.cr {
            if byte == ASCII.lf, lineIsEmpty { return true }
            lineIsEmpty = byte == ASCII.lf
        }
        return false
    }

    /// The value of the first `Location`.
    private static func location(in answer: [UInt8]) -> String? {
        for line in answer.split(separator: ASCII.lf).dropFirst() {
            let text = String(decoding: line, as: UTF8.self)
            guard let colon = text.firstIndex(of: ":"), text[..<colon].lowercased() == "location" else { continue }
            return String(text[text.index(after: colon)...].filter { $0 != " " && $0 != "\t" && !$0.isNewline })
        }
        return nil
    }

    /// The status of `HTTP/1.x NNN …`; nil if the line is something else (RFC 9112 §4).
    static func status(of line: ByteView) -> Int? {
        guard line.count >= 12, line.hasPrefix("HTTP/1."), line[8] == ASCII.space else { return nil }
        guard line.count == 12 || !ASCII.isDigit(line[12]) else { return nil }
        var status = 0
        for index in 9..<12 {
            guard ASCII.isDigit(line[index]) else { return nil }
            status = status * 10 + Int(line[index] - 0x30)
        }
        return status
    }

    /// The bytes of the question. Host and User-Agent can be replaced by the spec's headers, as kubelet allows.
    static func request(
        path: String, port: UInt16, headers: [ProbeHeader], userAgent: String
    ) -> [UInt8] {
        var fields = [("Host", "127.0.0.1:\(port)"), ("User-Agent", userAgent), ("Accept", "*/*")]
        let given = Set(headers.map { $0.name.lowercased() })
        fields.removeAll { given.contains($0.0.lowercased()) }
        fields += headers.filter { $0.name.lowercased() != "connection" }.map { ($0.name, $0.value) }
        let target = path.utf8.first == UInt8(ascii: "/") ? path : "/\(path)"
        let lines = ["GET \(target) HTTP/1.1"] + fields.map { "\($0.0): \($0.1)" } + ["Connection: close", "", ""]
        return Array(lines.joined(separator: "\r\n").utf8)
    }
}
