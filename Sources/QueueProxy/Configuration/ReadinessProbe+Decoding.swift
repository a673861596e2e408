import Primitives

extension ReadinessProbe {
    /// Decodes SERVING_READINESS_PROBE: a core/v1 Probe, or with multi-container probing an array of them.
    ///
    /// `null` elements, which Knative writes for a serving container without a probe and then cannot read, count as
    /// none. Empty text: no probes.
    static func decode(_ text: String, isArray: Bool, variable: String, _ reader: inout VariableReader) -> [Self] {
        guard !text.isEmpty, let root = reader.json(variable, text) else { return [] }
        var decoder = GoJSONDecoder()
        var probes: [Self] = []
        if isArray {
            decoder.elements(of: root, at: "") { decoder, value, path in
                if let probe = decode(value, at: path, &decoder) { probes.append(probe) }
            }
        } else if let probe = decode(root, at: "", &decoder) {
            probes.append(probe)
        }
        reader.reject(variable, decoder)
        for (index, probe) in probes.enumerated() {
            reader.note(isArray ? "\(variable)[\(index)]" : variable, "\(probe)", .set)
        }
        return probes
    }

    private static func decode(_ value: JSONValue, at path: String, _ decoder: inout GoJSONDecoder) -> Self? {
        if case .null = value { return nil }
        var draft = ProbeDraft()
        decoder.fields(of: value, at: path) { decoder, key, value, path in draft.take(key, value, path, &decoder) }
        return draft.probe(at: path, &decoder)
    }
}

/// A probe while its fields come in: each kind as Kubernetes' own type has it.
private struct ProbeDraft {
    struct Port {
        var text = "0"
        var path = ""
        var value = JSONValue.number("0")
    }

    struct HTTPGet {
        var path = "", host = "", scheme = "", port = Port(), headers: [(name: String, value: String)] = []
        var place = "", headersPlace = ""
    }

    var httpGet: HTTPGet?
    var tcpSocket: (host: String, port: Port, place: String)?
    var grpc: (port: Int32, service: String, place: String)?
    var hasExec = false
    var periodSeconds: Int32 = 0
    var timeoutSeconds: Int32 = 0
    var successThreshold: Int32 = 0

    mutating func take(_ key: String, _ value: JSONValue, _ path: String, _ decoder: inout GoJSONDecoder) {
        var unused: Int32 = 0
        var unusedGrace: Int64 = 0
        switch key {
        case "httpget": takeHTTPGet(value, path, &decoder)
        case "tcpsocket": takeTCPSocket(value, path, &decoder)
        case "grpc": takeGRPC(value, path, &decoder)
        case "exec": takeExec(value, path, &decoder)
        case "periodseconds": decoder.integer(value, at: path, into: &periodSeconds)
        case "timeoutseconds": decoder.integer(value, at: path, into: &timeoutSeconds)
        case "successthreshold": decoder.integer(value, at: path, into: &successThreshold)
        // Kubelet's business; only their types count here.
        case "failurethreshold", "initialdelayseconds": decoder.integer(value, at: path, into: &unused)
        case "terminationgraceperiodseconds": decoder.integer(value, at: path, into: &unusedGrace)
        case _: return
        }
    }

    private mutating func takeHTTPGet(_ value: JSONValue, _ path: String, _ decoder: inout GoJSONDecoder) {
        if case .null = value { return httpGet = nil }
        var draft = httpGet ?? HTTPGet()
        draft.place = path
        decoder.fields(of: value, at: path) { decoder, key, value, path in
            switch key {
            case "path": decoder.string(value, at: path, into: &draft.path)
            case "host": decoder.string(value, at: path, into: &draft.host)
            case "scheme": decoder.string(value, at: path, into: &draft.scheme)
            case "port": Self.take(port: &draft.port, value, path, &decoder)
            case "httpheaders":
                draft.headersPlace = path
                draft.headers = Self.headers(value, path, &decoder)
            case _: return
            }
        }
        httpGet = draft
    }

    private static func headers(
        _ value: JSONValue, _ path: String, _ decoder: inout GoJSONDecoder
    ) -> [(name: String, value: String)] {
        var headers: [(name: String, value: String)] = []
        decoder.elements(of: value, at: path) { decoder, element, path in
            var header = (name: "", value: "")
            decoder.fields(of: element, at: path) { decoder, key, value, path in
                if key == "name" { decoder.string(value, at: path, into: &header.name) }
                if key == "value" { decoder.string(value, at: path, into: &header.value) }
            }
            headers.append(header)
        }
        return headers
    }

    private mutating func takeTCPSocket(_ value: JSONValue, _ path: String, _ decoder: inout GoJSONDecoder) {
        if case .null = value { return tcpSocket = nil }
        var draft = tcpSocket ?? (host: "", port: Port(), place: path)
        decoder.fields(of: value, at: path) { decoder, key, value, path in
            if key == "host" { decoder.string(value, at: path, into: &draft.host) }
            if key == "port" { Self.take(port: &draft.port, value, path, &decoder) }
        }
        tcpSocket = draft
    }

    private mutating func takeGRPC(_ value: JSONValue, _ path: String, _ decoder: inout GoJSONDecoder) {
        if case .null = value { return grpc = nil }
        var draft = grpc ?? (port: 0, service: "", place: path)
        decoder.fields(of: value, at: path) { decoder, key, value, path in
            if key == "port" { decoder.integer(value, at: path, into: &draft.port) }
            if key == "service" {
                if case .null = value { draft.service = "" }
                decoder.string(value, at: path, into: &draft.service)
            }
        }
        grpc = draft
    }

    private mutating func takeExec(_ value: JSONValue, _ path: String, _ decoder: inout GoJSONDecoder) {
        hasExec = value != .null
        decoder.fields(of: value, at: path) { decoder, key, value, path in
            guard key == "command" else { return }
            decoder.elements(of: value, at: path) { decoder, element, path in
                var word = ""
                decoder.string(element, at: path, into: &word)
            }
        }
    }

    /// Kubernetes' IntOrString: a number, or a text, which here must be one as well.
    private static func take(
        port: inout Port, _ value: JSONValue, _ path: String, _ decoder: inout GoJSONDecoder
    ) {
        (port.path, port.value) = (path, value)
        switch value {
        case .string(let text): port.text = text
        default:
            var number: Int32 = 0
            decoder.integer(value, at: path, into: &number)
            port.text = String(number)
        }
    }
}

extension ProbeDraft {
    /// The probe, or nil if something cannot be: that is a mismatch then. The order of the kinds is Knative's.
    func probe(at path: String, _ decoder: inout GoJSONDecoder) -> ReadinessProbe? {
        guard let handler = handler(&decoder) else { return nil }
        return ReadinessProbe(
            handler: handler, isAggressive: periodSeconds == 0, timeoutSeconds: max(1, Int(timeoutSeconds)),
            successThreshold: max(1, Int(successThreshold)))
    }

    private func handler(_ decoder: inout GoJSONDecoder) -> ReadinessProbe.Handler? {
        if let httpGet { return http(httpGet, &decoder) }
        if let tcpSocket {
            check(host: tcpSocket.host, tcpSocket.place, &decoder)
            return checked(tcpSocket.port, in: tcpSocket.place, &decoder).map { .tcp(port: $0) }
        }
        if let grpc {
            let port = Port(text: String(grpc.port), path: "\(grpc.place).port", value: .number(String(grpc.port)))
            return checked(port, in: grpc.place, &decoder).map { .grpc(port: $0, service: grpc.service) }
        }
        return .failing(hasExec ? "exec probe not supported" : "no probe found")
    }

    private func http(_ draft: HTTPGet, _ decoder: inout GoJSONDecoder) -> ReadinessProbe.Handler? {
        check(host: draft.host, draft.place, &decoder)
        let scheme = draft.scheme.lowercased()
        if !["", "http", "https"].contains(scheme) {
            decoder.mismatch(.string(draft.scheme), "\(draft.place).scheme", "HTTP or HTTPS")
        }
        let target = Self.target(draft.path)
        if target == nil {
            decoder.mismatch(
                .string(draft.path), "\(draft.place).path", "a path without control characters, % before two hex digits"
            )
        }
        var headers: [ReadinessProbe.Header] = []
        for (index, header) in draft.headers.enumerated() where !Self.isFixed(header.name) {
            guard Self.isName(header.name), Self.isValue(header.value) else {
                decoder.mismatch(
                    .string("\(header.name): \(header.value)"), "\(draft.headersPlace)[\(index)]",
                    "a field name of RFC 9110 and a value without control characters")
                continue
            }
            headers.append(ReadinessProbe.Header(name: header.name, value: header.value))
        }
        guard let port = checked(draft.port, in: draft.place, &decoder), let target else { return nil }
        return .http(target: target, port: port, isTLS: scheme == "https", headers: headers)
    }

    private func checked(_ port: Port, in place: String, _ decoder: inout GoJSONDecoder) -> UInt16? {
        if let number = GoText.port(port.text), number > 0 { return number }
        decoder.mismatch(port.value, port.path.isEmpty ? "\(place).port" : port.path, "a port in 1...65535")
        return nil
    }

    /// The controller writes 127.0.0.1, whatever the user wrote. No other machine is asked from here.
    private func check(host: String, _ place: String, _ decoder: inout GoJSONDecoder) {
        guard !["", "127.0.0.1", "localhost"].contains(host) else { return }
        decoder.mismatch(.string(host), "\(place).host", "127.0.0.1")
    }

    // MARK: HTTP

    private static func isFixed(_ name: String) -> Bool {
        ["host", "user-agent", "content-length", "transfer-encoding", "trailer"].contains(name.lowercased())
    }

    private static func isName(_ name: String) -> Bool {
        let marks = "!#$%&'*+-.^_`|~".utf8
        let isToken = name.utf8.allSatisfy {
            ASCII.isDigit($0) || UInt8(ascii: "a")...UInt8(ascii: "z") ~= ASCII.lowercased($0) || marks.contains($0)
        }
        return isToken && !name.isEmpty
    }

    private static func isValue(_ value: String) -> Bool {
        value.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F || $0 == ASCII.tab }
    }

    /// The request target of a path with its query: with one slash in front, without the fragment, bytes that must not
    /// stand in a URI (RFC 3986 §2) as %XX. Nil if Go's `url.Parse` refuses it.
    static func target(_ path: String) -> String? {
        var bytes = Array(path.utf8)[...]
        if bytes.first == UInt8(ascii: "/") { bytes = bytes.dropFirst() }
        bytes = bytes.prefix { $0 != UInt8(ascii: "#") }
        let unreserved = "-._~!$&'()*+,;=:@/?[]%".utf8
        var target = "/", isPath = true
        for index in bytes.indices {
            let byte = bytes[index]
            guard byte >= 0x20, byte != 0x7F else { return nil }
            isPath = isPath && byte != UInt8(ascii: "?")
            if byte == UInt8(ascii: "%"), isPath {
                let digits = bytes[(index + 1)...].prefix(2)
                guard digits.count == 2, digits.allSatisfy({ ASCII.hexValue($0) != nil }) else { return nil }
            }
            let isLetter = UInt8(ascii: "a")...UInt8(ascii: "z") ~= ASCII.lowercased(byte)
            if isLetter || ASCII.isDigit(byte) || unreserved.contains(byte) {
                target.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                target += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return target
    }
}
