import Primitives
import Testing

@testable import Knative

/// Objects of clusters: read from what `kubectl` prints, written and read back.
@Suite struct ClusterObjectTests {
    private func load(_ text: String, file: String = "a.yaml") -> ClusterFile {
        ClusterLoader.load(file: file, text: Array(text.utf8))
    }

    /// What is written is read back equal, whatever its texts hold.
    @Test(arguments: ObjectKind.allCases) func writtenObjectsAreReadBack(kind: ObjectKind) throws {
        for seed in UInt64(0)..<400 {
            var objects = RandomObjects(seed: seed)
            let object = objects.object(kind)
            let line = object.json
            #expect(!line.contains(UInt8(ascii: "\n")) && line.allSatisfy { $0 >= 0x20 }, "seed \(seed)")
            let file = ClusterLoader.load(file: "a.json", text: line)
            let problems = file.diagnostics.filter { $0.severity == .error }
            #expect(file.objects.map(\.object) == [object] && problems.isEmpty, "seed \(seed): \(problems)")
        }
    }

    /// Every kind of line comes back as it was.
    @Test func linesAreReadBack() throws {
        for seed in UInt64(0)..<300 {
            var objects = RandomObjects(seed: seed)
            let object = objects.object(objects.pick(ObjectKind.allCases))
            let messages: [LinkMessage] = [
                .watch(Set(ObjectKind.allCases.filter { _ in objects.flag() })), .apply(object), .added(object),
                .modified(object), .deleted(object.kind, object.name), .bookmark, .explain(objects.text()),
                .text([objects.text(), objects.text()]), .error(objects.text()),
            ]
            for message in messages {
                let line = message.line
                #expect(line.last == 10 && !line.dropLast().contains(10))
                #expect(try LinkMessage(line: Array(line.dropLast())) == message, "seed \(seed)")
            }
        }
    }

    /// Escapes that other writers of JSON use, pairs of surrogates among them.
    @Test(
        arguments: [
            (#"\ud83d\ude00"#, "😀"), (#"\uD83D"#, "\u{FFFD}"), (#"\ude00x"#, "\u{FFFD}x"), (#"\ud83dA"#, "\u{FFFD}A"),
            (#"\\ud83d"#, #"\ud83d"#), (#"a\/b\b\f\n\r\t"#, "a/b\u{8}\u{C}\n\r\t"), (#"\u0000\u001f"#, "\u{0}\u{1F}"),
            ("\u{7F}\u{85}\u{2028}\u{2029}\u{FEFF}\u{FFFF}", "\u{7F}\u{85}\u{2028}\u{2029}\u{FEFF}\u{FFFF}"),
            (#"\\\ud83d\ude00\\"#, "\\😀\\"),
        ])
    func escapesOfJSON(written: String, read: String) throws {
        let line = #"{"type":"EXPLAIN","name":""# + written + #""}"#
        #expect(try LinkMessage(line: Array(line.utf8)) == .explain(read))
    }

    /// A revision with thousands of addresses passes.
    @Test func bigObjects() throws {
        var endpoints = ClusterEndpoints(name: ObjectName(namespace: "ns", name: "big-private"))
        let ports: [String: UInt16] = ["http": 8012, "http2": 8013, "https": 8112]
        for index in UInt32(0)..<20_000 {
            endpoints.addresses.append(
                .init(ip: 0x7F00_0000 + index, isReady: index % 3 > 0, podName: "pod-\(index)", ports: ports))
        }
        endpoints.addresses.sort { $0.isReady && !$1.isReady }
        let line = LinkMessage.added(.endpoints(endpoints)).line
        #expect(line.count < LinkMessage.lineBytes)
        #expect(try LinkMessage(line: Array(line.dropLast())) == .added(.endpoints(endpoints)))
    }

    // MARK: - What kubectl prints

    static let revision = """
        apiVersion: serving.knative.dev/v1
        kind: Revision
        metadata:
          annotations: {autoscaling.knative.dev/target: "7"}
          creationTimestamp: "2026-11-21T10:00:00Z"
          generation: 1
          labels:
            serving.knative.dev/configuration: hello
            serving.knative.dev/service: hello
          managedFields: [{manager: controller, fieldsV1: {"f:spec": {}}}]
          name: hello-00001
          namespace: demo
          ownerReferences: [{kind: Configuration, name: hello}]
          resourceVersion: "81"
          uid: 0b0c
        spec:
          containerConcurrency: 3
          containers:
          - image: sidecar
            name: side
          - image: ghcr.io/x
            name: user-container
            ports: [{containerPort: 8080, name: h2c, protocol: TCP}]
            readinessProbe: {successThreshold: 1, tcpSocket: {port: 0}}
            resources: {}
          enableServiceLinks: false
          idleTimeoutSeconds: 9
          timeoutSeconds: 60
        status: {actualReplicas: 1, conditions: [{status: "True", type: Ready}], observedGeneration: 1}
        """

    @Test func revisionOfACluster() throws {
        let file = load(Self.revision)
        var expected = ClusterRevision(name: ObjectName(namespace: "demo", name: "hello-00001"))
        (expected.uid, expected.service, expected.configuration) = ("0b0c", "hello", "hello")
        expected.annotations = ["autoscaling.knative.dev/target": "7"]
        (expected.containerConcurrency, expected.timeoutSeconds, expected.idleTimeoutSeconds) = (3, 60, 9)
        expected.containerProtocol = .h2c
        #expect(file.objects.map(\.object) == [.revision(expected)])
        #expect(file.diagnostics == [])
    }

    /// A pod may be used early unless something other than its queue-proxy decides about its readiness.
    @Test(
        arguments: [
            ("", true), ("readinessProbe: {httpGet: {port: 1}}", true),
            ("readinessProbe: {exec: {command: [a]}}", false),
            ("startupProbe: {tcpSocket: {port: 1}}", false),
        ])
    func earlyPods(probe: String, isEarly: Bool) throws {
        let text = """
            apiVersion: serving.knative.dev/v1
            kind: Revision
            metadata: {name: a}
            spec: {containers: [{image: x, \(probe)}]}
            """
        guard case .revision(let revision)? = load(text).objects.first?.object else { throw Missing() }
        #expect(revision.allowsEarlyPods == isEarly)
        #expect(revision.name.namespace == "default" && revision.timeoutSeconds == 300)
    }

    @Test func endpointsOfACluster() throws {
        let text = """
            apiVersion: v1
            kind: List
            items:
            - apiVersion: v1
              kind: Endpoints
              metadata: {name: hello-00001-private, namespace: demo, labels: {a: b}}
              subsets:
              - addresses: [{ip: 10.0.0.1, nodeName: n, targetRef: {kind: Pod, name: p1, namespace: demo, uid: u}}]
                notReadyAddresses: [{ip: 10.0.0.2}]
                ports: [{name: http, port: 8012, protocol: TCP}, {name: dns, port: 53, protocol: UDP}]
              - addresses: [{ip: "fd00::1"}, {ip: 10.0.0.3}]
                ports: [{name: http2, port: 8013}]
            - {apiVersion: v1, kind: Service, metadata: {name: s}, spec: {clusterIP: None, clusterIPs: [None]}}
            - {apiVersion: v1, kind: Secret, metadata: {name: s}}
            - {apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: s}}
            """
        let file = load(text)
        let name = ObjectName(namespace: "demo", name: "hello-00001-private")
        let expected = ClusterEndpoints(
            name: name,
            addresses: [
                .init(ip: 0x0A00_0001, isReady: true, podName: "p1", ports: ["http": 8012]),
                .init(ip: 0x0A00_0002, isReady: false, ports: ["http": 8012]),
                .init(ip: 0x0A00_0003, isReady: true, ports: ["http2": 8013]),
            ])
        let service = ClusterService(name: ObjectName(namespace: "default", name: "s"))
        #expect(file.objects.map(\.object) == [.endpoints(expected), .service(service)])
        #expect(!file.diagnostics.hasErrors && file.diagnostics.count == 3, "\(file.diagnostics)")
    }

    @Test func podsTimesAndConditions() throws {
        let text = """
            apiVersion: v1
            kind: Pod
            metadata: {name: p, deletionTimestamp: "2026-11-21T10:00:00Z", labels: {serving.knative.dev/revision: r}}
            status:
              phase: Running
              podIP: 10.1.2.3
              podIPs: [{ip: 10.1.2.3}]
              startTime: "2026-11-21T12:00:00.5+02:00"
              conditions: [{type: Initialized, status: "True"}, {type: Ready, status: "False", reason: x}]
            ---
            apiVersion: networking.internal.knative.dev/v1alpha1
            kind: ServerlessService
            metadata: {name: r}
            spec: {mode: Proxy, numActivators: 3, objectRef: {name: x}}
            status:
              conditions:
              - {type: ActivatorEndpointsPopulated, status: "True", lastTransitionTime: "1970-01-01T00:01:40Z"}
            """
        let file = load(text)
        var pod = ClusterPod(name: ObjectName(namespace: "default", name: "p"), revision: "r")
        (pod.ip, pod.isRunning, pod.isTerminating, pod.startedAt) = (0x0A01_0203, true, true, 1_795_255_200)
        var service = ServerlessService(name: ObjectName(namespace: "default", name: "r"))
        (service.activatorCount, service.proxySince) = (3, 100)
        #expect(file.objects.map(\.object) == [.pod(pod), .serverlessService(service)])
        #expect(file.diagnostics == [])
    }

    // MARK: - Problems

    /// All problems of a file are told at once, each with its place and what is allowed.
    @Test func problemsAreToldAtOnce() {
        let text = """
            apiVersion: serving.knative.dev/v1
            kind: Revision
            metadata: {name: Hello, labels: [1]}
            spec:
              containerConcurency: 3
              timeoutSeconds: "60"
            ---
            apiVersion: serving.knative.dev/v1beta1
            kind: Revision
            metadata: {name: a}
            ---
            apiVersion: v1
            kind: Endpoints
            metadata: {name: e}
            subsets: [{addresses: [{ip: 10.0.0.256}], ports: [{port: 70000}]}]
            ---
            apiVersion: v1
            kind: Pood
            metadata: {name: p}
            """
        let lines = load(text).diagnostics.map(\.description)
        let expected = [
            "a.yaml:3:18: error: metadata.name: \"Hello\" is no name of an object; lower case letters",
            "a.yaml:3:33: error: metadata.labels: expected a mapping, found a list",
            "a.yaml:5:3: warning: spec.containerConcurency: unknown key \"containerConcurency\", skipped; did",
            "a.yaml:6:19: error: spec.timeoutSeconds: expected an integer, found the string \"60\"",
            "a.yaml:8:13: error: apiVersion: Revision of \"serving.knative.dev/v1beta1\" is not supported; write s",
            "a.yaml:15:58: error: expected 1 <= 70000 <= 65535: subsets[0].ports[0].port",
            "a.yaml:15:29: error: subsets[0].addresses[0].ip: \"10.0.0.256\" is no address; an IPv4 address",
            "a.yaml:18:7: warning: objects of kind \"Pood\" are skipped; did you mean `Pod`?",
        ]
        for text in expected { #expect(lines.contains { $0.hasPrefix(text) }, "\(text)\nin \(lines)") }
        #expect(lines.count == expected.count)
        #expect(load(text).objects.isEmpty)
    }

    /// Wrong values of an Ingress.
    @Test(
        arguments: [
            ("rules: [{http: {paths: [{splits: [{serviceName: a, percent: 40}]}]}}]", "percents sum to 40"),
            ("rules: [{http: {paths: [{splits: []}]}}]", "has no splits"),
            ("rules: [{hosts: [a]}]", "has no http.paths"),
            ("rules: [{visibility: Public, http: {paths: [{splits: [{serviceName: a}]}]}}]", "unknown visibility"),
            ("rules: [{http: {paths: [{splits: [{percent: 100}]}]}}]", "has no serviceName"),
            ("rules: [{http: {paths: [{headers: {a: b}, splits: [{serviceName: a}]}]}}]", "expected a mapping"),
        ])
    func problemsOfIngresses(spec: String, problem: String) {
        let head = "apiVersion: networking.internal.knative.dev/v1alpha1\nkind: Ingress\nmetadata: {name: i}\n"
        let file = load(head + "spec: {\(spec)}\n")
        #expect(file.objects.isEmpty)
        #expect(file.diagnostics.contains { $0.problem.contains(problem) }, "\(file.diagnostics)")
    }

    /// A split of one needs no percent, a port may have a name, a namespace is that of the Ingress.
    @Test func defaultsOfIngresses() {
        let file = load(
            """
            apiVersion: networking.internal.knative.dev/v1alpha1
            kind: Ingress
            metadata: {name: i, namespace: demo}
            spec: {rules: [{hosts: [a.b], http: {paths: [{splits: [{serviceName: r, servicePort: http}]}]}}]}
            """)
        let split = ClusterIngress.Split(service: ObjectName(namespace: "demo", name: "r"))
        let rule = ClusterIngress.Rule(hosts: ["a.b"], paths: [.init(splits: [split])])
        let name = ObjectName(namespace: "demo", name: "i")
        #expect(file.objects.map(\.object) == [.ingress(ClusterIngress(name: name, rules: [rule]))])
    }

    // MARK: - Lines

    @Test(
        arguments: [
            ("", "holds no JSON object"), ("{", "invalid YAML"), ("[]", "expected a mapping"), ("{}", "has no type"),
            (#"{"type":"APPLY"}"#, "has no object"), (#"{"type":"WATCH","kinds":["Pods"]}"#, "did you mean `Pod`?"),
            (#"{"type":"APPLY","object":{"kind":"Pod"}}"#, "has no apiVersion"),
            (#"{"type":"DELETED","object":{"kind":"Pod"}}"#, "names no object"), (#"{"type":1}"#, "expected a string"),
            (#"{"type":"WATCH","type":"WATCH"}"#, "already set"),
        ])
    func linesThatAreRefused(line: String, problem: String) {
        let error = #expect(throws: LinkProblem.self) { try LinkMessage(line: Array(line.utf8)) }
        #expect(error?.description.contains(problem) == true, "\(String(describing: error))")
    }

    /// A later version may say more: that is passed over.
    @Test func linesForOthers() throws {
        #expect(try LinkMessage(line: Array(#"{"type":"HELLO"}"#.utf8)) == nil)
        let secret = #"{"type":"ADDED","object":{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}}"#
        #expect(try LinkMessage(line: Array(secret.utf8)) == nil)
    }

    /// Mutated lines end with a message or a problem, never with a trap.
    @Test func mutatedLinesNeverTrap() {
        var read = 0, refused = 0
        for seed in UInt64(0)..<4_000 {
            var objects = RandomObjects(seed: seed)
            let object = objects.object(objects.pick(ObjectKind.allCases))
            var line = (objects.flag() ? LinkMessage.apply(object) : .added(object)).line
            for _ in 0...objects.number(4) {
                let place = objects.number(UInt64(line.count))
                switch objects.number(4) {
                case 0: line[place] = UInt8(truncatingIfNeeded: objects.random.next())
                case 1: line.remove(at: place)
                case 2: line.insert(contentsOf: objects.pick(FuzzTests.tokens), at: place)
                default: line.removeSubrange(place..<min(line.count, place + objects.number(30)))
                }
                if line.isEmpty { line = [UInt8(ascii: "{")] }
            }
            do { if try LinkMessage(line: line) != nil { read += 1 } } catch { refused += 1 }
            _ = ClusterLoader.load(file: "a.yaml", text: line)
        }
        #expect(read > 100 && refused > 1_000, "\(read) read, \(refused) refused")
    }

    // MARK: - Times

    @Test(
        arguments: [
            ("1970-01-01T00:00:00Z", 0), ("2000-02-29T23:59:59Z", 951_868_799), ("1969-12-31T23:59:59Z", -1),
            ("2026-11-21T17:05:19+02:00", 1_795_273_519), ("0001-01-01T00:00:00Z", -62_135_596_800),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799),
        ])
    func times(text: String, seconds: Int64) {
        #expect(RFC3339.seconds(text) == seconds)
        #expect(RFC3339.seconds(RFC3339.text(seconds)) == seconds)
    }

    @Test(arguments: ["", "now", "2026-11-21", "2026-13-01T00:00:00Z", "2026-11-21T17:05:19", "2026-11-21T17:05:19+2"])
    func noTimes(text: String) { #expect(RFC3339.seconds(text) == nil) }

    private struct Missing: Error {}
}
