import Primitives
import Testing

@testable import Knative

/// EndpointSlices: how they are read, and how many become the endpoints of one service.
@Suite struct EndpointSliceTests {
    private func name(_ text: String) -> ObjectName { ObjectName(namespace: "ns", name: text) }

    private func address(
        _ ip: UInt32, _ isReady: Bool = true, pod: String = "", ports: [String: UInt16] = ["http": 8012]
    ) -> ClusterEndpoints.Address {
        ClusterEndpoints.Address(ip: ip, isReady: isReady, podName: pod, ports: ports)
    }

    private func slice(_ text: String, of service: String, _ addresses: ClusterEndpoints.Address...) -> EndpointSlice {
        EndpointSlice(name: name(text), service: name(service), addresses: addresses)
    }

    private func load(_ fields: String, labels: String = "{kubernetes.io/service-name: s}") -> ClusterFile {
        let text = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, labels: \(labels)}\n"
        return ClusterLoader.load(file: "a.yaml", text: Array((text + fields).utf8))
    }

    // MARK: Reading

    /// The API's table of conditions: absent `ready` is ready unless `serving` or `terminating` say otherwise; who ends
    /// and is not ready is not listed.
    @Test func conditions() {
        let table: [(String, Bool?)] = [
            ("", true), ("conditions: {}", true), ("conditions: {ready: true}", true),
            ("conditions: {ready: false}", false), ("conditions: {ready: null, serving: false}", false),
            ("conditions: {ready: null, serving: true}", true), ("conditions: {ready: true, serving: true}", true),
            ("conditions: {ready: false, serving: true, terminating: true}", nil),
            ("conditions: {ready: false, serving: false, terminating: true}", nil),
            ("conditions: {terminating: true}", nil), ("conditions: {ready: true, terminating: true}", true),
            ("conditions: {ready: false, terminating: false}", false),
        ]
        for (text, isReady) in table {
            let file = load("ports: [{name: http, port: 8012}]\nendpoints: [{addresses: [10.0.0.1], \(text)}]\n")
            let expected = isReady.map { [address(0x0A00_0001, $0)] } ?? []
            #expect(file.slices.map(\.slice.addresses) == [expected], "\(text): \(file.diagnostics)")
            #expect(file.diagnostics.isEmpty, "\(text): \(file.diagnostics)")
        }
    }

    @Test func errorsNameTheirPlace() {
        for (fields, message) in [
            ("endpoints: [{addresses: [x]}]\n", "a.yaml:4:26: error: endpoints[0].addresses[0]: \"x\" is no address"),
            ("endpoints: [{}]\n", "a.yaml:4:13: error: endpoints[0]: has no addresses"),
            ("endpoints: {}\n", "a.yaml:4:12: error: endpoints:"),
            (
                "endpoints: [{addresses: [10.0.0.1], conditions: {ready: maybe}}]\n",
                "a.yaml:4:57: error: endpoints[0].conditions.ready:"
            ),
            ("ports: [{name: http, port: 70000}]\n", "a.yaml:4:28: error: expected 1 <= 70000 <= 65535"),
        ] {
            let file = load(fields)
            #expect(file.slices.isEmpty, "\(fields)")
            #expect(file.diagnostics.contains { "\($0)".hasPrefix(message) }, "\(fields): \(file.diagnostics)")
        }
        let owner = load("endpoints: []\n", labels: "{kubernetes.io/service-name: No}")
        #expect(owner.slices.isEmpty && owner.diagnostics.hasErrors, "\(owner.diagnostics)")
        let strange = load("addressType: FQDN\nendpoints: [{addresses: [a.example]}]\n")
        #expect(strange.slices.map(\.slice.addresses) == [[]] && !strange.diagnostics.hasErrors)
    }

    /// What is told over a socket is what arrives, and a slice is no object that a role could write.
    @Test func overTheWire() throws {
        let told = slice("a", of: "s", address(1, pod: "p"), address(2, false))
        for message in [LinkMessage.slice(told), .slice(slice("b", of: "s")), .sliceDeleted(name("a"))] {
            #expect(try LinkMessage(line: message.line) == message)
        }
        let line = String(decoding: LinkMessage.slice(told).line, as: UTF8.self)
        #expect(try LinkMessage(line: Array(line.replacing("MODIFIED", with: "ADDED").utf8)) == .slice(told))
        #expect(try LinkMessage(line: Array(line.replacing("MODIFIED", with: "APPLY").utf8)) == nil)
        #expect(throws: LinkProblem.self) {
            try LinkMessage(line: Array(line.replacing("0.0.0.1", with: "0.0.0.x").utf8))
        }
    }

    // MARK: Merging

    @Test func aPodThatMovesCountsOnce() {
        func merged(_ slices: EndpointSlice...) -> [ClusterEndpoints.Address] {
            EndpointSlice.merge(slices).first?.addresses ?? []
        }
        // The same address and ports, ready in one of the two; the slices in either order.
        let first = slice("a", of: "s", address(1, false), address(2)), second = slice("b", of: "s", address(1))
        #expect(merged(first, second) == [address(1), address(2)])
        #expect(merged(second, first) == [address(1), address(2)])
        // The service has a new port: the pod stands in a slice of the old ports and one of the new.
        let both: [String: UInt16] = ["http": 8012, "metrics": 9090]
        #expect(
            merged(slice("a", of: "s", address(1, pod: "p")), slice("b", of: "s", address(1, pod: "p", ports: both)))
                == [address(1, pod: "p", ports: both)])
        // Two pods of one machine's address, at ports of their own, are two.
        let other = address(1, pod: "q", ports: ["http": 8013])
        #expect(merged(slice("a", of: "s", address(1, pod: "p"), other)) == [address(1, pod: "p"), other])
        // An address whose pod was replaced is still one place for requests.
        #expect(merged(slice("a", of: "s", address(1, false, pod: "p"), address(1, pod: "q"))).count == 1)
    }

    /// More pods than a slice holds: 100 a slice, all of them behind one service.
    @Test func manySlices() {
        var book = EndpointBook()
        for part in 0..<25 {
            var one = slice("s-\(part)", of: "s")
            one.addresses = (0..<100).map { address(UInt32(part * 100 + $0)) }
            #expect(book.apply(one) == [name("s")])
        }
        #expect(book[name("s")]?.addresses.count == 2_500 && book.sliceCount == 25)
        for part in 0..<25 { #expect(book.remove(slice: name("s-\(part)")) == name("s")) }
        #expect(book[name("s")] == nil && book.sliceCount == 0)
    }

    @Test func slicesCountBeforeObjects() {
        var book = EndpointBook()
        let object = ClusterEndpoints(name: name("s"), addresses: [address(9)])
        book.set(object, of: name("s"))
        #expect(book[name("s")] == object)
        #expect(book.apply(slice("a", of: "s", address(1))) == [name("s")])
        #expect(book[name("s")]?.addresses == [address(1)])
        // The slice becomes another service's.
        #expect(book.apply(slice("a", of: "t", address(1))) == [name("s"), name("t")])
        #expect(book[name("s")] == object && book[name("t")]?.addresses == [address(1)])
        book.set(nil, of: name("s"))
        #expect(book[name("s")] == nil && book.remove(slice: name("z")) == nil)
    }

    /// Slices that come, change, go and move in any order leave what a plain look at all of them says.
    @Test func seededBook() {
        for seed in UInt64(0)..<200 {
            var random = SeededRandom(seed: seed)
            func pick(_ count: Int) -> Int { Int.random(in: 0..<count, using: &random) }
            var book = EndpointBook()
            var slices: [ObjectName: EndpointSlice] = [:], objects: [ObjectName: ClusterEndpoints] = [:]
            let services = ["s", "t", "u"].map(name)
            for step in 0..<60 {
                let service = services[pick(3)], id = name("slice-\(pick(6))")
                let addresses = (0..<pick(5)).map { _ in address(UInt32(pick(6)), pick(2) == 0) }
                switch pick(8) {
                case 0..<4:
                    let new = EndpointSlice(name: id, service: service, addresses: addresses)
                    let former = slices.updateValue(new, forKey: id)?.service
                    #expect(Set(book.apply(new)) == Set([service, former ?? service]), "seed \(seed), step \(step)")
                case 4, 5: #expect(book.remove(slice: id) == slices.removeValue(forKey: id)?.service)
                case 6:
                    objects[service] = ClusterEndpoints(name: service, addresses: addresses)
                    book.set(objects[service], of: service)
                default:
                    objects[service] = nil
                    book.set(nil, of: service)
                }
                for service in services {
                    let parts = slices.values.filter { $0.service == service }.sorted { $0.name < $1.name }
                    guard !parts.isEmpty else {
                        #expect(book[service] == objects[service], "seed \(seed), step \(step)")
                        continue
                    }
                    // All have one port: an address counts once, where it stands first, ready if it is anywhere.
                    var order: [UInt32] = [], ready: Set<UInt32> = []
                    for one in parts.flatMap(\.addresses) {
                        if !order.contains(one.ip) { order.append(one.ip) }
                        if one.isReady { ready.insert(one.ip) }
                    }
                    let expected = order.map { address($0, ready.contains($0)) }
                    #expect(book[service]?.addresses == expected, "seed \(seed), step \(step)")
                }
                #expect(book.sliceCount == slices.count && Set(book.sliceNames) == Set(slices.keys))
            }
        }
    }
}
