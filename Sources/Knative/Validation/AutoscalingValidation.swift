/// The annotations of one object with their places, for the checks that look at several of them.
struct AnnotationPlaces {
    let annotations: [String: String]
    /// The path of the mapping: `spec.template.metadata.annotations`.
    let path: String
    let marks: [String: YAMLMark]
    /// Where a problem of an annotation without a place of its own is shown.
    let mark: YAMLMark

    /// The first spelling of a key that is set.
    func get(_ key: AutoscalingKey) -> (name: String, value: String)? {
        for name in key.names {
            if let value = annotations[name] { return (name, value) }
        }
        return nil
    }

    func mark(of name: String) -> YAMLMark { marks[name] ?? mark }
    func path(of name: String) -> String { path + "." + name }
}

/// The rules of Knative's `pkg/apis/autoscaling/annotation_validation.go`, in its words.
extension Report {
    private static let kpa = "kpa.autoscaling.knative.dev"
    private static let hpa = "hpa.autoscaling.knative.dev"

    mutating func validateAutoscaling(_ places: AnnotationPlaces, settings: ServingDefaults) {
        validateClass(places)
        validateScales(places, settings: settings)
        validateNumbers(places)
        validateDurations(places)
        validateMetric(places, settings: settings)
        validateInitialScale(places, settings: settings)
        warnUnknown(places)
    }

    private mutating func annotation(
        _ message: String, _ name: String, _ places: AnnotationPlaces, and others: String..., remedy: String = ""
    ) {
        let paths = ([name] + others).map(places.path(of:))
        let text = message + ": " + paths.sorted().joined(separator: ", ")
        add(.error, at: places.mark(of: name), key: paths[0], text, remedy: remedy)
    }

    private mutating func invalid(_ found: (name: String, value: String), _ places: AnnotationPlaces, remedy: String) {
        annotation("invalid value: " + found.value, found.name, places, remedy: remedy)
    }

    private mutating func validateClass(_ places: AnnotationPlaces) {
        guard let found = places.get(.class), found.value != Self.kpa else { return }
        if found.value != Self.hpa, found.value.hasSuffix(".knative.dev") {
            invalid(found, places, remedy: "\(Self.kpa) is used here")
        } else {
            add(
                .warning, at: places.mark(of: found.name), key: places.path(of: found.name),
                "class \(quoted(found.value)) needs a cluster", remedy: "\(Self.kpa) is used here")
        }
    }

    /// An int32 of at least 0, or 0 with a problem reported.
    private mutating func scale(_ key: AutoscalingKey, _ places: AnnotationPlaces) -> Int {
        guard let found = places.get(key) else { return 0 }
        guard let value = integer(found.value) else {
            invalid(found, places, remedy: "write a whole number in quotes")
            return 0
        }
        guard value >= 0, value <= Int(Int32.max) else {
            annotation("expected 0 <= \(found.value) <= \(Int32.max)", found.name, places)
            return 0
        }
        return value
    }

    /// A decimal number; one too large for an integer counts as the largest, so that it is called out of bounds.
    private func integer(_ text: String) -> Int? {
        if let value = Int(text) { return value }
        let digits = text.drop { $0 == "-" || $0 == "+" }
        guard text.utf8.count - digits.utf8.count <= 1, !digits.isEmpty,
            digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
        else { return nil }
        return text.first == "-" ? .min : .max
    }

    private mutating func validateScales(_ places: AnnotationPlaces, settings: ServingDefaults) {
        let minimum = scale(.minScale, places)
        let maximum = scale(.maxScale, places)
        if maximum != 0, maximum < minimum {
            annotation(
                "max-scale=\(maximum) is less than min-scale=\(minimum)", AutoscalingKey.maxScale.name, places,
                and: AutoscalingKey.minScale.name, remedy: "max-scale must be 0 (unlimited) or at least min-scale")
        }
        if let found = places.get(.maxScale), settings.maxScaleLimit > 0 {
            let limit = settings.maxScaleLimit
            if maximum > limit { annotation("expected 1 <= \(maximum) <= \(limit)", found.name, places) }
            if maximum == 0 { annotation("max-scale=0 (unlimited), must be less than \(limit)", found.name, places) }
        }
        validateActivationScale(places, minimum: minimum, maximum: maximum)
    }

    private mutating func validateActivationScale(_ places: AnnotationPlaces, minimum: Int, maximum: Int) {
        guard let found = places.get(.activationScale) else { return }
        guard let value = Int32(found.value).map(Int.init) else {
            return invalid(found, places, remedy: "write a whole number in quotes")
        }
        if minimum > value {
            annotation("min-scale=\(minimum) is greater than activation-scale=\(value)", found.name, places)
        } else if maximum < value, maximum != 0 {
            annotation("max-scale=\(maximum) is less than activation-scale=\(value)", found.name, places)
        } else if value < 2 {
            annotation("activation-scale=\(value) must be greater than 1", found.name, places)
        }
    }

    private mutating func validateNumbers(_ places: AnnotationPlaces) {
        number(.panicWindowPercentage, in: 1...100, "1", "100", places)
        number(.panicThresholdPercentage, in: 110...1000, "110", "1000", places)
        number(.targetUtilizationPercentage, in: 1...100, "1", "100", places)
        if let found = places.get(.target) {
            if let value = double(found.value) {
                if value < 0.01 { annotation("target \(found.value) should be at least 0.01", found.name, places) }
            } else {
                invalid(found, places, remedy: "write a number in quotes")
            }
        }
        if let found = places.get(.targetBurstCapacity) {
            let value = double(found.value)
            if value == nil || (value ?? 0) < 0 && value != -1 {
                invalid(found, places, remedy: "-1 (always buffer) or at least 0")
            }
        }
    }

    private mutating func number(
        _ key: AutoscalingKey, in bounds: ClosedRange<Double>, _ low: String, _ high: String, _ places: AnnotationPlaces
    ) {
        guard let found = places.get(key) else { return }
        guard let value = double(found.value) else {
            return invalid(found, places, remedy: "write a number in quotes")
        }
        if !bounds.contains(value) {
            annotation("expected \(low) <= \(found.value) <= \(high)", found.name, places)
        }
    }

    /// A number that compares: NaN would slip through every bound.
    private func double(_ text: String) -> Double? {
        guard let value = Double(text), !value.isNaN else { return nil }
        return value
    }

    private mutating func validateDurations(_ places: AnnotationPlaces) {
        duration(.window, from: 6, "6s", wholeSeconds: true, places)
        duration(.scaleDownDelay, from: 0, "0s", wholeSeconds: true, places)
        duration(.scaleToZeroPodRetentionPeriod, from: 0, "0s", wholeSeconds: false, places)
    }

    /// Bounds in seconds; the upper one is an hour for all of them.
    private mutating func duration(
        _ key: AutoscalingKey, from low: Int64, _ lowText: String, wholeSeconds: Bool, _ places: AnnotationPlaces
    ) {
        guard let found = places.get(key) else { return }
        guard let value = GoDuration.nanoseconds(found.value) else {
            return invalid(found, places, remedy: "write a duration such as \"90s\" or \"5m\"")
        }
        let second: Int64 = 1_000_000_000
        if value < low * second || value > 3600 * second {
            annotation("expected \(lowText) <= \(found.value) <= 1h0m0s", found.name, places)
        } else if wholeSeconds, value % second != 0 {
            annotation("must be specified with at most second precision", found.name, places)
        }
    }

    private mutating func validateMetric(_ places: AnnotationPlaces, settings: ServingDefaults) {
        let stated = places.get(.class)?.value
        if let found = places.get(.metric) {
            switch stated ?? settings.podAutoscalerClass {
            case Self.kpa where found.value != "concurrency" && found.value != "rps":
                invalid(found, places, remedy: "concurrency or rps")
            case Self.hpa where found.value.isEmpty: invalid(found, places, remedy: "cpu, memory or a metric's name")
            default: break
            }
        }
        let algorithms = ["", "linear", "weighted-exponential", "weightedExponential"]
        if stated == Self.kpa, let found = places.get(.metricAggregationAlgorithm), !algorithms.contains(found.value) {
            invalid(found, places, remedy: "linear or weighted-exponential")
        }
    }

    private mutating func validateInitialScale(_ places: AnnotationPlaces, settings: ServingDefaults) {
        guard let found = places.get(.initialScale) else { return }
        guard let value = Int(found.value) else {
            return invalid(found, places, remedy: "write a whole number in quotes")
        }
        // Knative prints the reason behind the path: `invalid value: -1: …/initial-scale must be greater than 0`.
        let path = places.path(of: found.name)
        if value < 0 {
            add(
                .error, at: places.mark(of: found.name), key: path,
                "invalid value: \(found.value): \(path) must be greater than 0", remedy: "")
        } else if value == 0, !settings.allowZeroInitialScale {
            add(
                .error, at: places.mark(of: found.name), key: path,
                "invalid value: \(found.value): \(path)=0 not allowed by cluster", remedy: "write at least 1")
        } else if value > Int(Int32.max) {
            annotation("expected 0 <= \(found.value) <= \(Int32.max)", found.name, places)
        }
    }

    private mutating func warnUnknown(_ places: AnnotationPlaces) {
        let known = AutoscalingKey.allCases.flatMap(\.names)
        for name in places.annotations.keys.sorted() where name.hasPrefix(AutoscalingKey.group + "/") {
            guard !known.contains(name) else { continue }
            let suggestion = nearest(to: name, among: known).map { "did you mean `\($0)`?" }
            add(
                .warning, at: places.mark(of: name), key: places.path(of: name), "unknown autoscaling annotation",
                remedy: suggestion ?? "it has no effect")
        }
    }
}
