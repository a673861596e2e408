/// Decodes the probes of a container (Knative `validateProbe`, `validateReadinessProbe`; Kubernetes' defaults).
struct ProbeDecoder {
    let port: Container.Port

    private static let handlers = ["exec", "grpc", "httpGet", "tcpSocket"]
    private static let largest = Int(Int32.max)

    /// The readiness probe: without a handler it connects to the port; with a period of 0 it is tried eagerly.
    func readiness(of container: Field, into report: inout Report) -> Probe {
        guard let field = report.mapping("readinessProbe", of: container) else { return .defaultReadiness }
        var probe = Probe.defaultReadiness
        probe.handler = handler(of: field, default: .tcpSocket(port: nil), into: &report)
        probe.initialDelaySeconds = bounded("initialDelaySeconds", of: field, least: 0, &report) ?? 0
        probe.periodSeconds = bounded("periodSeconds", of: field, least: 0, &report) ?? 0
        probe.successThreshold = bounded("successThreshold", of: field, least: 1, &report) ?? 1
        if probe.periodSeconds != 0 {
            probe.timeoutSeconds = bounded("timeoutSeconds", of: field, least: 1, &report) ?? 1
            probe.failureThreshold = bounded("failureThreshold", of: field, least: 1, &report) ?? 3
            return probe
        }
        for key in ["failureThreshold", "timeoutSeconds"] {
            guard let value = report.integer(key, of: field), value != 0 else { continue }
            report.knative(
                "\(key) is disallowed when periodSeconds is zero", at: field.child(key)?.mark ?? field.mark,
                field.path(key), remedy: "set periodSeconds to at least 1, or remove \(key)")
        }
        return probe
    }

    /// A liveness or startup probe.
    func probe(_ key: String, of container: Field, into report: inout Report) -> Probe? {
        guard let field = report.mapping(key, of: container) else { return nil }
        var probe = Probe(handler: handler(of: field, default: nil, into: &report))
        probe.initialDelaySeconds = bounded("initialDelaySeconds", of: field, least: 0, &report) ?? 0
        probe.periodSeconds = bounded("periodSeconds", of: field, least: 1, &report) ?? 10
        probe.timeoutSeconds = bounded("timeoutSeconds", of: field, least: 1, &report) ?? 1
        probe.failureThreshold = bounded("failureThreshold", of: field, least: 1, &report) ?? 3
        if let threshold = bounded("successThreshold", of: field, least: 1, &report), threshold != 1 {
            report.knative(
                "invalid value: \(threshold)", at: field.child("successThreshold")?.mark ?? field.mark,
                field.path("successThreshold"), remedy: "must be 1")
        }
        return probe
    }

    /// A number of at least `least`; 0 counts as absent, as in Go.
    private func bounded(_ key: String, of field: Field, least: Int, _ report: inout Report) -> Int? {
        guard let value = report.integer(key, of: field), value != 0 else { return nil }
        guard value < least || value > Self.largest else { return value }
        report.knative(
            "expected \(least) <= \(value) <= \(Self.largest)", at: field.child(key)?.mark ?? field.mark,
            field.path(key))
        return nil
    }

    // MARK: - Handlers

    private func handler(
        of field: Field, default fallback: Probe.Handler?, into report: inout Report
    ) -> Probe.Handler {
        report.check(field, against: .probe)
        let stated = Self.handlers.compactMap { key in report.mapping(key, of: field).map { (key, $0) } }
        let ignored = Probe.Handler.tcpSocket(port: nil)
        if stated.count > 1 {
            report.add(
                .error, at: field.mark, key: field.path,
                "expected exactly one, got both: " + stated.map { field.path($0.0) }.joined(separator: ", "),
                remedy: "keep one of them")
            return ignored
        }
        guard let (key, action) = stated.first else {
            if let fallback { return fallback }
            let isMistyped = Self.handlers.contains { field.child($0) != nil }
            if !isMistyped {
                report.add(
                    .error, at: field.mark, key: field.path,
                    "expected exactly one, got neither: " + Self.handlers.map(field.path).joined(separator: ", "),
                    remedy: "add one of them")
            }
            return ignored
        }
        switch key {
        case "exec": return exec(action, &report)
        case "grpc":
            report.check(action, against: .grpc)
            return .grpc(
                port: portNumber(of: action, &report), service: headerText("service", of: action, &report) ?? "")
        case "httpGet": return httpGet(action, &report)
        default:
            report.check(action, against: .tcpSocket)
            return .tcpSocket(port: portNumber(of: action, &report))
        }
    }

    private func exec(_ action: Field, _ report: inout Report) -> Probe.Handler {
        report.check(action, against: .exec)
        let command = report.strings("command", of: action)
        if command.isEmpty, action.child("command").map({ $0.node.isZeroValue }) ?? true {
            report.knative("missing field(s)", at: action.mark, action.path("command"))
        }
        return .exec(command: command)
    }

    private func httpGet(_ action: Field, _ report: inout Report) -> Probe.Handler {
        report.check(action, against: .httpGet)
        var path = headerText("path", of: action, &report) ?? "/"
        if !path.hasPrefix("/") { path = "/" + path }  // as Go's URL does when it joins host and path
        var scheme = Probe.Scheme.http
        if let text = report.string("scheme", of: action) {
            if let known = Probe.Scheme(rawValue: text) {
                scheme = known
            } else {
                report.knative(
                    "invalid value: \(shortened(text))", at: action.child("scheme")?.mark ?? action.mark,
                    action.path("scheme"), remedy: "HTTP or HTTPS")
            }
        }
        var headers: [Probe.Header] = []
        for element in report.list("httpHeaders", of: action) {
            guard let field = report.mapping(element) else { continue }
            report.check(field, against: .header)
            let name = report.string("name", of: field) ?? ""
            if !Names.isHeaderName(name) {
                report.knative(
                    "invalid value: \(quoted(name))", at: field.child("name")?.mark ?? field.mark, field.path("name"),
                    remedy: "a header's name consists of letters, digits and '-'")
            }
            headers.append(
                Probe.Header(name: name, value: headerText("value", of: field, allowingSpace: true, &report) ?? ""))
        }
        return .httpGet(path: path, port: portNumber(of: action, &report), scheme: scheme, headers: headers)
    }

    /// A string that will stand in a request of ours: a line end in it would be a second header or request.
    private func headerText(
        _ key: String, of field: Field, allowingSpace: Bool = false, _ report: inout Report
    ) -> String? {
        guard let text = report.string(key, of: field) else { return nil }
        guard !Names.isPrintable(text, allowingSpace: allowingSpace) else { return text }
        report.knative(
            "invalid value: \(quoted(text))", at: field.child(key)?.mark ?? field.mark, field.path(key),
            remedy: "control characters\(allowingSpace ? "" : " and spaces") are not allowed")
        return nil
    }

    /// The port as a number, or nil for the container's own: absent, 0, its name, or its number.
    private func portNumber(of action: Field, _ report: inout Report) -> Int? {
        guard let field = action.child("port") else { return nil }
        if case .scalar(.string(let name)) = field.node.content {
            // The port counts as "http" to probes when it has no name.
            guard name.isEmpty || name == (port.name.isEmpty ? "http" : port.name) else {
                report.knative(
                    "invalid value: \(shortened(name))", at: field.mark, field.path,
                    remedy: "Probe port must match container port")
                return nil
            }
            return nil
        }
        guard let number = report.integer("port", of: action), number != 0 else { return nil }
        guard (1...65535).contains(number) else {
            report.knative("expected 1 <= \(number) <= 65535", at: field.mark, field.path)
            return nil
        }
        return number == port.containerPort ? nil : number
    }
}
