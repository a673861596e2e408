import Testing

@testable import Knative

@Suite struct LoaderTests {
    /// The sample of Knative's documentation, unchanged.
    static let hello = """
        apiVersion: serving.knative.dev/v1
        kind: Service
        metadata:
          name: hello
        spec:
          template:
            spec:
              containers:
                - image: ghcr.io/knative/helloworld-go:latest
                  ports:
                    - containerPort: 8080
                  env:
                    - name: TARGET
                      value: "World"

        """

    static func options(_ argument: String) throws -> LoadOptions {
        let mapping = try ImageMapping.parse(argument)
        var options = LoadOptions()
        options.images[mapping.reference] = mapping.command
        return options
    }

    @Test(arguments: [
        "ghcr.io/knative/helloworld-go:latest=./hello --port 1", "ghcr.io/knative/helloworld-go=./hello --port 1",
    ])
    func helloSampleRunsByMapping(argument: String) throws {
        let result = load(Self.hello, try Self.options(argument))
        #expect(result.diagnostics == [])
        let service = try #require(result.services.first)
        #expect(service.serviceName == ServiceName(name: "hello"))
        #expect(service.traffic == [.latest])
        let template = service.template
        #expect(template.containerConcurrency == 0)
        #expect(template.timeoutSeconds == 300)
        #expect(template.responseStartTimeoutSeconds == nil)
        #expect(template.idleTimeoutSeconds == nil)
        let container = template.container
        #expect(container.name == "user-container")
        #expect(container.port.containerPort == 8080)
        #expect(container.launch == ["./hello", "--port", "1"])
        #expect(container.env == [EnvironmentVariable(name: "TARGET", value: "World")])
        #expect(container.readinessProbe == .defaultReadiness)
        #expect(container.readinessProbe.handler == .tcpSocket(port: nil))
        #expect(container.readinessProbe.periodSeconds == 0)
        #expect(container.livenessProbe == nil)
    }

    @Test func withoutCommandOrMappingSaysWhatToDo() {
        #expect(
            messages(Self.hello) == [
                "f.yaml:9:18: error: spec.template.spec.containers[0].image: nothing says what image "
                    + "\"ghcr.io/knative/helloworld-go:latest\" runs: there is no command and no --image for it; set "
                    + "spec.template.spec.containers[0].command, or start with "
                    + "--image ghcr.io/knative/helloworld-go:latest=COMMAND"
            ])
    }

    /// Which mapping an image takes: its own text, then an equal reference, then its repository without tag.
    @Test(arguments: [
        ("nginx", ["nginx": "a"], "a"), ("nginx", ["docker.io/library/nginx:latest": "a"], "a"),
        ("index.docker.io/library/nginx", ["nginx": "a"], "a"), ("nginx:1", ["nginx": "a"], "a"),
        ("nginx:1", ["nginx": "a", "nginx:1": "b"], "b"), ("nginx", ["nginx:1": "a"], nil),
        ("r.io/x/y@sha256:" + String(repeating: "a", count: 64), ["r.io/x/y": "a"], "a"),
        ("r.io/x/y", ["s.io/x/y": "a"], nil),
    ])
    func mappings(image: String, map: [String: String], expected: String?) {
        var options = LoadOptions()
        options.images = map.mapValues { [$0] }
        #expect(options.command(forImage: image) == expected.map { [$0] })
    }

    @Test func unusedMappingsAreNamed() throws {
        let result = load(manifest(), try Self.options("ghcr.io/knative/helloworld=./hello"))
        #expect(
            result.diagnostics.map(\.description) == [
                "--image: warning: ghcr.io/knative/helloworld: no service has this image; write it as the manifest does"
            ])
    }

    @Test func commandAndArguments() {
        let service = load(manifest("args: [-v, x]")).services.first
        #expect(service?.template.container.launch == ["hello", "-v", "x"])
    }

    @Test func defaultsThatDependOnOthers() {
        let template = load(manifest("timeoutSeconds: 600\nidleTimeoutSeconds: 30", at: .revisionSpec)).services.first?
            .template
        #expect(template?.timeoutSeconds == 600)
        #expect(template?.responseStartTimeoutSeconds == 300)
        #expect(template?.idleTimeoutSeconds == 30)
        let zeros = load(manifest("timeoutSeconds: 0\nresponseStartTimeoutSeconds: 0", at: .revisionSpec)).services
            .first
        #expect(zeros?.template.timeoutSeconds == 300)
        #expect(zeros?.template.responseStartTimeoutSeconds == nil)
        let port = load(manifest("ports: [{containerPort: 0, name: h2c}]")).services.first?.template.container.port
        #expect(port?.containerPort == 8080)
        #expect(port?.isH2C == true)
    }

    /// The name of the container port is the only word about the protocol, and these are all the words.
    @Test(arguments: [
        ("ports: [{containerPort: 8080}]", "", false), ("ports: [{name: \"\"}]", "", false),
        ("ports: [{name: http1}]", "http1", false), ("ports: [{name: h2c}]", "h2c", true), ("args: [x]", "", false),
    ])
    func portNames(text: String, name: String, isH2C: Bool) {
        let result = load(manifest(text))
        #expect(result.diagnostics.isEmpty, "\(result.diagnostics)")
        #expect(result.services.first?.template.container.port.name == name)
        #expect(result.services.first?.template.container.port.isH2C == isH2C)
    }

    @Test(arguments: ["http", "http2", "H2C", "user-port", "grpc", "tcp"])
    func otherPortNamesAreRefused(name: String) {
        let path = "spec.template.spec.containers[0].ports"
        #expect(
            messages(manifest("ports: [{name: \(name)}]")) == [
                "f.yaml:13:24: error: Port name \(name) is not allowed: \(path); "
                    + "Name must be empty, or one of: 'h2c', 'http1'"
            ])
    }

    /// A probe says `http` of a port without a name, else the port's name; nothing means the container's port.
    @Test func probesNameTheirPort() {
        func handler(_ port: String, _ probe: String) -> Probe.Handler? {
            load(manifest("\(port)\nreadinessProbe: \(probe)")).services.first?.template.container.readinessProbe
                .handler
        }
        let h2c = "ports: [{name: h2c, containerPort: 9000}]"
        #expect(handler(h2c, "{tcpSocket: {port: h2c}}") == .tcpSocket(port: nil))
        #expect(handler(h2c, "{grpc: {}}") == .grpc(port: nil, service: ""))
        #expect(handler(h2c, "{grpc: {port: 9000, service: a.B}}") == .grpc(port: nil, service: "a.B"))
        #expect(handler(h2c, "{grpc: {port: 0}}") == .grpc(port: nil, service: ""))
        #expect(handler("args: [x]", "{tcpSocket: {port: http}}") == .tcpSocket(port: nil))
        #expect(handler(h2c, "{tcpSocket: {port: http}}") == nil, "the port is named h2c")
    }

    @Test func probesWithDefaults() {
        let text = """
            ports: [{containerPort: 9000}]
            readinessProbe:
              httpGet: {path: healthz, port: 9000, httpHeaders: [{name: A, value: b c}]}
              periodSeconds: 5
            livenessProbe: {grpc: {port: 9001, service: s}, initialDelaySeconds: 2}
            startupProbe: {exec: {command: [test, -f, x]}, failureThreshold: 30}
            """
        let container = load(manifest(text)).services.first?.template.container
        let header = Probe.Header(name: "A", value: "b c")
        #expect(
            container?.readinessProbe.handler == .httpGet(path: "/healthz", port: nil, scheme: .http, headers: [header])
        )
        #expect(container?.readinessProbe.periodSeconds == 5)
        #expect(container?.readinessProbe.failureThreshold == 3)
        #expect(container?.readinessProbe.timeoutSeconds == 1)
        #expect(container?.livenessProbe?.handler == .grpc(port: 9001, service: "s"))
        #expect(container?.livenessProbe?.initialDelaySeconds == 2)
        #expect(container?.livenessProbe?.periodSeconds == 10)
        #expect(container?.startupProbe?.handler == .exec(command: ["test", "-f", "x"]))
        #expect(container?.startupProbe?.failureThreshold == 30)
        let named = load(manifest("readinessProbe: {tcpSocket: {port: http}}")).services.first
        #expect(named?.template.container.readinessProbe == .defaultReadiness)
    }

    static let head = "apiVersion: serving.knative.dev/v1\nkind: Service\n"

    @Test(arguments: [
        (
            "apiVersion: v1\nkind: Service\n",
            "1:13: error: apiVersion: Service of v1 is not supported; a Knative Service is"
        ),
        (
            "apiVersion: serving.knative.dev/v1beta1\nkind: Service\n",
            "1:13: error: apiVersion: Service of serving.knative.dev/v1beta1 is not supported; a Knative Service is of "
                + "apiVersion serving.knative.dev/v1"
        ),
        (
            "apiVersion: apps/v1\nkind: Deployment\n",
            "2:7: error: kind: Deployment of apps/v1 is not supported; supported: Service of serving.knative.dev/v1"
        ),
        (
            "apiVersion: serving.knative.dev/v1\nkind: Sevice\n",
            "2:7: error: kind: Sevice of serving.knative.dev/v1 is not supported; did you mean `Service`?"
        ),
        (
            "apiVersion: serving.knative.dev/v1\nkind: Route\n",
            "2:7: error: kind: Route of serving.knative.dev/v1 is not"
        ),
        ("kind: Service\n", "1:1: error: missing field(s): apiVersion; write apiVersion: serving.knative.dev/v1"),
        ("apiVersion: serving.knative.dev/v1\n", "1:1: error: missing field(s): kind; write kind: Service"),
        ("kind: 1\napiVersion: 2\n", "1:7: error: kind: expected a string, found the integer 1"),
        ("- a\n", "1:1: error: expected a mapping, found a list"),
        ("", "1:1: warning: the file holds no document"),
        (
            "\(head)",
            "1:1: error: name or generateName is required: metadata.name"
        ),
        (
            "\(head)",
            "1:1: error: missing field(s): spec.template.spec.containers"
        ),
        (
            "\(head)metadata: {name: Hello}\n",
            "3:18: error: invalid value: not a DNS 1035 label: [a DNS-1035 label must consist of lower case "
                + "alphanumeric characters or '-', start with an alphabetic character, and end with an "
                + "alphanumeric character (e.g. "
                + "'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')]: metadata.name"
        ),
        (
            "\(head)metadata: {name: \(String(repeating: "a", count: 64))}\n",
            "3:18: error: invalid value: not a DNS 1035 label: [must be no more than 63 characters]: metadata.name"
        ),
        (
            "\(head)metadata: {generateName: x-}\n",
            "3:26: error: metadata.generateName: needs a cluster; set metadata.name"
        ),
        (
            "\(head)spec: {template: {spec: {containers: []}}}\n",
            "3:25: error: missing field(s): spec.template.spec.containers"
        ),
        (
            "\(head)spec: {template: {spec: {containers: [{}]}}}\n",
            "3:39: error: missing field(s): spec.template.spec.containers[0].image; name an image"
        ),
        (
            "\(head)spec: {template: {spec: {containers: [{image: A B}]}}}\n",
            "3:47: error: Failed to parse image reference: spec.template.spec.containers[0].image; "
                + "image: \"A B\", error: could not parse reference: A B"
        ),
        (
            "\(head)spec: {template: {spec: {containers: [{image: a}, {image: b}]}}}\n",
            "3:51: error: spec.template.spec.containers: multi-container is off, but found 2 containers; several"
        ),
    ])
    func documents(text: String, expected: String) {
        let found = messages(text)
        #expect(found.contains { $0.hasPrefix("f.yaml:" + expected) }, "\(found)")
    }

    @Test func listOfServices() {
        let items = [manifest(), manifest("tty: true")].map { text in
            text.split(separator: "\n").enumerated().map { ($0.offset == 0 ? "- " : "  ") + $0.element }.joined(
                separator: "\n")
        }
        let result = load("apiVersion: v1\nkind: List\nitems:\n" + items.joined(separator: "\n") + "\n")
        #expect(result.services.map(\.metadata.name) == ["hello"])
        #expect(result.diagnostics.map(\.line) == [28])
        #expect(
            messages("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List}]\n").first?.contains(
                "a List inside a List") == true)
    }

    @Test func jsonIsYAML() {
        let text = #"""
            {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "j"},
             "spec": {"template": {"spec": {"containers": [{"image": "a/b", "command": ["x"]}]}}}}
            """#
        #expect(load(text).services.map(\.metadata.name) == ["j"])
    }

    @Test(arguments: [
        ("nginx", true), ("nginx:1.2", true), ("gcr.io/a/b:latest", true), ("localhost:5000/a", false),
        ("localhost:5000/ab", true), ("ko://example.com/cmd", true), ("a/b@sha256:abc", false), ("", false),
        ("x", false),
        ("Nginx", false), ("nginx:", false), ("nginx:a b", false), ("nginx@", false), ("a//b", true),
        ("gcr.io/", false),
    ])
    func imageReferences(text: String, isValid: Bool) {
        #expect((ImageReference(text) != nil) == isValid)
    }

    @Test(arguments: [
        ("a/b=x", "a/b", ["x"]), ("a/b=x  y\tz ", "a/b", ["x", "y", "z"]),
        ("a/b='x y' \"z w\"", "a/b", ["x y", "z w"]),
        ("a/b=x\\ y", "a/b", ["x y"]), ("a/b=\"a\\\"b\\n\"", "a/b", ["a\"b\\n"]), ("a/b='a\\'", "a/b", ["a\\"]),
        ("a/b=x ''", "a/b", ["x", ""]), ("a/b=x a=b", "a/b", ["x", "a=b"]),
        ("a/b=pre'mid'\"post\"", "a/b", ["premidpost"]),
    ])
    func imageArguments(text: String, reference: String, command: [String]) throws {
        let mapping = try ImageMapping.parse(text)
        #expect(mapping.reference == reference)
        #expect(mapping.command == command)
    }

    @Test(arguments: ["nothing", "=x", "A B=x", "a/b=", "a/b=  ", "a/b='x", "a/b=\"x", "a/b=x\\"])
    func imageArgumentsRefused(text: String) {
        #expect(throws: ImageMapping.Failure.self) { try ImageMapping.parse(text) }
    }

    @Test func serviceOfACommandLine() throws {
        let service = try ServiceObject.make(name: "hello", command: ["python3", "app.py"])
        #expect(service.template.container.launch == ["python3", "app.py"])
        #expect(service.template.container.readinessProbe == .defaultReadiness)
        #expect(service.hosts(domain: "example.com").first?.host == "hello.default.example.com")
        let refused: [(String, [String], [String: String], String)] = [
            ("Hello", ["x"], [:], "command line: error: invalid value: not a DNS 1035 label"),
            ("hello", [], [:], "command line: error: command: nothing to run"),
            (
                "hello", ["x"], ["autoscaling.knative.dev/min-scale": "-1"],
                "command line: error: expected 0 <= -1 <= 2147483647: annotations.autoscaling.knative.dev/min-scale"
            ),
        ]
        for (name, command, annotations, expected) in refused {
            let error = #expect(throws: Diagnostic.self) {
                try ServiceObject.make(name: name, command: command, annotations: annotations)
            }
            #expect(error?.description.hasPrefix(expected) == true)
        }
    }
}

@Suite struct ExpansionTests {
    /// Kubernetes' rules, its own examples among them.
    @Test(arguments: [
        ("$(A)", "1"), ("x$(A)y$(B)z", "x1y2z"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$(C)", "$(C)"), ("$A", "$A"),
        ("$", "$"), ("$$", "$"), ("$(A", "$(A"), ("$(A$$", "$(A$"), ("$()", "$()"), ("$($(A))", "$($(A))"),
        ("a$", "a$"),
        ("$(ä)", "ü"), ("", ""),
    ])
    func references(text: String, expected: String) {
        #expect(expandReferences(text, ["A": "1", "B": "2", "ä": "ü"]) == expected)
    }

    @Test func processCommandExpandsInOrder() {
        var container = Container()
        container.env = [
            EnvironmentVariable(name: "LATE", value: "$(B)"), EnvironmentVariable(name: "B", value: "b"),
            EnvironmentVariable(name: "C", value: "$(B)-$(PORT)"), EnvironmentVariable(name: "B", value: "$(B)2"),
        ]
        container.launch = ["app", "--port", "$(PORT)", "$(B)", "$(K_REVISION)"]
        container.workingDir = "/srv"
        let command = container.processCommand(platform: [
            EnvironmentVariable(name: "PORT", value: "8081"), EnvironmentVariable(name: "K_REVISION", value: "r"),
        ])
        #expect(command.arguments == ["app", "--port", "8081", "b2", "r"])
        #expect(command.workingDirectory == "/srv")
        let values = command.environment.map { "\($0.name)=\($0.value)" }
        #expect(values == ["LATE=$(B)", "B=b2", "C=b-$(PORT)", "PORT=8081", "K_REVISION=r"])
    }

    /// References to references double: 2^40 bytes must be refused, not tried.
    @Test func referenceBombIsRefused() {
        let lines = (1...40).map { "{name: A\($0), value: \"$(A\($0 - 1))$(A\($0 - 1))\"}" }
        let text = manifest("env: [{name: A0, value: x}, \(lines.joined(separator: ", "))]")
        #expect(messages(text).first?.contains("expands to more than 1048576 bytes") == true)
    }
}
