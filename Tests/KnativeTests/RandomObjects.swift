import Knative
import Primitives

/// Objects by seed, with texts that are hard to write.
struct RandomObjects {
    var random: SeededRandom

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    static let texts = [
        "plain", "", "with \"quotes\" and \\ backslash", "line\nend\r\n\ttab", "null", "true", "12", "0x1F", "~", "- a",
        "a: b", "#", "ünï ☃ 😀", "\u{0}\u{1}\u{7F}\u{85}\u{9F}", "\u{2028}\u{2029}\u{FEFF}\u{FFFE}", "{\"a\":[1]}",
        " leading and trailing ", "\\u0041\\", "<<", "*a", "&a", "!!int 1", "\u{10FFFF}", "\\ud83d",
    ]

    mutating func pick<Element>(_ list: [Element]) -> Element { list[Int(random.next() % UInt64(list.count))] }
    mutating func flag() -> Bool { random.next() % 2 == 0 }
    mutating func number(_ bound: UInt64 = 2_000_000_000) -> Int { Int(random.next() % bound) }
    mutating func text() -> String { pick(Self.texts) + pick(Self.texts) }
    mutating func filled() -> String { "x" + text() }
    mutating func address() -> UInt32 { UInt32(truncatingIfNeeded: random.next()) }
    mutating func port() -> UInt16 { UInt16(1 + random.next() % 65_535) }
    mutating func time() -> Int64 { Int64(random.next() % 315_537_897_600) - 62_135_596_800 }

    mutating func name() -> ObjectName {
        let name = pick(["hello", "hello-00001", "a.b", "9"]) + "\(number(50))"
        return ObjectName(namespace: pick(["default", "ns-1", "a"]), name: name)
    }

    mutating func strings() -> [String: String] {
        var result: [String: String] = [:]
        for _ in 0..<number(4) { result[filled()] = text() }
        return result
    }

    mutating func object(_ kind: ObjectKind) -> ClusterObject {
        switch kind {
        case .revision: .revision(revision())
        case .endpoints: .endpoints(endpoints())
        case .service: .service(service())
        case .pod: .pod(pod())
        case .ingress: .ingress(ingress())
        case .podAutoscaler: .podAutoscaler(podAutoscaler())
        case .serverlessService: .serverlessService(serverlessService())
        case .scale: .scale(scale())
        }
    }

    private mutating func revision() -> ClusterRevision {
        var object = ClusterRevision(name: name())
        (object.uid, object.service, object.configuration) = (text(), text(), text())
        object.annotations = strings()
        (object.containerConcurrency, object.timeoutSeconds) = (number(), number())
        (object.responseStartTimeoutSeconds, object.idleTimeoutSeconds) = (number(), number())
        object.containerProtocol = flag() ? .h2c : .http1
        object.allowsEarlyPods = flag()
        return object
    }

    private mutating func ports() -> [String: UInt16] {
        var result: [String: UInt16] = [:]
        for _ in 0..<number(4) { result[pick(["http", "http2", "https", "", "queue port"])] = port() }
        return result
    }

    private mutating func endpoints() -> ClusterEndpoints {
        var object = ClusterEndpoints(name: name())
        var shared = ports()
        for _ in 0..<number(8) {
            if number(3) == 0 { shared = ports() }
            object.addresses.append(
                .init(ip: address(), isReady: flag(), podName: flag() ? "" : filled(), ports: shared))
        }
        return object
    }

    private mutating func service() -> ClusterService {
        ClusterService(name: name(), clusterIP: flag() ? nil : address(), ports: ports())
    }

    private mutating func pod() -> ClusterPod {
        var object = ClusterPod(name: name(), revision: text())
        object.ip = flag() ? nil : address()
        (object.isReady, object.isRunning, object.isTerminating) = (flag(), flag(), flag())
        object.startedAt = flag() ? nil : time()
        return object
    }

    private mutating func ingress() -> ClusterIngress {
        var object = ClusterIngress(name: name())
        object.createdAt = flag() ? nil : time()
        object.generation = number()
        object.status = flag() ? nil : .init(observedGeneration: number(), isReady: flag())
        object.httpOption = pick([nil, .enabled, .redirected])
        for _ in 0..<number(3) {
            object.tls.append(.init(hosts: ["a.b"], secretName: text(), secretNamespace: text()))
        }
        for _ in 0..<number(4) {
            var rule = ClusterIngress.Rule(hosts: [], isClusterLocal: flag(), paths: [])
            for _ in 0..<number(3) { rule.hosts.append(filled().filter { $0 != "\u{0}" }) }
            for _ in 0...number(3) { rule.paths.append(path()) }
            object.rules.append(rule)
        }
        return object
    }

    private mutating func path() -> ClusterIngress.Path {
        let cuts = [[100], [30, 70], [0, 100], [1, 2, 97]]
        var path = ClusterIngress.Path(splits: [])
        for percent in pick(cuts) {
            path.splits.append(
                .init(service: name(), port: port(), percent: percent, appendHeaders: strings()))
        }
        path.path = text()
        path.headers = strings()
        path.rewriteHost = flag() ? nil : filled()
        path.appendHeaders = strings()
        return path
    }

    private mutating func podAutoscaler() -> PodAutoscaler {
        var object = PodAutoscaler(name: name())
        object.annotations = strings()
        object.containerConcurrency = number()
        object.isReachable = flag()
        object.containerProtocol = flag() ? .h2c : .http1
        object.status.desiredScale = flag() ? nil : number() - 1
        object.status.actualScale = number()
        object.status.active = pick(["True", "False", "Unknown"])
        object.status.reason = text()
        object.status.isInitialized = flag()
        return object
    }

    private mutating func serverlessService() -> ServerlessService {
        var object = ServerlessService(name: name())
        object.isProxy = flag()
        object.activatorCount = number()
        object.proxySince = flag() ? nil : time()
        return object
    }

    private mutating func scale() -> ClusterScale {
        var object = ClusterScale(name: name(), replicas: number())
        object.explanation = text()
        return object
    }
}
