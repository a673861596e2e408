import Balancing
import DataPlane
import Knative
import Testing

@testable import Ingress

@Suite struct PlanTests {
    private func hosts(_ ingresses: [ClusterIngress]) -> [String: String] {
        let plan = IngressPlan(ingresses, IngressOptions())
        return Dictionary(uniqueKeysWithValues: plan.hosts.map { ($0.name, $0.owner.name) })
    }

    /// The older one has the host; what else the younger one has is served.
    @Test func clashes() {
        let plan = IngressPlan(
            [
                ingress("old", hosts: ["a.example.com", "b.example.com"], [path([split("one")])]),
                ingress("young", hosts: ["B.Example.com.", "c.example.com"], [path([split("two")])]),
            ], IngressOptions())
        #expect(plan.hosts.map(\.name) == ["a.example.com", "b.example.com", "c.example.com"])
        #expect(plan.hosts.map(\.owner.name) == ["old", "old", "young"])
        let text = "host b.example.com belongs to the older Ingress default/old"
        #expect(plan.problems == [.init(ingress: named("young"), text: text)])
    }

    /// A host inside the cluster is known by its short names, unless somebody states them.
    @Test func shortNames() {
        #expect(
            IngressPlan.shortNames(of: "a.ns.svc.cluster.local", domain: "cluster.local") == ["a.ns.svc", "a.ns"])
        #expect(IngressPlan.shortNames(of: "a.ns.svc", domain: "cluster.local").isEmpty)
        #expect(IngressPlan.shortNames(of: "a.b.c.42.cluster.local", domain: "cluster.local").isEmpty)
        #expect(IngressPlan.shortNames(of: "svc.cluster.local", domain: "cluster.local") == ["svc"])
        #expect(IngressPlan.shortNames(of: "cluster.local", domain: "cluster.local").isEmpty)
        let long = String(repeating: "x", count: 64)
        #expect(IngressPlan.shortNames(of: "a.\(long).cluster.local", domain: "cluster.local").isEmpty)
        let served = hosts([
            ingress("first", hosts: ["a.ns.svc.cluster.local"], [path([split("one")])], isClusterLocal: true),
            ingress("second", hosts: ["a.ns"], [path([split("two")])]),
        ])
        #expect(served == ["a.ns.svc.cluster.local": "first", "a.ns.svc": "first", "a.ns": "second"])
    }

    static let refused: [(ClusterIngress.Path, String)] = [
        (path([split("one", 50), split("two", 49)]), "a.b/x: traffic split percentage must total to 100, but was 99"),
        (
            path([split("one", 101), split("two", -1)]),
            "a.b/x: traffic split percentage must total to 100, but was 100"
        ),
        (path([]), "a.b/x: traffic split percentage must total to 100, but was 0"),
        (
            path([.init(service: ObjectName(namespace: "other", name: "one"))]),
            "a.b/x: service namespace must match ingress namespace"
        ),
        (
            path([split("one")], headers: Dictionary(uniqueKeysWithValues: (0..<17).map { ("h\($0)", "") })),
            "a.b/x: more than 16 headers or 100 splits"
        ),
    ]

    /// What is wrong takes the path away and nothing else.
    @Test(arguments: refused) func refusedPaths(bad: ClusterIngress.Path, text: String) {
        var bad = bad
        bad.path = "/x"
        let plan = IngressPlan([ingress("i", hosts: ["a.b"], [bad, path([split("fine", 0)])])], IngressOptions())
        #expect(plan.problems.map(\.text) == [text])
        #expect(plan.hosts.map(\.paths.count) == [1] && plan.hosts[0].paths[0].splits[0].service.name.name == "fine")
    }

    @Test func limits() {
        var options = IngressOptions()
        options.limits.hosts = 2
        options.limits.pathsPerHost = 1
        options.limits.ingresses = 3
        let plan = IngressPlan(
            [
                ingress("one", hosts: ["a", "b"], [path([split("s")])]),
                ingress("two", hosts: ["c"], [path([split("s")])]),
                ingress("three", hosts: ["d"], [path([split("s")], at: "/a"), path([split("s")])]),
                ingress("four", hosts: ["e"], [path([split("s")])]),
            ], options)
        #expect(plan.hosts.map(\.name) == ["a", "b"])
        #expect(
            plan.problems.map(\.text) == [
                "host c: more than 2 hosts", "[\"d\"]: more than 1 paths", "more than 3 Ingress objects",
            ])
        let without = IngressPlan([ingress("i", hosts: [], [path([split("s")])])], IngressOptions())
        #expect(without.hosts.isEmpty && without.problems.map(\.text) == ["a rule without hosts; name each host"])
    }

    /// Fields of the path go before those of the split; a field that cannot be set is left out and told.
    @Test func rules() {
        let fields = ["Knative-Serving-Revision": "r", "x-both": "split", "Host": "no"]
        var appended = path([split("s", fields: fields)], append: ["X-Both": "path"])
        appended.rewriteHost = "other.example.com"
        var made = ingress("i", hosts: ["a.b"], [appended])
        made.httpOption = .redirected
        let plan = IngressPlan([made], IngressOptions())
        let rule = plan.hosts[0].paths[0].splits[0].rule
        #expect(rule.fields.map { "\($0.name): \($0.value)" } == ["Knative-Serving-Revision: r", "X-Both: path"])
        #expect(rule.host == "other.example.com" && rule.version == made.version && rule.leadsToHTTPS)
        #expect(plan.problems.map(\.text) == ["a.b: a field that only a proxy sets: Host"])
        made.rules[0].isClusterLocal = true
        let local = IngressPlan([made], IngressOptions()).hosts[0].paths[0].splits[0].rule
        #expect(local.isClusterLocal && !local.leadsToHTTPS)
    }
}

@Suite struct ServiceAddressesTests {
    private func address(_ ip: UInt32, _ ports: [String: UInt16], isReady: Bool = true) -> ClusterEndpoints.Address {
        ClusterEndpoints.Address(ip: ip, isReady: isReady, ports: ports)
    }

    /// Protocol and addresses as text.
    private func found(_ addresses: [ClusterEndpoints.Address], port: UInt16 = 80, limit: Int = 100) -> String {
        let object = ClusterEndpoints(name: named("s"), addresses: addresses)
        let found = ServiceAddresses(object, port: port, limit: limit)
        let words = found.addresses.map { "\($0.ipv4):\($0.port)" }
        return ([found.upstreamProtocol.map { "\($0)" } ?? "-"] + words).joined(separator: " ")
    }

    @Test func table() {
        #expect(found([address(1, ["http": 8012])]) == "http1 1:8012")
        #expect(found([address(1, ["http2": 8013])]) == "h2c 1:8013")
        #expect(found([address(1, ["h2c": 8013])]) == "h2c 1:8013")
        let both = [address(1, ["http": 8012, "http2": 8013, "https": 8112])]
        #expect(found(both) == "http1 1:8012")
        #expect(found(both, port: 81) == "h2c 1:8013")
        #expect(found([address(1, ["web": 90])]) == "http1 1:90")
        #expect(found([address(1, ["web": 90, "admin": 91])]) == "-")
        #expect(found([address(1, ["http": 0])]) == "-")
        #expect(found([address(1, ["http": 8012], isReady: false)]) == "-")
        let some = [
            address(1, ["http": 1], isReady: false), address(2, ["http": 1]), address(2, ["http": 1]),
            address(3, ["other": 1]), address(4, ["http": 2]),
        ]
        #expect(found(some) == "http1 2:1 4:2")
        #expect(found(some, limit: 1) == "http1 2:1")
        let nothing = ServiceAddresses(nil, port: 80, limit: 1)
        #expect(nothing.upstreamProtocol == nil && nothing.addresses.isEmpty)
    }
}
