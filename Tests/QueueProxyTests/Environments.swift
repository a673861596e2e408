import QueueProxy

/// Environments as Knative's controller writes them.
enum Environments {
    /// What every Knative since 1.16 requires, and nothing else.
    static let required = [
        "CONTAINER_CONCURRENCY": "0", "QUEUE_SERVING_PORT": "8012", "QUEUE_SERVING_TLS_PORT": "8112",
        "USER_PORT": "8080", "REVISION_TIMEOUT_SECONDS": "300", "SERVING_LOGGING_CONFIG": "",
        "SERVING_LOGGING_LEVEL": "", "SERVING_NAMESPACE": "default", "SERVING_CONFIGURATION": "hello",
        "SERVING_REVISION": "hello-00001", "SERVING_POD": "hello-00001-deployment-6d9", "SERVING_POD_IP": "10.1.2.3",
    ]

    /// What both generations write.
    private static let common = required.merging([
        "SERVING_SERVICE": "hello", "CONTAINER_CONCURRENCY": "10", "QUEUE_SERVING_PORT": "8013",
        "REVISION_RESPONSE_START_TIMEOUT_SECONDS": "30", "REVISION_IDLE_TIMEOUT_SECONDS": "0",
        "SERVING_LOGGING_CONFIG": #"""
        {"level": "info", "development": false, "outputPaths": ["stdout"], "errorOutputPaths": ["stderr"],
         "encoding": "json", "encoderConfig": {"timeKey": "timestamp", "levelKey": "severity"}}
        """#,
        "SERVING_READINESS_PROBE": #"""
        {"httpGet":{"path":"/ready?full=1","port":8080,"host":"127.0.0.1","scheme":"HTTP",\#
        "httpHeaders":[{"name":"X-Probe","value":"yes"}]},\#
        "timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3}
        """#,
        "SYSTEM_NAMESPACE": "knative-serving", "HOST_IP": "192.168.0.1", "ROOT_CA": "",
        "ENABLE_HTTP2_AUTO_DETECTION": "false", "ENABLE_HTTP_FULL_DUPLEX": "true",
        "ENABLE_MULTI_CONTAINER_PROBES": "false", "HOSTNAME": "hello-00001-deployment-6d9",
    ]) { $1 }

    /// Knative 1.16, with metrics for Prometheus, Zipkin, and the request log.
    static let knative116 = common.merging([
        "SERVING_REQUEST_LOG_TEMPLATE": "{{.Request.Method}}", "SERVING_ENABLE_REQUEST_LOG": "true",
        "SERVING_REQUEST_METRICS_BACKEND": "prometheus", "SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS": "5",
        "TRACING_CONFIG_BACKEND": "zipkin", "TRACING_CONFIG_ZIPKIN_ENDPOINT": "http://zipkin:9411/api/v2/spans",
        "TRACING_CONFIG_DEBUG": "false", "TRACING_CONFIG_SAMPLE_RATE": "0.25",
        "METRICS_DOMAIN": "knative.dev/internal/serving", "ENABLE_PROFILING": "false",
        "SERVING_ENABLE_PROBE_REQUEST_LOG": "true", "METRICS_COLLECTOR_ADDRESS": "",
    ]) { $1 }

    /// Knative 1.21 and later, with the same.
    static let knative121 = common.merging([
        "QUEUE_PROXY_TLS_MIN_VERSION": "1.2", "QUEUE_PROXY_TLS_MAX_VERSION": "",
        "QUEUE_PROXY_TLS_CIPHER_SUITES":
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "QUEUE_PROXY_TLS_CURVE_PREFERENCES": "X25519,CurveP256",
        "OBSERVABILITY_CONFIG": #"""
        {"tracing":{"protocol":"http/protobuf","endpoint":"http://collector.observability:4318/v1/traces",\#
        "samplingRate":0.25},"metrics":{"protocol":"none"},\#
        "runtime":{"profiling":"disabled","exportInterval":15000000000},"requestMetrics":{"protocol":"prometheus"},\#
        "enableRequestLog":true,"requestLogTemplate":"{{.Request.Method}} \u003c\u0026","enableProbeRequestLog":true}
        """#,
    ]) { $1 }

    /// The configuration of `required` with changes; nil removes a variable.
    static func read(_ changes: [String: String?] = [:], isMounted: Bool = true) -> QueueConfigurationReading {
        var environment = required
        for (name, value) in changes { environment[name] = value }
        return QueueConfiguration.read(environment) { _ in isMounted }
    }

    /// The same with OBSERVABILITY_CONFIG.
    static func read(observability json: String, _ changes: [String: String?] = [:]) -> QueueConfigurationReading {
        read(changes.merging(["OBSERVABILITY_CONFIG": json]) { $1 })
    }
}
