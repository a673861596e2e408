/// Turns one document into a `ServiceObject`, reporting everything that is wrong with it.
struct ServiceDecoder {
    let options: LoadOptions

    /// - Returns: the object, or nil if any error was reported.
    func decode(_ document: Field, into report: inout Report) -> ServiceObject? {
        let errorsBefore = report.errorCount
        report.check(document, against: .service)
        let metadata = metadata(of: document, into: &report)
        let name = metadata.name
        var places = ServiceObject.Places(file: report.file, object: document.mark)
        let spec = report.mapping("spec", of: document)
        if let spec { report.check(spec, against: .serviceSpec) }
        let template = spec.flatMap { report.mapping("template", of: $0) }
        var decoded = RevisionTemplate()
        if let template {
            decoded = TemplateDecoder(options: options).decode(template, service: name, into: &report)
            places.revisionName = template.child("metadata")?.child("name")?.mark ?? template.mark
        } else {
            let place = spec ?? document
            report.knative(
                "missing field(s)", at: place.mark, "spec.template.spec.containers",
                remedy: "add spec.template.spec.containers with one container")
        }
        let traffic = traffic(of: spec, into: &report)
        places.traffic = spec?.child("traffic")?.mark ?? document.mark
        validateTagHosts(traffic, service: name, spec: spec, into: &report)
        guard report.errorCount == errorsBefore else { return nil }
        return ServiceObject(metadata: metadata, template: decoded, traffic: traffic, places: places)
    }

    private func metadata(of document: Field, into report: inout Report) -> ObjectMetadata {
        guard let field = report.mapping("metadata", of: document) else {
            report.validateName(nil, key: document.path("metadata.name"), at: document.mark)
            return ObjectMetadata(name: "")
        }
        report.check(field, against: .metadata)
        let name = report.string("name", of: field)
        if name == nil, let generated = field.child("generateName") {
            report.error(
                generated, "needs a cluster", remedy: "set metadata.name: a file is applied again when it changes")
        } else if name != nil || field.child("name").map(isString) ?? true {
            report.validateName(name, key: field.path("name"), at: field.child("name")?.mark ?? field.mark)
        }
        var metadata = ObjectMetadata(name: name ?? "")
        if let namespace = report.string("namespace", of: field) {
            metadata.namespace = namespace
            report.validateNamespace(namespace, at: field.child("namespace")?.mark ?? field.mark)
        }
        metadata.labels = report.stringMap("labels", of: field)
        metadata.annotations = report.stringMap("annotations", of: field)
        report.validateServiceAnnotations(AnnotationPlaces(metadata.annotations, of: field))
        return metadata
    }

    private func isString(_ field: Field) -> Bool {
        if case .scalar(.string) = field.node.content { true } else { false }
    }

    // MARK: - Traffic (route_validation.go)

    private func traffic(of spec: Field?, into report: inout Report) -> [TrafficTarget] {
        guard let spec else { return [.latest] }
        let elements = report.list("traffic", of: spec)
        guard !elements.isEmpty else { return [.latest] }
        var targets: [TrafficTarget] = []
        var sum = 0
        var isSumKnown = true
        var tags: [String: Int] = [:]
        for (index, element) in elements.enumerated() {
            let field = report.mapping(element)
            let percent = field.flatMap { report.integer("percent", of: $0) }
            guard let field, percent != nil || field.child("percent") == nil else {
                isSumKnown = false
                continue
            }
            let target = target(field, percent: percent ?? 0, into: &report)
            // Saturating: a percent may be any 64-bit number.
            let (total, overflow) = sum.addingReportingOverflow(percent ?? 0)
            sum = overflow ? .max : total
            targets.append(target)
            guard let tag = target.tag else { continue }
            validate(tag: tag, index: index, of: field, seen: tags[tag], into: &report)
            if tags[tag] == nil { tags[tag] = index }
        }
        if sum != 100, isSumKnown {
            let mark = spec.child("traffic")?.mark ?? spec.mark
            report.knative("Traffic targets sum to \(sum), want 100", at: mark, "spec.traffic")
        }
        return targets
    }

    private func target(_ field: Field, percent: Int, into report: inout Report) -> TrafficTarget {
        report.check(field, against: .traffic)
        var target = TrafficTarget()
        target.percent = percent
        if !(0...100).contains(target.percent) {
            let mark = field.child("percent")?.mark ?? field.mark
            report.knative("expected 0 <= \(target.percent) <= 100", at: mark, field.path("percent"))
        }
        target.tag = report.string("tag", of: field)
        target.revisionName = report.string("revisionName", of: field)
        if let name = target.revisionName, !Names.isQualifiedName(name) {
            report.knative(
                "invalid key name \(quoted(name))", at: field.child("revisionName")?.mark ?? field.mark,
                field.path("revisionName"))
        }
        if let latest = report.boolean("latestRevision", of: field), latest != (target.revisionName == nil) {
            report.knative(
                "may not set revisionName \(quoted(target.revisionName ?? "")) when latestRevision is \(latest)",
                at: field.child("latestRevision")?.mark ?? field.mark, field.path("latestRevision"),
                remedy: latest ? "remove one of the two" : "set revisionName, or remove latestRevision")
        }
        return target
    }

    private func validate(tag: String, index: Int, of field: Field, seen: Int?, into report: inout Report) {
        let mark = field.child("tag")?.mark ?? field.mark
        let problems = Names.dns1035Problems(tag)
        if !problems.isEmpty {
            let text = "invalid value: not a DNS 1035 label: [\(problems.joined(separator: " "))]"
            report.knative(text, at: mark, "spec.traffic.tag[\(index)]")
        }
        if let seen {
            let text = "Multiple definitions for \(quoted(tag))"
            report.knative(text, at: mark, "spec.traffic[\(index)].tag", "spec.traffic[\(seen)].tag")
        }
    }

    /// `tag-name` is one label of a host name, so both together must fit one.
    private func validateTagHosts(
        _ traffic: [TrafficTarget], service: String, spec: Field?, into report: inout Report
    ) {
        for (index, target) in traffic.enumerated() {
            guard let tag = target.tag, tag.utf8.count <= 63, service.utf8.count <= 63 else { continue }
            let host = tag + "-" + service
            guard host.utf8.count > 63 else { continue }
            report.add(
                .error, at: spec?.child("traffic")?.mark ?? YAMLMark(line: 1, column: 1),
                key: "spec.traffic[\(index)].tag", "the host label \(quoted(host)) has more than 63 characters",
                remedy: "shorten the tag or the service's name")
        }
    }
}

extension AnnotationPlaces {
    /// The annotations of a metadata mapping, with their places.
    init(_ annotations: [String: String], of metadata: Field) {
        let field = metadata.child("annotations")
        var marks: [String: YAMLMark] = [:]
        for entry in field?.entries ?? [] { marks[entry.key] = entry.value.mark }
        self.init(
            annotations: annotations, path: metadata.path("annotations"), marks: marks,
            mark: field?.mark ?? metadata.mark)
    }
}
