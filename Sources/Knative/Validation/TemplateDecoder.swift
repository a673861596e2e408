/// Decodes `spec.template` (Knative `RevisionTemplateSpec`: `revision_defaults.go`, `revision_validation.go`).
struct TemplateDecoder {
    let options: LoadOptions

    func decode(_ field: Field, service: String, into report: inout Report) -> RevisionTemplate {
        var template = RevisionTemplate()
        report.check(field, against: .template)
        if let metadata = report.mapping("metadata", of: field) {
            decode(metadata: metadata, service: service, into: &template, &report)
        }
        guard let spec = report.mapping("spec", of: field) else {
            missingContainers(at: field, into: &report)
            return template
        }
        template.inertFields = report.check(spec, against: .revisionSpec)
        decodeLimits(of: spec, into: &template, &report)
        if report.boolean("automountServiceAccountToken", of: spec) == true {
            report.knative(
                "must not set the field(s)", at: spec.child("automountServiceAccountToken")?.mark ?? spec.mark,
                spec.path("automountServiceAccountToken"), remedy: "only false is allowed")
        }
        decodeContainers(of: spec, into: &template, &report)
        return template
    }

    private func decode(
        metadata: Field, service: String, into template: inout RevisionTemplate, _ report: inout Report
    ) {
        report.check(metadata, against: .metadata)
        template.name = report.string("name", of: metadata)
        if let name = template.name, !service.isEmpty {
            report.validateRevisionName(name, service: service, at: metadata.child("name")?.mark ?? metadata.mark)
        }
        template.labels = report.stringMap("labels", of: metadata)
        template.annotations = report.stringMap("annotations", of: metadata)
        let places = AnnotationPlaces(template.annotations, of: metadata)
        report.validateAutoscaling(places, settings: options.defaults)
        report.validateTemplateAnnotations(places)
    }

    private func decodeLimits(of spec: Field, into template: inout RevisionTemplate, _ report: inout Report) {
        let defaults = options.defaults
        let lowest = defaults.allowContainerConcurrencyZero ? 0 : 1
        template.containerConcurrency =
            report.integer("containerConcurrency", of: spec, in: lowest...defaults.containerConcurrencyMaxLimit)
            ?? defaults.containerConcurrency
        let timeout = report.integer("timeoutSeconds", of: spec, in: 0...defaults.maxRevisionTimeoutSeconds) ?? 0
        template.timeoutSeconds = timeout == 0 ? defaults.revisionTimeoutSeconds : timeout
        template.responseStartTimeoutSeconds = phaseTimeout(
            "responseStartTimeoutSeconds", default: defaults.revisionResponseStartTimeoutSeconds, of: spec, template,
            &report)
        template.idleTimeoutSeconds = phaseTimeout(
            "idleTimeoutSeconds", default: defaults.revisionIdleTimeoutSeconds, of: spec, template, &report)
    }

    /// A timeout of one phase: 0 switches it off; absent takes the default where that is shorter than the whole.
    private func phaseTimeout(
        _ key: String, default value: Int, of spec: Field, _ template: RevisionTemplate, _ report: inout Report
    ) -> Int? {
        guard spec.child(key) != nil else {
            return value != 0 && value < template.timeoutSeconds ? value : nil
        }
        guard let stated = report.integer(key, of: spec, in: 0...Int(Int32.max)), stated != 0 else { return nil }
        return stated
    }

    private func decodeContainers(of spec: Field, into template: inout RevisionTemplate, _ report: inout Report) {
        let containers = report.list("containers", of: spec)
        VolumeChecks.check(spec, containers: containers, into: &report)
        if containers.isEmpty {
            let isWrongType = spec.child("containers").map { !$0.node.isZeroValue } ?? false
            if !isWrongType { missingContainers(at: spec, into: &report) }
            return
        }
        if containers.count > 1 {
            report.add(
                .error, at: containers[1].mark, key: spec.path("containers"),
                "multi-container is off, but found \(containers.count) containers",
                remedy: "several containers need a cluster; one machine runs one process a pod")
        }
        let portCount = containers.reduce(0) { $0 + ($1.child("ports")?.elements.count ?? 0) }
        if portCount > 1 {
            let mark = containers.last { $0.child("ports") != nil }?.child("ports")?.elements.last?.mark
            report.knative(
                "more than one container port is set", at: mark ?? spec.mark, spec.path("containers[*].ports"),
                remedy: "Only a single port is allowed across all containers")
        }
        let decoder = ContainerDecoder(options: options)
        for (index, element) in containers.enumerated() {
            var container = Container()
            let isObject = element.node.isNull || report.mapping(element) != nil
            if isObject { template.inertFields.merge(decoder.decode(element, &container, into: &report)) { $1 } }
            if index == 0 { template.container = container }
        }
    }

    private func missingContainers(at field: Field, into report: inout Report) {
        report.knative(
            "missing field(s)", at: field.mark, "spec.template.spec.containers",
            remedy: "add one container with an image")
    }
}

/// The rules for volumes. They have no effect here, but what a cluster would refuse is better known before.
enum VolumeChecks {
    static func check(_ spec: Field, containers: [Field], into report: inout Report) {
        let volumes = spec.child("volumes")?.elements ?? []
        let names = volumes.map { $0.child("name")?.node.text ?? "" }
        var mounted: Set<String> = []
        for container in containers {
            for mount in container.child("volumeMounts")?.elements ?? [] {
                mounted.insert(mount.child("name")?.node.text ?? "")
            }
            check(mountsOf: container, volumes: Set(names), into: &report)
        }
        var seen: Set<String> = []
        for (volume, name) in zip(volumes, names) {
            let mark = volume.child("name")?.mark ?? volume.mark
            if name.isEmpty {
                report.knative("missing field(s)", at: mark, volume.path("name"))
            } else if !seen.insert(name).inserted {
                report.knative("duplicate volume name \(quoted(name))", at: mark, volume.path("name"))
            } else if !mounted.contains(name) {
                report.knative("volume with name \(quoted(name)) not mounted", at: mark, volume.path("name"))
            }
        }
    }

    private static func check(mountsOf container: Field, volumes: Set<String>, into report: inout Report) {
        var paths: Set<String> = []
        for mount in container.child("volumeMounts")?.elements ?? [] {
            if !volumes.contains(mount.child("name")?.node.text ?? "") {
                let mark = mount.child("name")?.mark ?? mount.mark
                report.knative("volumeMount has no matching volume", at: mark, mount.path("name"))
            }
            guard let place = mount.child("mountPath"), !place.node.text.isEmpty else {
                report.knative("missing field(s)", at: mount.mark, mount.path("mountPath"))
                continue
            }
            let path = cleaned(place.node.text)
            if ["/", "/dev", "/dev/log"].contains(path) {
                report.knative("mountPath \(quoted(path)) is a reserved path", at: place.mark, place.path)
            } else if !path.hasPrefix("/") {
                report.knative("invalid value: \(shortened(place.node.text))", at: place.mark, place.path)
            } else if !paths.insert(path).inserted {
                report.knative("invalid value: \(quoted(place.node.text)) must be unique", at: place.mark, place.path)
            }
        }
    }

    /// A path without `.`, `..`, doubled and trailing slashes.
    private static func cleaned(_ path: String) -> String {
        var parts: [Substring] = []
        let isAbsolute = path.hasPrefix("/")
        for part in path.split(separator: "/") where part != "." {
            if part != ".." {
                parts.append(part)
            } else if let last = parts.last, last != ".." {
                parts.removeLast()
            } else if !isAbsolute {
                parts.append(part)
            }
        }
        return (isAbsolute ? "/" : "") + parts.joined(separator: "/")
    }
}
