/// The rules for names and annotations of objects (Knative `pkg/apis/serving/metadata_validation.go` and others).
extension Report {
    mutating func validateName(_ name: String?, key: String, at mark: YAMLMark) {
        guard let name, !name.isEmpty else {
            return knative("name or generateName is required", at: mark, key, remedy: "set metadata.name")
        }
        let problems = Names.dns1035Problems(name)
        guard !problems.isEmpty else { return }
        knative("invalid value: not a DNS 1035 label: [\(problems.joined(separator: " "))]", at: mark, key)
    }

    mutating func validateNamespace(_ namespace: String, at mark: YAMLMark) {
        guard !Names.isDNS1123Label(namespace) else { return }
        knative(
            "invalid value: \(shortened(namespace))", at: mark, "metadata.namespace",
            remedy: "lower case letters, digits and '-', at most 63, beginning and ending with a letter or digit")
    }

    /// The template's own name: a label that begins with the service's name (`revision_validation.go`).
    mutating func validateRevisionName(_ name: String, service: String, at mark: YAMLMark) {
        let key = "spec.template.metadata.name"
        let problems = Names.dns1035Problems(name)
        if !problems.isEmpty {
            knative("invalid value: not a DNS 1035 label: [\(problems.joined(separator: " "))]", at: mark, key)
        } else if !name.hasPrefix(service + "-") {
            knative("invalid value: \(quoted(name)) must have prefix \(quoted(service + "-"))", at: mark, key)
        }
    }

    /// Annotations of the Service itself: none of the autoscaler's, a sound rollout duration.
    mutating func validateServiceAnnotations(_ places: AnnotationPlaces) {
        for name in places.annotations.keys.sorted() where name.hasPrefix(AutoscalingKey.group) {
            add(
                .error, at: places.mark(of: name), key: places.path,
                "invalid key name \(quoted(name)): \(places.path)",
                remedy: "autoscaling annotations must be put under \"spec.template.metadata.annotations\" to work")
        }
        for name in ServiceObject.rolloutDurationKeys {
            guard let value = places.annotations[name], !value.isEmpty else { continue }
            secondsAnnotation("rollout-duration", name, value, places)
            break
        }
    }

    /// Annotations of the template that are not the autoscaler's.
    mutating func validateTemplateAnnotations(_ places: AnnotationPlaces) {
        let allowed = [
            "ingress.class", "ingress-class", "certificate.class", "certificate-class", "disable-external-domain-tls",
            "disableAutoTLS", "disable-auto-tls", "http-protocol", "httpOption",
        ].map { "networking.knative.dev/" + $0 }
        for name in places.annotations.keys.sorted() where name.hasPrefix("networking.knative.dev") {
            guard !allowed.contains(name) else { continue }
            add(
                .error, at: places.mark(of: name), key: places.path,
                "invalid key name \(quoted(name)): \(places.path)", remedy: "")
        }
        if let value = places.annotations[RevisionTemplate.progressDeadlineKey], !value.isEmpty {
            secondsAnnotation("progress-deadline", RevisionTemplate.progressDeadlineKey, value, places)
        }
        validateSidecarShare(places)
    }

    /// `queue.sidecar.serving.knative.dev/resource-percentage`: there is no sidecar, but a wrong value is still wrong.
    private mutating func validateSidecarShare(_ places: AnnotationPlaces) {
        for name in places.annotations.keys.sorted() where name.hasPrefix("queue.sidecar.serving.knative.dev/") {
            let value = places.annotations[name] ?? ""
            add(
                .warning, at: places.mark(of: name), key: places.path(of: name), "has no effect on one machine",
                remedy: "there is no queue-proxy beside the process")
            let lowered = name.lowercased()
            guard lowered.hasSuffix("resource-percentage") || lowered.hasSuffix("resourcepercentage") else { continue }
            let path = places.path + ".[" + name + "]"
            guard let share = Double(value), !share.isNaN else {
                add(.error, at: places.mark(of: name), key: path, "invalid value: \(value): \(path)", remedy: "")
                continue
            }
            if share < 0.1 || share > 100 {
                add(
                    .error, at: places.mark(of: name), key: path, "expected 0.1 <= \(value) <= 100: \(path)", remedy: ""
                )
            }
        }
    }

    private mutating func secondsAnnotation(
        _ short: String, _ name: String, _ value: String, _ places: AnnotationPlaces
    ) {
        let (mark, path) = (places.mark(of: name), places.path(of: name))
        guard let nanoseconds = GoDuration.nanoseconds(value) else {
            return knative("invalid value: \(value)", at: mark, path, remedy: "write a duration such as \"90s\"")
        }
        if nanoseconds % 1_000_000_000 != 0 {
            knative("\(short)=\(value) is not at second precision", at: mark, path)
        } else if nanoseconds < 0 {
            knative("\(short)=\(value) must be positive", at: mark, path)
        }
    }
}
