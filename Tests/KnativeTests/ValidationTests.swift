import Testing

@testable import Knative

/// One extra line in the sample manifest and the problem it makes, text and place.
struct Case: Sendable, CustomTestStringConvertible {
    let extra: String
    let spot: Spot
    let expected: String

    init(_ spot: Spot, _ extra: String, _ expected: String) {
        self.extra = extra
        self.spot = spot
        self.expected = expected
    }

    var testDescription: String { extra }
}

@Suite struct ValidationTests {
    static let c = "spec.template.spec.containers[0]"

    static let container: [Case] = [
        Case(.container, "name: queue-proxy", "13:15: error: \"queue-proxy\" is a reserved container name: \(c).name"),
        Case(.container, "name: Big", "13:15: error: invalid value: Big: \(c).name; lower case"),
        Case(
            .container, "ports: [{containerPort: 8080}, {containerPort: 8081}]",
            "13:40: error: more than one container port is set: spec.template.spec.containers[*].ports; "
                + "Only a single port is allowed across all containers"),
        Case(
            .container, "ports: [{name: http, containerPort: 8080}]",
            "13:24: error: Port name http is not allowed: \(c).ports; Name must be empty, or one of: 'h2c', 'http1'"),
        Case(
            .container, "ports: [{containerPort: 8012}]",
            "13:33: error: invalid value: 8012 is a reserved port: \(c).ports.containerPort; "
                + "8012 is a reserved port, please use a different value"),
        Case(.container, "ports: [{containerPort: 8013}]", "13:33: error: invalid value: 8013 is a reserved port"),
        Case(.container, "ports: [{containerPort: 8022}]", "13:33: error: invalid value: 8022 is a reserved port"),
        Case(.container, "ports: [{containerPort: 9090}]", "13:33: error: invalid value: 9090 is a reserved port"),
        Case(.container, "ports: [{containerPort: 9091}]", "13:33: error: invalid value: 9091 is a reserved port"),
        Case(.container, "ports: [{containerPort: 8008}]", "13:33: error: invalid value: 8008 is a reserved port"),
        Case(
            .container, "ports: [{containerPort: 65536}]",
            "13:33: error: expected 0 <= 65536 <= 65535: \(c).ports.containerPort"),
        Case(.container, "ports: [{containerPort: -1}]", "13:33: error: expected 0 <= -1 <= 65535: \(c).ports"),
        Case(
            .container, "ports: [{containerPort: 80, protocol: UDP}]",
            "13:47: error: invalid value: UDP: \(c).ports.protocol"),
        Case(
            .container, "ports: [{containerPort: 80, hostPort: 80}]",
            "13:37: error: must not set the field(s): \(c).ports.hostPort"),
        Case(
            .container, "env: [{name: PORT, value: \"1\"}]",
            "13:22: error: \"PORT\" is a reserved environment variable: \(c).env[0].name"),
        Case(
            .container, "env: [{name: A}, {name: K_SERVICE}]", "13:33: error: \"K_SERVICE\" is a reserved environment"),
        Case(.container, "env: [{name: K_CONFIGURATION}]", "13:22: error: \"K_CONFIGURATION\" is a reserved"),
        Case(.container, "env: [{name: K_REVISION}]", "13:22: error: \"K_REVISION\" is a reserved"),
        Case(.container, "env: [{value: x}]", "13:15: error: missing field(s): \(c).env[0].name"),
        Case(.container, "env: [{name: A=B}]", "13:22: error: invalid value: A=B: \(c).env[0].name"),
        Case(
            .container, "env: [{name: A, value: 1}]",
            "13:32: error: \(c).env[0].value: expected a string, found the integer 1; quote it: \"1\""),
        Case(
            .container, "env: [{name: A, value: \"a\\0b\"}]", "13:32: error: \(c).env[0].value: holds a NUL character"),
        Case(.container, "lifecycle: {preStop: {}}", "13:9: error: must not set the field(s): \(c).lifecycle"),
        Case(.container, "stdin: true", "13:9: error: must not set the field(s): \(c).stdin"),
        Case(.container, "stdinOnce: true", "13:9: error: must not set the field(s): \(c).stdinOnce"),
        Case(.container, "tty: true", "13:9: error: must not set the field(s): \(c).tty"),
        Case(.container, "volumeDevices: [{}]", "13:9: error: must not set the field(s): \(c).volumeDevices"),
        Case(
            .container, "terminationMessagePolicy: X", "13:35: error: invalid value: X: \(c).terminationMessagePolicy"),
        Case(.container, "imge: x", "13:9: error: \(c).imge: unknown key \"imge\"; did you mean `image`?"),
        Case(.container, "zzz: x", "13:9: error: \(c).zzz: unknown key \"zzz\"; known here: name, image, command"),
        Case(.container, "args: x", "13:15: error: \(c).args: expected a list, found the string \"x\"; write a list"),
        Case(.container, "args: [1]", "13:16: error: \(c).args[0]: expected a string, found the integer 1"),
        Case(.container, "env: {A: b}", "13:14: error: \(c).env: expected a list, found a mapping"),
    ]

    static let probes: [Case] = [
        Case(
            .container, "readinessProbe: {failureThreshold: 2}",
            "13:44: error: failureThreshold is disallowed when periodSeconds is zero: "
                + "\(c).readinessProbe.failureThreshold"
        ),
        Case(
            .container, "readinessProbe: {timeoutSeconds: 2}",
            "13:42: error: timeoutSeconds is disallowed when periodSeconds is zero: "
                + "\(c).readinessProbe.timeoutSeconds"),
        Case(
            .container, "readinessProbe: {httpGet: {port: web}}",
            "13:42: error: invalid value: web: \(c).readinessProbe.httpGet.port; Probe port must match container port"),
        Case(
            .container, "livenessProbe: {tcpSocket: {port: web}}",
            "13:43: error: invalid value: web: \(c).livenessProbe.tcpSocket.port; Probe port must match"),
        Case(
            .container, "readinessProbe: {httpGet: {}, tcpSocket: {}}",
            "13:25: error: expected exactly one, got both: \(c).readinessProbe.httpGet, \(c).readinessProbe.tcpSocket"),
        Case(
            .container, "livenessProbe: {periodSeconds: 1}",
            "13:24: error: expected exactly one, got neither: \(c).livenessProbe.exec, \(c).livenessProbe.grpc, "
                + "\(c).livenessProbe.httpGet, \(c).livenessProbe.tcpSocket"),
        Case(
            .container, "readinessProbe: {periodSeconds: -1}",
            "13:41: error: expected 0 <= -1 <= 2147483647: \(c).readinessProbe.periodSeconds"),
        Case(
            .container, "readinessProbe: {initialDelaySeconds: -1}",
            "13:47: error: expected 0 <= -1 <= 2147483647: \(c).readinessProbe.initialDelaySeconds"),
        Case(
            .container, "readinessProbe: {successThreshold: -1}",
            "13:44: error: expected 1 <= -1 <= 2147483647: \(c).readinessProbe.successThreshold"),
        Case(
            .container, "readinessProbe: {periodSeconds: 1, timeoutSeconds: -1}",
            "13:60: error: expected 1 <= -1 <= 2147483647: \(c).readinessProbe.timeoutSeconds"),
        Case(
            .container, "readinessProbe: {periodSeconds: 1, failureThreshold: -1}",
            "13:62: error: expected 1 <= -1 <= 2147483647: \(c).readinessProbe.failureThreshold"),
        Case(
            .container, "startupProbe: {tcpSocket: {}, successThreshold: 2}",
            "13:57: error: invalid value: 2: \(c).startupProbe.successThreshold; must be 1"),
        Case(
            .container, "livenessProbe: {httpGet: {scheme: FTP}}",
            "13:43: error: invalid value: FTP: \(c).livenessProbe.httpGet.scheme; HTTP or HTTPS"),
        Case(
            .container, "livenessProbe: {httpGet: {path: \"/a\\r\\nb\"}}",
            "13:41: error: invalid value: \"/a\\r\\nb\": \(c).livenessProbe.httpGet.path; control characters and spaces"
        ),
        Case(
            .container, "livenessProbe: {httpGet: {httpHeaders: [{name: A, value: \"x\\ny\"}]}}",
            "13:66: error: invalid value: \"x\\ny\": \(c).livenessProbe.httpGet.httpHeaders[0].value"),
        Case(
            .container, "livenessProbe: {httpGet: {httpHeaders: [{name: \"A:\", value: x}]}}",
            "13:56: error: invalid value: \"A:\": \(c).livenessProbe.httpGet.httpHeaders[0].name"),
        Case(
            .container, "livenessProbe: {httpGet: {port: 65536}}",
            "13:41: error: expected 1 <= 65536 <= 65535: \(c).livenessProbe.httpGet.port"),
        Case(
            .container, "livenessProbe: {exec: {}}", "13:31: error: missing field(s): \(c).livenessProbe.exec.command"),
        Case(
            .container, "livenessProbe: {httpget: {}}",
            "13:25: error: \(c).livenessProbe.httpget: unknown key \"httpget\"; did you mean `httpGet`?"),
    ]

    static let others: [Case] = [
        Case(
            .revisionSpec, "containerConcurrency: -1",
            "10:29: error: expected 0 <= -1 <= 1000: spec.template.spec.containerConcurrency"),
        Case(.revisionSpec, "containerConcurrency: 1001", "10:29: error: expected 0 <= 1001 <= 1000"),
        Case(
            .revisionSpec, "timeoutSeconds: 601",
            "10:23: error: expected 0 <= 601 <= 600: spec.template.spec.timeoutSeconds"),
        Case(.revisionSpec, "timeoutSeconds: -1", "10:23: error: expected 0 <= -1 <= 600"),
        Case(
            .revisionSpec, "timeoutSeconds: 1.5",
            "10:23: error: spec.template.spec.timeoutSeconds: expected an integer, found the number 1.5"),
        Case(
            .revisionSpec, "restartPolicy: Always",
            "10:7: error: must not set the field(s): spec.template.spec.restartPolicy; remove it"),
        Case(.revisionSpec, "terminationGracePeriodSeconds: 5", "10:7: error: must not set the field(s)"),
        Case(.revisionSpec, "activeDeadlineSeconds: 5", "10:7: error: must not set the field(s)"),
        Case(.revisionSpec, "nodeName: abc", "10:7: error: must not set the field(s): spec.template.spec.nodeName"),
        Case(.revisionSpec, "hostname: abc", "10:7: error: must not set the field(s): spec.template.spec.hostname"),
        Case(.revisionSpec, "subdomain: abc", "10:7: error: must not set the field(s): spec.template.spec.subdomain"),
        Case(.revisionSpec, "priority: 3", "10:7: error: must not set the field(s): spec.template.spec.priority"),
        Case(.revisionSpec, "readinessGates: [{}]", "10:7: error: must not set the field(s): spec.template.spec.readi"),
        Case(
            .revisionSpec, "automountServiceAccountToken: true",
            "10:37: error: must not set the field(s): spec.template.spec.automountServiceAccountToken; only false"),
        Case(
            .revisionSpec, "container: []",
            "10:7: error: spec.template.spec.container: unknown key \"container\"; did you mean `containers`?"),
        Case(
            .revisionSpec, "volumes: [{name: v}, {name: v}]",
            "10:35: error: duplicate volume name \"v\": spec.template.spec.volumes[1].name"),
        Case(
            .revisionSpec, "volumes: [{name: v}]",
            "10:24: error: volume with name \"v\" not mounted: spec.template.spec.volumes[0].name"),
        Case(
            .container, "volumeMounts: [{name: v, mountPath: /x}]",
            "13:31: error: volumeMount has no matching volume: \(c).volumeMounts[0].name"),
        Case(
            .container, "volumeMounts: [{name: v, mountPath: /dev/}]",
            "13:45: error: mountPath \"/dev\" is a reserved path: \(c).volumeMounts[0].mountPath"),
        Case(.container, "volumeMounts: [{name: v, mountPath: /}]", "13:45: error: mountPath \"/\" is a reserved path"),
        Case(
            .container, "volumeMounts: [{name: v, mountPath: /dev/x/../log}]", "13:45: error: mountPath \"/dev/log\" is"
        ),
        Case(
            .container, "volumeMounts: [{name: v, mountPath: x}]", "13:45: error: invalid value: x: \(c).volumeMounts"),
        Case(.container, "volumeMounts: [{name: v}]", "13:24: error: missing field(s): \(c).volumeMounts[0].mountPath"),
        Case(
            .templateMetadata, "name: other-1",
            "9:13: error: invalid value: \"other-1\" must have prefix \"hello-\": spec.template.metadata.name"),
        Case(
            .templateMetadata, "name: Hello-1",
            "9:13: error: invalid value: not a DNS 1035 label: [a DNS-1035 label must consist of lower case"),
        Case(.metadata, "namespace: Big", "5:14: error: invalid value: Big: metadata.namespace"),
        Case(
            .metadata, "annotations: {autoscaling.knative.dev/min-scale: \"1\"}",
            "5:52: error: invalid key name \"autoscaling.knative.dev/min-scale\": metadata.annotations; "
                + "autoscaling annotations must be put under \"spec.template.metadata.annotations\" to work"),
        Case(
            .metadata, "annotations: {serving.knative.dev/rollout-duration: 1.5s}",
            "5:55: error: rollout-duration=1.5s is not at second precision: metadata.annotations.serving"),
        Case(
            .metadata, "annotations: {serving.knative.dev/rollout-duration: \"-1s\"}",
            "5:55: error: rollout-duration=-1s must be positive"),
        Case(
            .metadata, "labels: {a: 1}",
            "5:15: error: metadata.labels.a: expected a string, found the integer 1; quote it: \"1\""),
        Case(
            .metadata, "nmespace: x",
            "5:3: error: metadata.nmespace: unknown key \"nmespace\"; did you mean `namespace`?"),
    ]

    static let traffic: [Case] = [
        Case(.spec, "traffic: [{percent: 90}]", "13:12: error: Traffic targets sum to 90, want 100: spec.traffic"),
        Case(
            .spec, "traffic: [{percent: 50, tag: a}, {percent: 50, tag: a}]",
            "13:55: error: Multiple definitions for \"a\": spec.traffic[0].tag, spec.traffic[1].tag"),
        Case(
            .spec, "traffic: [{percent: 100, latestRevision: true, revisionName: r}]",
            "13:44: error: may not set revisionName \"r\" when latestRevision is true: spec.traffic[0].latestRevision"),
        Case(
            .spec, "traffic: [{percent: 100, latestRevision: false}]",
            "13:44: error: may not set revisionName \"\" when latestRevision is false: spec.traffic[0].latestRevision"),
        Case(.spec, "traffic: [{percent: 101}]", "13:23: error: expected 0 <= 101 <= 100: spec.traffic[0].percent"),
        Case(.spec, "traffic: [{percent: -1}]", "13:23: error: expected 0 <= -1 <= 100: spec.traffic[0].percent"),
        Case(
            .spec, "traffic: [{percent: 100, configurationName: c}]",
            "13:28: error: must not set the field(s): spec.traffic[0].configurationName"),
        Case(
            .spec, "traffic: [{percent: 100, url: x}]", "13:28: error: must not set the field(s): spec.traffic[0].url"),
        Case(
            .spec, "traffic: [{percent: 100, tag: A}]",
            "13:33: error: invalid value: not a DNS 1035 label: [a DNS-1035 label must"),
        Case(
            .spec, "traffic: [{percent: 100, revisionName: a b}]",
            "13:42: error: invalid key name \"a b\": spec.traffic"),
        Case(
            .spec, "traffic: [{percent: \"100\"}]",
            "13:23: error: spec.traffic[0].percent: expected an integer, found the string \"100\""),
        Case(
            .spec, "traffic: [{percent: 9223372036854775807}, {percent: 9223372036854775807}]",
            "13:12: error: Traffic targets sum to 9223372036854775807, want 100: spec.traffic"),
    ]

    @Test(arguments: container + probes + others + traffic)
    func messageAndPlace(of test: Case) {
        let found = messages(manifest(test.extra, at: test.spot))
        #expect(found.contains { $0.hasPrefix("f.yaml:" + test.expected) }, "\(found)")
    }

    /// Fields that need a cluster are named, and the service still runs.
    @Test(arguments: [
        Case(.revisionSpec, "serviceAccountName: x", "10:7: warning: spec.template.spec.serviceAccountName: "),
        Case(.revisionSpec, "imagePullSecrets: [{name: x}]", "10:7: warning: spec.template.spec.imagePullSecrets: "),
        Case(.revisionSpec, "enableServiceLinks: false", "10:7: warning: spec.template.spec.enableServiceLinks: "),
        Case(.revisionSpec, "securityContext: {runAsUser: 1}", "10:7: warning: spec.template.spec.securityContext: "),
        Case(.revisionSpec, "nodeSelector: {a: b}", "10:7: warning: spec.template.spec.nodeSelector: "),
        Case(.revisionSpec, "affinity: {a: b}", "10:7: warning: spec.template.spec.affinity: "),
        Case(.revisionSpec, "tolerations: [{}]", "10:7: warning: spec.template.spec.tolerations: "),
        Case(.revisionSpec, "initContainers: [{}]", "10:7: warning: spec.template.spec.initContainers: "),
        Case(.revisionSpec, "hostNetwork: true", "10:7: warning: spec.template.spec.hostNetwork: "),
        Case(.revisionSpec, "dnsConfig: {a: b}", "10:7: warning: spec.template.spec.dnsConfig: "),
        Case(.container, "resources: {limits: {cpu: 1}}", "13:9: warning: \(c).resources: "),
        Case(.container, "securityContext: {a: b}", "13:9: warning: \(c).securityContext: "),
        Case(.container, "imagePullPolicy: Always", "13:9: warning: \(c).imagePullPolicy: "),
        Case(.container, "envFrom: [{secretRef: {name: x}}]", "13:9: warning: \(c).envFrom: "),
        Case(.container, "env: [{name: A, valueFrom: {secretKeyRef: {}}}]", "13:25: warning: \(c).env[0].valueFrom: "),
        Case(.container, "livenessProbe: {httpGet: {host: x}}", "13:35: warning: \(c).livenessProbe.httpGet.host: "),
    ])
    func clusterFieldsWarn(of test: Case) {
        let result = load(manifest(test.extra, at: test.spot))
        let expected = "f.yaml:" + test.expected + "has no effect on one machine; "
        #expect(result.diagnostics.count == 1)
        #expect(result.diagnostics.first?.description.hasPrefix(expected) == true, "\(result.diagnostics)")
        #expect(result.services.count == 1)
    }

    @Test func volumesWarnAndRun() {
        let text = manifest("volumeMounts: [{name: v, mountPath: /x}]") + "      volumes: [{name: v, secret: {}}]\n"
        let result = load(text)
        #expect(result.diagnostics.map(\.severity) == [.warning, .warning])
        #expect(result.diagnostics.map(\.key) == [Self.c + ".volumeMounts", "spec.template.spec.volumes"])
        #expect(result.services.count == 1)
    }

    /// What `kubectl get -o yaml` prints can be run: what the cluster wrote is skipped, empty values say nothing.
    @Test func exportedFieldsAreSilent() {
        let extra = "creationTimestamp: null\nuid: x\nresourceVersion: \"1\"\ngeneration: 3\nmanagedFields: [{}]"
        #expect(messages(manifest(extra, at: .metadata) + "status: {url: http://x}\n") == [])
        #expect(messages(manifest("resources: {}\nstdin: false\nlifecycle: null\nvolumeMounts: []")) == [])
    }

    @Test func everyProblemAtOnceSortedByPlace() {
        let first = manifest("tty: true\nenv: [{name: PORT}]") + "  traffic: [{percent: 1}]\n"
        let sources = [("b.yaml", Array(first.utf8)), ("a.yaml", Array(manifest("nam: x").utf8))]
        let found = ManifestLoader.load(sources: sources).diagnostics
        #expect(found.map { "\($0.file):\($0.line)" } == ["b.yaml:13", "b.yaml:14", "b.yaml:15", "a.yaml:13"])
    }
}
