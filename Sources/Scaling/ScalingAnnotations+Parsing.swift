extension ScalingAnnotations {
    /// Reads a revision's annotations; keys of others are passed over.
    ///
    /// All problems are appended to `problems` in the words of Knative's webhook; a key with one reads as absent.
    /// - Parameters:
    ///   - annotations: the whole `spec.template.metadata.annotations`.
    ///   - config: for the rules that depend on it (`allow-zero-initial-scale`, `max-scale-limit`).
    public init(
        parsing annotations: [String: String], config: ScalingConfig = ScalingConfig(),
        problems: inout [ScalingProblem]
    ) {
        self.init()
        var reader = SettingReader(annotations)
        readClass(&reader)
        readBounds(&reader, config: config)
        readNumbers(&reader)
        readDurations(&reader)
        readMetric(&reader)
        readAggregation(&reader)
        readInitialScale(&reader, config: config)
        problems += reader.problems
    }

    private mutating func readClass(_ reader: inout SettingReader) {
        guard let (key, value) = reader.first(Key.autoscalerClass) else { return }
        // Foreign domains are somebody else's business; an unknown class under Knative's own is a slip.
        let isUnknown = value.hasSuffix(".knative.dev") && value != Self.kpaClass && value != Self.hpaClass
        autoscalerClass = reader.accept(value, isUnknown ? .invalidValue(value, key) : nil)
    }

    private mutating func readBounds(_ reader: inout SettingReader, config: ScalingConfig) {
        minScale = reader.count(Key.minScale)
        maxScale = reader.count(Key.maxScale)
        let least = minScale ?? 0
        let most = maxScale ?? 0
        if most != 0, most < least {
            let message = "max-scale=\(most) is less than min-scale=\(least)"
            reader.problems.append(
                ScalingProblem(key: Key.maxScale[0], message: message, otherKey: Key.minScale[0]))
        }
        readLimit(&reader, most: most, limit: config.maxScaleLimit)
        readActivationScale(&reader, least: least, most: most)
    }

    private mutating func readLimit(_ reader: inout SettingReader, most: Int, limit: Int) {
        guard limit != 0, maxScale != nil, let (key, _) = reader.first(Key.maxScale) else { return }
        if most > limit {
            reader.problems.append(.outOfBounds("\(most)", "1", "\(limit)", key))
        } else if most == 0 {
            let message = "max-scale=0 (unlimited), must be less than \(limit)"
            reader.problems.append(ScalingProblem(key: key, message: message))
        } else {
            return
        }
        maxScale = nil
    }

    private mutating func readActivationScale(_ reader: inout SettingReader, least: Int, most: Int) {
        guard let (key, text) = reader.first(Key.activationScale) else { return }
        guard SettingReader.isInteger(text), let value = Int(text), abs(value) <= Int(Int32.max) else {
            reader.problems.append(.invalidValue(text, key))
            return
        }
        var message: String?
        if least > value {
            message = "min-scale=\(least) is greater than activation-scale=\(value)"
        } else if most != 0, most < value {
            message = "max-scale=\(most) is less than activation-scale=\(value)"
        } else if value < 2 {
            message = "activation-scale=\(value) must be greater than 1"
        }
        activationScale = reader.accept(value, message.map { ScalingProblem(key: key, message: $0) })
    }

    private mutating func readNumbers(_ reader: inout SettingReader) {
        panicWindowPercentage = reader.number(Key.panicWindow, check: SettingReader.within(1, 100))
        panicThresholdPercentage = reader.number(Key.panicThreshold, check: SettingReader.within(110, 1000))
        target = reader.number(Key.target) { value, text, key in
            value >= ScalingConfig.smallestTarget
                ? nil : ScalingProblem(key: key, message: "target \(text) should be at least 0.01")
        }
        targetUtilizationPercentage = reader.number(Key.targetUtilization, check: SettingReader.within(1, 100))
        targetBurstCapacity = reader.number(Key.targetBurstCapacity) { value, text, key in
            value >= 0 || value == -1 ? nil : .invalidValue(text, key)
        }
    }

    private mutating func readDurations(_ reader: inout SettingReader) {
        let hour = GoDuration.zero...ScalingConfig.windowBounds.upperBound
        window = reader.duration(
            Key.window, check: SettingReader.within(ScalingConfig.windowBounds, wholeSeconds: true))
        podRetentionPeriod = reader.duration(
            Key.podRetention, check: SettingReader.within(hour, wholeSeconds: false))
        scaleDownDelay = reader.duration(
            Key.scaleDownDelay, check: SettingReader.within(hour, wholeSeconds: true))
        progressDeadline = reader.duration(Key.progressDeadline) { value, text, key in
            if !value.isWholeSeconds {
                return ScalingProblem(key: key, message: "progress-deadline=\(text) is not at second precision")
            }
            return value > .zero
                ? nil : ScalingProblem(key: key, message: "progress-deadline=\(text) must be positive")
        }
    }

    /// What may be named depends on the class: HPA knows any metric, foreign classes are left alone.
    private mutating func readMetric(_ reader: inout SettingReader) {
        guard let (key, text) = reader.first(Key.metric) else { return }
        metric = ScalingMetric(rawValue: text)
        let named = reader.first(Key.autoscalerClass)?.value ?? Self.kpaClass
        let isWrong = named == Self.kpaClass ? metric == nil : named == Self.hpaClass && text.isEmpty
        if isWrong { reader.problems.append(.invalidValue(text, key)) }
    }

    /// Knative checks the algorithm only where the class says KPA in so many words; otherwise a wrong one means linear.
    private mutating func readAggregation(_ reader: inout SettingReader) {
        guard let (key, text) = reader.first(Key.aggregation), !text.isEmpty else { return }
        aggregation = text == "weightedExponential" ? .weightedExponential : WindowAggregation(rawValue: text)
        let isKPA = reader.first(Key.autoscalerClass)?.value == Self.kpaClass
        if aggregation == nil, isKPA { reader.problems.append(.invalidValue(text, key)) }
    }

    private mutating func readInitialScale(_ reader: inout SettingReader, config: ScalingConfig) {
        guard let (key, text) = reader.first(Key.initialScale) else { return }
        guard SettingReader.isInteger(text), let value = Int(text), value <= Int(Int32.max) else {
            reader.problems.append(.invalidValue(text, key))
            return
        }
        var suffix: String?
        if value < 0 { suffix = " must be greater than 0" }
        if value == 0, !config.allowsZeroInitialScale { suffix = "=0 not allowed by cluster" }
        initialScale = reader.accept(value, suffix.map { .invalidValue(text, key, suffix: $0) })
    }
}
