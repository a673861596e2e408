import HTTP2Wire

/// A pod that answers every whole request with its own target, and judges everything it gets.
final class RecordingPod {
    let pod: Pod
    let speech: Speech
    private var ones: [Peer] = []
    private var twos: [HTTP2Peer] = []
    /// Whole requests in the order they came.
    private(set) var seen: [StrictRequest] = []
    /// What no request of a proxy may be.
    private(set) var problems: [String] = []

    init(_ pod: Pod, _ speech: Speech) {
        self.pod = pod
        self.speech = speech
    }

    /// Takes in and answers what has come; whether anything had.
    func step() throws -> Bool {
        var hasMoved = false
        while pod.isConnectionWaiting() {
            hasMoved = true
            let peer = try pod.accept()
            if speech == .http1 {
                ones.append(peer)
            } else if let two = try? HTTP2Peer(pod: peer) {
                twos.append(two)
            } else {
                peer.close()  // an upgrade, which goes over HTTP/1.1
            }
        }
        for peer in ones { if try step(peer) { hasMoved = true } }
        for peer in twos { if try step(peer) { hasMoved = true } }
        ones.removeAll { $0.hasEnded }
        twos.removeAll { $0.peer.hasEnded }
        return hasMoved
    }

    private func step(_ peer: Peer) throws -> Bool {
        let before = peer.pending.count
        do { try peer.poll(milliseconds: 0) } catch { ones.removeAll { $0 === peer } }
        var hasMoved = peer.pending.count != before || peer.hasEnded
        while !peer.pending.isEmpty {
            switch StrictRequest.parse(peer.pending[...], isForwarded: true) {
            case .request(let request, let count):
                _ = try peer.receive(count)
                seen.append(request)
                hasMoved = true
                try? peer.send("HTTP/1.1 200 OK\r\nX-Pod: \(request.target)\r\nContent-Length: 0\r\n\r\n")
            case .needMore: return hasMoved
            case .bad(let what):
                problems.append("\(what) in \(String(decoding: peer.pending, as: UTF8.self).debugDescription)")
                _ = try peer.receive(peer.pending.count)
                peer.close()
                ones.removeAll { $0 === peer }
                return true
            }
        }
        return hasMoved
    }

    private var answered: [ObjectIdentifier: Set<UInt32>] = [:]

    private func step(_ peer: HTTP2Peer) throws -> Bool {
        var hasMoved = false
        do { hasMoved = try peer.poll() } catch { twos.removeAll { $0 === peer } }
        for stream in peer.opened where answered[ObjectIdentifier(peer)]?.contains(stream) != true {
            guard let message = peer.streams[stream], message.hasEnded, message.resetCode == nil else { continue }
            answered[ObjectIdentifier(peer), default: []].insert(stream)
            if let problem = Self.problem(message) { problems.append("\(problem) in \(message.head)") }
            var request = StrictRequest()
            request.method = message.value(":method") ?? ""
            request.target = message.value(":path") ?? ""
            request.fields = message.head.filter { !$0.0.hasPrefix(":") }
            request.body = message.body
            seen.append(request)
            try? peer.headers(stream, [(":status", "200"), ("x-pod", request.target)], end: true)
            hasMoved = true
        }
        return hasMoved
    }

    /// What is wrong with a head of HTTP/2 and what follows it (RFC 9113 §8).
    private static func problem(_ message: HTTP2Message) -> String? {
        let names = message.head.map(\.0)
        guard names.prefix(4) == [":method", ":scheme", ":authority", ":path"] else { return "pseudo-fields" }
        if names.dropFirst(4).contains(where: { $0.hasPrefix(":") }) { return "more pseudo-fields" }
        if message.heads.count > 1 { return "two heads" }
        let path = message.value(":path") ?? "", method = message.value(":method") ?? ""
        if !path.hasPrefix("/"), path != "*" || method != "OPTIONS" { return "the path" }
        if !StrictRequest.isToken(method) || !path.unicodeScalars.allSatisfy(StrictRequest.isVisible) { return "path" }
        let authority = (message.value(":authority") ?? "").lowercased()
        if authority != ProxyHarness.host, !authority.hasPrefix(ProxyHarness.host + ":") { return "the authority" }
        for (name, value) in message.head.dropFirst(4) + (message.trailers ?? []) {
            if !StrictRequest.isToken(name) || name != name.lowercased() { return "the name \(name.debugDescription)" }
            if !StrictRequest.isValue(value) || value != trimmed(value) { return "the value of \(name)" }
            let banned = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"]
            if banned.contains(name) || (name == "te" && value != "trailers") { return "the field \(name)" }
        }
        let lengths = message.values("content-length")
        if lengths.count > 1 || lengths.contains(where: { Int($0) != message.body.count }) { return "the length" }
        return nil
    }

    static func trimmed(_ text: String) -> String {
        var rest = text[...]
        while let first = rest.first, first == " " || first == "\t" { rest = rest.dropFirst() }
        while let last = rest.last, last == " " || last == "\t" { rest = rest.dropLast() }
        return String(rest)
    }
}
