/// Reads what belongs to metrics, traces and logs of requests, from whichever generation of variables is there.
///
/// OBSERVABILITY_CONFIG decides alone if it is set and not empty, as in Knative 1.19 and later, which do not know the
/// others.
struct ObservabilityReader {
    static let variable = "OBSERVABILITY_CONFIG"

    /// One exporter in OBSERVABILITY_CONFIG.
    struct Export {
        var protocolName = "none"
        var endpoint = ""
        var intervalNanoseconds: Int64 = 0
        var samplingRate = 0.0
    }

    /// OBSERVABILITY_CONFIG, as Knative declares it.
    struct Document {
        var tracing = Export()
        var requestMetrics = Export()
        var profiling = "disabled"
        var log = RequestLogSettings()
    }

    /// Which generation wrote the environment.
    static func generation(_ reader: VariableReader) -> KnativeGeneration {
        if reader.raw(variable, empty: .isAbsent) != nil { return .current }
        return PreviousObservability.variables.contains { reader.raw($0) != nil } ? .previous : .current
    }

    static func read(_ generation: KnativeGeneration, _ reader: inout VariableReader) -> ObservabilitySettings {
        guard generation == .current else { return PreviousObservability.read(&reader) }
        let document = document(&reader)
        var settings = ObservabilitySettings()
        settings.requestLog = document.log
        if settings.requestLog.template.isEmpty { settings.requestLog.isEnabled = false }
        settings.requestMetrics = metrics(document.requestMetrics, &reader)
        (settings.tracing, settings.sampling) = tracing(document.tracing, &reader)
        switch document.profiling {
        case "enabled": settings.isProfilingAsked = true
        case "disabled": break
        default:
            // Knative's sidecar takes any other word for no.
            reader.warn(
                "\(variable).runtime.profiling", found: "is \(document.profiling.quotedForMessage)",
                "it counts as disabled")
        }
        return settings
    }

    // MARK: The document

    private static func document(_ reader: inout VariableReader) -> Document {
        var document = Document()
        var decoder = GoJSONDecoder()
        if let text = reader.raw(variable, empty: .isAbsent), let root = reader.json(variable, text) {
            decoder.fields(of: root, at: "") { decoder, key, value, path in
                take(key, value, path, into: &document, &decoder)
            }
            reader.reject(variable, decoder)
        }
        note(document, taken: decoder.taken, &reader)
        return document
    }

    private static func take(
        _ key: String, _ value: JSONValue, _ path: String, into document: inout Document,
        _ decoder: inout GoJSONDecoder
    ) {
        var unused = Export(), unusedText = "", unusedFlag = false
        switch key {
        case "tracing": take(value, path, into: &document.tracing, &decoder)
        case "requestmetrics": take(value, path, into: &document.requestMetrics, &decoder)
        case "metrics": take(value, path, into: &unused, &decoder)  // the controller's own; only its types count
        case "enablerequestlog": decoder.boolean(value, at: path, into: &document.log.isEnabled)
        case "enableproberequestlog": decoder.boolean(value, at: path, into: &document.log.includesProbes)
        case "requestlogtemplate": decoder.string(value, at: path, into: &document.log.template)
        case "enablevarlogcollection": decoder.boolean(value, at: path, into: &unusedFlag)
        case "loggingurltemplate": decoder.string(value, at: path, into: &unusedText)
        case "runtime":
            decoder.fields(of: value, at: path) { decoder, key, value, path in
                if key == "profiling" { decoder.string(value, at: path, into: &document.profiling) }
                if key == "exportinterval" { decoder.integer(value, at: path, into: &unused.intervalNanoseconds) }
            }
        case _: return
        }
    }

    private static func take(
        _ value: JSONValue, _ path: String, into export: inout Export, _ decoder: inout GoJSONDecoder
    ) {
        let isTracing = path.lowercased() == "tracing"
        var draft = export
        decoder.fields(of: value, at: path) { decoder, key, value, path in
            switch key {
            case "protocol": decoder.string(value, at: path, into: &draft.protocolName)
            case "endpoint": decoder.string(value, at: path, into: &draft.endpoint)
            case "samplingrate":
                if isTracing { decoder.number(value, at: path, into: &draft.samplingRate) }
            case "exportinterval":
                if !isTracing { decoder.integer(value, at: path, into: &draft.intervalNanoseconds) }
            case _: return
            }
        }
        export = draft
    }

    private static func note(_ document: Document, taken: Set<String>, _ reader: inout VariableReader) {
        let lines = [
            ("enableRequestLog", "\(document.log.isEnabled)"),
            ("enableProbeRequestLog", "\(document.log.includesProbes)"),
            ("requestLogTemplate", document.log.template),
            ("requestMetrics.protocol", document.requestMetrics.protocolName),
            ("requestMetrics.endpoint", document.requestMetrics.endpoint),
            ("requestMetrics.exportInterval", "\(document.requestMetrics.intervalNanoseconds)"),
            ("tracing.protocol", document.tracing.protocolName),
            ("tracing.endpoint", document.tracing.endpoint),
            ("tracing.samplingRate", "\(document.tracing.samplingRate)"),
            ("runtime.profiling", document.profiling),
        ]
        for (path, value) in lines {
            reader.note("\(variable).\(path)", value, taken.contains(path.lowercased()) ? .set : .default)
        }
    }

    // MARK: Exporters

    private static func metrics(_ export: Export, _ reader: inout VariableReader) -> RequestMetrics {
        switch export.protocolName {
        case "none": return .off
        case "prometheus":
            return PrometheusReader.read(endpoint: export.endpoint, &reader).map { .prometheus($0) } ?? .off
        case "http/protobuf", "grpc":
            let interval = interval(export, &reader)
            let endpoint = endpoint(
                export, key: "requestMetrics", variable: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", path: "/v1/metrics",
                &reader)
            return endpoint.map { .otlp($0, intervalMilliseconds: interval) } ?? .off
        case let name:
            reader.reject(
                "\(variable).requestMetrics.protocol", found: "is \(name.quotedForMessage)",
                allowed: "none, prometheus, http/protobuf, grpc")
            return .off
        }
    }

    /// OpenTelemetry's variable counts in milliseconds and wins; what is no number there, or not above zero, is passed
    /// over by OpenTelemetry's library. Its default is a minute.
    private static func interval(_ export: Export, _ reader: inout VariableReader) -> Int {
        let standard = 60_000
        let name = "OTEL_METRIC_EXPORT_INTERVAL"
        if let text = reader.raw(name, empty: .isAbsent) {
            guard let number = Int32(text), number > 0 else {
                reader.warn(name, found: "is \(text.quotedForMessage)", "60000 milliseconds are used")
                return standard
            }
            reader.note(name, text, .set)
            return Int(number)
        }
        let milliseconds = export.intervalNanoseconds / 1_000_000
        return export.intervalNanoseconds > 0 ? Int(min(max(1, milliseconds), Int64(Int32.max))) : standard
    }

    private static func tracing(_ export: Export, _ reader: inout VariableReader) -> (TraceExport, TraceSampling) {
        switch export.protocolName {
        case "none": return (.off, .never)
        case "stdout": return (.standardOutput, sampling(export, &reader))
        case "http/protobuf", "grpc":
            let sampling = sampling(export, &reader)
            let endpoint = endpoint(
                export, key: "tracing", variable: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", path: "/v1/traces", &reader)
            return endpoint.map { (.otlp($0), sampling) } ?? (.off, .never)
        case let name:
            reader.reject(
                "\(variable).tracing.protocol", found: "is \(name.quotedForMessage)",
                allowed: "none, http/protobuf, grpc, stdout")
            return (.off, .never)
        }
    }

    /// Knative reads OTEL_TRACES_SAMPLER_ARG without a sampler as the rate, but then uses it only if it is 1 or more;
    /// here it is the rate.
    private static func sampling(_ export: Export, _ reader: inout VariableReader) -> TraceSampling {
        let sampler = "OTEL_TRACES_SAMPLER", argument = "OTEL_TRACES_SAMPLER_ARG"
        if let name = reader.raw(sampler, empty: .isAbsent) {
            reader.note(sampler, name, .set)
            return TraceSampling(sampler: name, reader.raw(argument), &reader)
        }
        if export.protocolName == "stdout" { return .always }
        guard let text = reader.raw(argument, empty: .isAbsent) else { return TraceSampling(rate: export.samplingRate) }
        guard let rate = Double(text), !rate.isNaN else {
            reader.reject(argument, found: "is \(text.quotedForMessage)", allowed: "a number in 0...1")
            return .never
        }
        reader.note(argument, text, .set)
        return TraceSampling(rate: rate)
    }

    private static func endpoint(
        _ export: Export, key: String, variable signalVariable: String, path: String, _ reader: inout VariableReader
    ) -> OTLPEndpoint? {
        let transport = OTLPEndpoint.Transport(rawValue: export.protocolName) ?? .http
        for name in [signalVariable, "OTEL_EXPORTER_OTLP_ENDPOINT"] {
            guard let text = reader.raw(name, empty: .isAbsent) else { continue }
            let isForAll = name != signalVariable
            guard
                let endpoint = OTLPEndpoint(
                    variable: text, isForAllSignals: isForAll, transport: transport, signalPath: path)
            else {
                reader.reject(name, found: "is \(text.quotedForMessage)", allowed: OTLPEndpoint.allowed)
                return nil
            }
            reader.note(name, text, .set)
            return endpoint
        }
        if let found = OTLPEndpoint(configured: export.endpoint, transport: transport, signalPath: path) {
            return found
        }
        reader.reject(
            "\(variable).\(key).endpoint", found: "is \(export.endpoint.quotedForMessage)",
            allowed: OTLPEndpoint.allowed + ", for protocol \(export.protocolName)")
        return nil
    }
}

extension TraceSampling {
    /// OpenTelemetry's samplers by name; unknown ones are passed over by its library, which traces all then.
    fileprivate init(sampler name: String, _ argument: String?, _ reader: inout VariableReader) {
        var ratio = 1.0
        if name.hasSuffix("traceidratio"), let argument {
            if let number = Double(argument), 0...1 ~= number {
                ratio = number
            } else {
                reader.warn("OTEL_TRACES_SAMPLER_ARG", found: "is \(argument.quotedForMessage)", "1 is used")
            }
        }
        switch name {
        case "always_on": self = .always
        case "always_off": self = .never
        case "traceidratio": self.init(ratio: ratio, followsParent: false)
        case "parentbased_always_on": self.init(ratio: 1, followsParent: true)
        case "parentbased_always_off": self.init(ratio: 0, followsParent: true)
        case "parentbased_traceidratio": self.init(ratio: ratio, followsParent: true)
        case _:
            reader.warn("OTEL_TRACES_SAMPLER", found: "is \(name.quotedForMessage)", "parentbased_always_on is used")
            self.init(ratio: 1, followsParent: true)
        }
    }
}
