/// Decodes one container (Knative `k8s_validation.go`).
struct ContainerDecoder {
    let options: LoadOptions

    private static let reservedPorts = [8012, 8013, 8022, 9090, 9091, 8008]
    private static let reservedVariables = ["PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"]

    /// - Returns: fields without effect on one machine, path and value.
    func decode(_ field: Field, _ container: inout Container, into report: inout Report) -> [String: String] {
        var inert = report.check(field, against: .container)
        decodeName(field, &container, &report)
        container.command = report.strings("command", of: field)
        container.args = report.strings("args", of: field)
        container.workingDir = report.string("workingDir", of: field)
        if let directory = container.workingDir, directory.utf8.contains(0) {
            report.error(field, "holds a NUL character", remedy: "a process cannot receive it")
        }
        inert.merge(decodeEnvironment(field, &container, &report)) { $1 }
        decodePort(field, &container, &report)
        let probes = ProbeDecoder(port: container.port)
        container.readinessProbe = probes.readiness(of: field, into: &report)
        container.livenessProbe = probes.probe("livenessProbe", of: field, into: &report)
        container.startupProbe = probes.probe("startupProbe", of: field, into: &report)
        validatePolicy(field, &report)
        decodeImage(field, &container, &report)
        return inert
    }

    private func decodeName(_ field: Field, _ container: inout Container, _ report: inout Report) {
        container.name = report.string("name", of: field) ?? options.defaults.containerName
        guard let place = field.child("name"), container.name == place.node.text else { return }
        if container.name == "queue-proxy" {
            report.knative("\"queue-proxy\" is a reserved container name", at: place.mark, place.path)
        } else if !Names.isDNS1123Label(container.name) {
            report.knative(
                "invalid value: \(shortened(container.name))", at: place.mark, place.path,
                remedy: "lower case letters, digits and '-', at most 63, beginning and ending with a letter or digit")
        }
    }

    // MARK: - Image and command

    private func decodeImage(_ field: Field, _ container: inout Container, _ report: inout Report) {
        guard let text = report.string("image", of: field) else {
            if field.child("image").map({ $0.node.text.isEmpty }) ?? true {
                report.knative(
                    "missing field(s)", at: field.mark, field.path("image"),
                    remedy: "name an image; --image IMAGE=COMMAND says what it runs")
            }
            return
        }
        container.image = text
        guard let place = field.child("image") else { return }
        guard ImageReference(text) != nil else {
            let name = shortened(text)
            return report.knative(
                "Failed to parse image reference", at: place.mark, place.path,
                remedy: "image: \(quoted(text)), error: could not parse reference: \(name)")
        }
        if !container.command.isEmpty {
            container.launch = container.command + container.args
        } else if let command = options.command(forImage: text), !command.isEmpty {
            container.launch = command + container.args
        } else {
            report.add(
                .error, at: place.mark, key: place.path,
                "nothing says what image \(quoted(text)) runs: there is no command and no --image for it",
                remedy: "set \(field.path("command")), or start with --image \(shortened(text))=COMMAND")
        }
    }

    // MARK: - Environment

    private func decodeEnvironment(
        _ field: Field, _ container: inout Container, _ report: inout Report
    ) -> [String: String] {
        var inert: [String: String] = [:]
        for element in report.list("env", of: field) {
            guard let variable = report.mapping(element) else { continue }
            inert.merge(report.check(variable, against: .environment)) { $1 }
            let value = report.string("value", of: variable) ?? ""
            guard let name = report.string("name", of: variable) else {
                if variable.child("name").map({ $0.node.text.isEmpty }) ?? true {
                    report.knative("missing field(s)", at: variable.mark, variable.path("name"))
                }
                continue
            }
            validate(name: name, value: value, of: variable, &report)
            // A value from a Secret or ConfigMap is unknown here: better unset than empty.
            guard variable.child("valueFrom") == nil else { continue }
            container.env.append(EnvironmentVariable(name: name, value: value))
        }
        if container.expandedEnvironment().isTooLarge {
            report.error(
                field.child("env") ?? field, "expands to more than \(Container.environmentBytesLimit) bytes",
                remedy: "a process cannot be started with it; shorten the values or their references")
        }
        return inert
    }

    private func validate(name: String, value: String, of variable: Field, _ report: inout Report) {
        let mark = variable.child("name")?.mark ?? variable.mark
        if Self.reservedVariables.contains(name) {
            report.knative(
                "\(quoted(name)) is a reserved environment variable", at: mark, variable.path("name"),
                remedy: "it is set for every process")
        } else if !Names.isEnvironmentName(name) {
            report.knative(
                "invalid value: \(shortened(name))", at: mark, variable.path("name"),
                remedy: "printable ASCII characters other than '='")
        }
        if value.utf8.contains(0), let place = variable.child("value") {
            report.error(place, "holds a NUL character", remedy: "a process cannot receive it")
        }
    }

    // MARK: - Port

    private func decodePort(_ field: Field, _ container: inout Container, _ report: inout Report) {
        let ports = report.list("ports", of: field)
        guard let first = ports.first, let port = report.mapping(first) else { return }
        // Knative's messages leave the index out: there is only one.
        let path = field.path("ports")
        report.check(port, against: .port, path: path)
        if let number = report.integer("containerPort", of: port), number != 0 {
            container.port.containerPort = number
            let mark = port.child("containerPort")?.mark ?? port.mark
            if Self.reservedPorts.contains(number) {
                report.knative(
                    "invalid value: \(number) is a reserved port", at: mark, path + ".containerPort",
                    remedy: "\(number) is a reserved port, please use a different value")
            } else if !(0...65535).contains(number) {
                report.knative("expected 0 <= \(number) <= 65535", at: mark, path + ".containerPort")
            }
        }
        if let name = report.string("name", of: port) {
            container.port.name = name
            if name != "h2c", name != "http1" {
                report.knative(
                    "Port name \(shortened(name)) is not allowed", at: port.child("name")?.mark ?? port.mark, path,
                    remedy: "Name must be empty, or one of: 'h2c', 'http1'")
            }
        }
        if let transport = report.string("protocol", of: port), transport != "TCP" {
            report.knative(
                "invalid value: \(shortened(transport))", at: port.child("protocol")?.mark ?? port.mark,
                path + ".protocol", remedy: "TCP")
        }
    }

    private func validatePolicy(_ field: Field, _ report: inout Report) {
        guard let policy = field.child("terminationMessagePolicy") else { return }
        guard !["File", "FallbackToLogsOnError", ""].contains(policy.node.text) else { return }
        report.knative(
            "invalid value: \(shortened(policy.node.text))", at: policy.mark, policy.path,
            remedy: "File or FallbackToLogsOnError")
    }
}
