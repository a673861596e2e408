/// The variables of Knative up to 1.18 (`pkg/queue/sharedmain/main.go` of release-1.18).
///
/// What that sidecar only logs and then leaves off (an unknown backend) is a warning here; what envconfig refuses is a
/// problem.
enum PreviousObservability {
    static let variables = [
        "ENABLE_PROFILING", "SERVING_REQUEST_LOG_TEMPLATE", "SERVING_ENABLE_REQUEST_LOG",
        "SERVING_ENABLE_PROBE_REQUEST_LOG", "SERVING_REQUEST_METRICS_BACKEND",
        "SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS", "METRICS_COLLECTOR_ADDRESS", "TRACING_CONFIG_DEBUG",
        "TRACING_CONFIG_BACKEND", "TRACING_CONFIG_SAMPLE_RATE", "TRACING_CONFIG_ZIPKIN_ENDPOINT",
    ]

    static func read(_ reader: inout VariableReader) -> ObservabilitySettings {
        var settings = ObservabilitySettings()
        settings.isProfilingAsked = reader.flag("ENABLE_PROFILING")
        settings.requestLog.template = reader.text("SERVING_REQUEST_LOG_TEMPLATE")
        let isLogAsked = reader.flag("SERVING_ENABLE_REQUEST_LOG")
        settings.requestLog.isEnabled = isLogAsked && !settings.requestLog.template.isEmpty
        settings.requestLog.includesProbes = reader.flag("SERVING_ENABLE_PROBE_REQUEST_LOG")
        settings.requestMetrics = metrics(&reader)
        (settings.tracing, settings.sampling) = tracing(&reader)
        return settings
    }

    private static func metrics(_ reader: inout VariableReader) -> RequestMetrics {
        let name = "SERVING_REQUEST_METRICS_BACKEND"
        let backend = reader.text(name)
        let period = reader.count(
            "SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS", isRequired: false, upTo: Int64(Int32.max),
            meaning: "0: the exporter's own")
        let collector = reader.text("METRICS_COLLECTOR_ADDRESS")
        switch backend.lowercased() {
        case "", "none": return .off
        case "prometheus":
            return .prometheus(
                PrometheusListener(listen: ListenAddress(port: PrometheusReader.standardPort), security: nil))
        case "opencensus": return .openCensus(address: collector, periodSeconds: period)
        case _:
            reader.warn(name, found: "is \(backend.quotedForMessage)", "there are no request metrics then")
            return .off
        }
    }

    /// Debug means that every request is traced.
    private static func tracing(_ reader: inout VariableReader) -> (TraceExport, TraceSampling) {
        let name = "TRACING_CONFIG_BACKEND"
        let isDebug = reader.flag("TRACING_CONFIG_DEBUG")
        let backend = reader.text(name)
        let rate = reader.number("TRACING_CONFIG_SAMPLE_RATE", default: 0)
        let url = reader.text("TRACING_CONFIG_ZIPKIN_ENDPOINT")
        switch backend {
        case "", "none": return (.off, .never)
        case "zipkin":
            let sampling = TraceSampling(ratio: isDebug ? 1 : rate, followsParent: !isDebug)
            guard url.isEmpty else { return (.zipkin(url: url), sampling) }
            reader.warn("TRACING_CONFIG_ZIPKIN_ENDPOINT", found: "is empty", "there are no spans then")
            return (.off, .never)
        case _:
            reader.warn(name, found: "is \(backend.quotedForMessage)", "there are no spans then")
            return (.off, .never)
        }
    }
}
