import TLS

extension QueueConfiguration {
    /// Most requests at a time that can be asked for; 11 times as many must be countable.
    public static let concurrencyLimit: Int64 = 100_000_000
    /// Longest limit in time of a request, in seconds: 68 years.
    public static let timeoutLimitSeconds = Int64(Int32.max)
    static let adminPort: UInt16 = 8022
    static let statPort: UInt16 = 9090

    /// Reads an environment. Every problem is found at once.
    ///
    /// A variable that must exist may be empty if it is a text; for a number or a truth value empty is wrong. That is
    /// envconfig's rule. `QUEUE_PROXY_TLS_…`, `METRICS_…`, `OTEL_…` and our own count as absent when empty.
    ///
    /// - Parameters:
    ///   - environment: names and values.
    ///   - certificatesAreMounted: whether `tls.crt` and `tls.key` are in a directory. Without them nothing that
    ///     belongs to TLS keeps the sidecar from starting.
    public static func read(
        _ environment: [String: String], certificatesAreMounted: (_ directory: String) -> Bool
    ) -> QueueConfigurationReading {
        var reader = VariableReader(environment)
        let configuration = QueueConfiguration(&reader, certificatesAreMounted)
        OwnVariable.warnOfUnknown(environment, &reader)
        return QueueConfigurationReading(
            configuration: reader.problems.isEmpty ? configuration : nil, entries: reader.entries,
            problems: reader.problems, warnings: reader.warnings)
    }

    private init(_ reader: inout VariableReader, _ certificatesAreMounted: (String) -> Bool) {
        concurrency = reader.count(
            "CONTAINER_CONCURRENCY", isRequired: true, upTo: Self.concurrencyLimit, meaning: "0: no limit")
        queueListen = Self.listen(.queueListen, portIn: "QUEUE_SERVING_PORT", &reader)
        certificateDirectory = reader.text(
            OwnVariable.certificateDirectory.rawValue, default: OwnVariable.certificateDirectory.standard,
            empty: .isAbsent)
        tls = Self.tls(isMounted: certificatesAreMounted(certificateDirectory), &reader)
        userPort = Self.port("USER_PORT", in: 1...65_535, &reader)
        timeouts = Self.timeouts(&reader)
        readiness = Self.readiness(&reader)
        isFullDuplex = reader.flag("ENABLE_HTTP_FULL_DUPLEX")
        revision = Self.revision(&reader)
        resource = Self.resource(revision, &reader)
        log = LogSettings.read(&reader)
        generation = ObservabilityReader.generation(reader)
        observability = ObservabilityReader.read(generation, &reader)
        adminListen = Self.listen(.adminListen, default: Self.adminPort, &reader)
        statListen = Self.listen(.statListen, default: Self.statPort, &reader)
        if observability.isProfilingAsked {
            reader.warn("profiling", found: "is asked for", "there is no profiler of Go here, nothing listens on 8008")
        }
        metricNames = reader.choice(
            OwnVariable.metricNames.rawValue, default: generation == .previous ? .previous : .current)
        certificateCheckMilliseconds = reader.milliseconds(
            OwnVariable.certificateCheck.rawValue, default: 60_000, in: 10...3_600_000)
        drainQuietMilliseconds = reader.milliseconds(
            OwnVariable.drainQuiet.rawValue, default: 30_000, in: 0...3_600_000)
        drainStreamMilliseconds = reader.milliseconds(
            OwnVariable.drainStreams.rawValue, default: 60_000, in: 0...3_600_000)
        keepAliveIdleMilliseconds = reader.milliseconds(
            OwnVariable.keepAliveIdle.rawValue, default: 0, in: 0...86_400_000)
        workers = reader.value(
            OwnVariable.workers.rawValue, default: 1, empty: .isAbsent, allowed: "a whole number in 1...64"
        ) { text in
            Int(text).flatMap { 1...64 ~= $0 ? $0 : nil }
        }
        if case .prometheus(var listener) = observability.requestMetrics {
            listener.listen = Self.listen(.metricsListen, default: listener.listen, &reader)
            observability.requestMetrics = .prometheus(listener)
        }
    }

    // MARK: Listeners

    private static func listen(
        _ own: OwnVariable, default standard: ListenAddress, _ reader: inout VariableReader
    ) -> ListenAddress {
        reader.value(own.rawValue, default: standard, empty: .isAbsent, allowed: ListenAddress.allowed) {
            ListenAddress($0)
        }
    }

    private static func listen(
        _ own: OwnVariable, default port: UInt16, _ reader: inout VariableReader
    ) -> ListenAddress {
        listen(own, default: ListenAddress(port: port), &reader)
    }

    private static func listen(
        _ own: OwnVariable, portIn variable: String, _ reader: inout VariableReader
    ) -> ListenAddress {
        listen(own, default: port(variable, in: 0...65_535, &reader), &reader)
    }

    private static func port(
        _ variable: String, in range: ClosedRange<UInt16>, _ reader: inout VariableReader
    ) -> UInt16 {
        let allowed = "a port in \(range.lowerBound)...\(range.upperBound)"
        return reader.required(variable, placeholder: 0, allowed: allowed) { text in
            GoText.port(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    /// Knative reads the settings of TLS only if there is a certificate, so without one they must not stop it.
    private static func tls(isMounted: Bool, _ reader: inout VariableReader) -> TLSListener? {
        let portVariable = "QUEUE_SERVING_TLS_PORT"
        guard reader.raw(portVariable) != nil else {
            _ = port(portVariable, in: 0...65_535, &reader)
            return nil
        }
        reader.isLenient = !isMounted
        defer { reader.isLenient = false }
        let listener = TLSListener(
            listen: listen(.tlsListen, portIn: portVariable, &reader),
            settings: TLSReader.read(prefix: "QUEUE_PROXY_", &reader))
        return isMounted ? listener : nil
    }

    // MARK: Parts

    private static func timeouts(_ reader: inout VariableReader) -> Timeouts {
        let limit = timeoutLimitSeconds
        return Timeouts(
            totalSeconds: reader.count(
                "REVISION_TIMEOUT_SECONDS", isRequired: true, upTo: limit, meaning: "in seconds"),
            responseStartSeconds: reader.count(
                "REVISION_RESPONSE_START_TIMEOUT_SECONDS", isRequired: false, upTo: limit,
                meaning: "in seconds; 0: no limit"),
            idleSeconds: reader.count(
                "REVISION_IDLE_TIMEOUT_SECONDS", isRequired: false, upTo: limit, meaning: "in seconds; 0: no limit"))
    }

    private static func readiness(_ reader: inout VariableReader) -> ReadinessSettings {
        var settings = ReadinessSettings()
        settings.detectsHTTP2 = reader.flag("ENABLE_HTTP2_AUTO_DETECTION")
        let isArray = reader.flag("ENABLE_MULTI_CONTAINER_PROBES")
        let variable = "SERVING_READINESS_PROBE"
        guard let text = reader.raw(variable, empty: .isAbsent) else {
            reader.note(variable, "none: always ready", .default)
            return settings
        }
        settings.probes = ReadinessProbe.decode(text, isArray: isArray, variable: variable, &reader)
        return settings
    }

    private static func revision(_ reader: inout VariableReader) -> Revision {
        Revision(
            namespace: reader.requiredText("SERVING_NAMESPACE"),
            service: reader.text("SERVING_SERVICE"),
            configuration: reader.requiredText("SERVING_CONFIGURATION"),
            name: reader.requiredText("SERVING_REVISION"),
            pod: reader.requiredText("SERVING_POD"),
            podIP: reader.requiredText("SERVING_POD_IP"))
    }

    private static func resource(_ revision: Revision, _ reader: inout VariableReader) -> Resource {
        let hostName = reader.text("HOSTNAME", empty: .isAbsent)
        let pod = reader.text("POD_NAME", default: hostName, empty: .isAbsent)
        let candidates = [revision.service, revision.configuration, revision.name, pod]
        let name = reader.text(
            "OTEL_SERVICE_NAME", default: candidates.first { !$0.isEmpty } ?? "", empty: .isAbsent)
        return Resource(serviceName: name, pod: pod)
    }
}
