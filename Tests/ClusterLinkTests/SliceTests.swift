import EventLoop
import Knative
import Primitives
import Testing

@testable import ClusterLink

/// A source that is told EndpointSlices over a socket, as Kubernetes' watch tells them.
@Suite struct SliceTests {
    /// A cluster that says what it is told to, line by line, to whoever watches.
    private final class Cluster {
        let loop: Loop
        let path: String
        private let listener: UnixListener
        private(set) var peer: LinkConnection?
        private(set) var heard: [String] = []

        init(_ loop: Loop, path: String) throws {
            self.loop = loop
            self.path = path
            listener = try UnixListener(path: path)
            _ = try loop.watch(listener.fd, .readable) { [unowned self] _ in accept() }
        }

        private func accept() {
            guard case .connection(let socket) = listener.accept() else { return }
            peer = try? LinkConnection(socket, loop: loop, limits: ClusterLimits())
            peer?.onLine = { [unowned self] in heard.append(String(decoding: $0, as: UTF8.self)) }
        }

        /// Ends its connection, and takes another.
        func hangUp() {
            peer?.close()
            peer = nil
            heard = []
        }

        func say(_ lines: String...) { for line in lines { peer?.send(Array((line + "\n").utf8)) } }
    }

    private static let bookmark = #"{"type":"BOOKMARK","object":{"kind":"EndpointSlice"}}"#

    private func event(_ type: String, _ name: String, of service: String, _ endpoints: String) -> String {
        """
        {"type":"\(type)","object":{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":\
        {"name":"\(name)","namespace":"default","labels":{"kubernetes.io/service-name":"\(service)",\
        "endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io"}},"addressType":"IPv4",\
        "endpoints":[\(endpoints)],"ports":[{"name":"http","port":8012,"protocol":"TCP"}]}}
        """
    }

    private static let serving = #""ready":true,"serving":true,"terminating":false"#

    private func endpoint(_ last: Int, _ conditions: String = SliceTests.serving) -> String {
        #"{"addresses":["10.0.0.\#(last)"],"conditions":{\#(conditions)},"nodeName":"n","zone":"z"}"#
    }

    private func expected(_ addresses: [(UInt32, Bool)]) -> ClusterObject {
        .endpoints(
            ClusterEndpoints(
                name: name("r-private"),
                addresses: addresses.map { .init(ip: 0x0A00_0000 + $0.0, isReady: $0.1, ports: ["http": 8012]) }))
    }

    @Test func slicesBecomeEndpoints() throws {
        let folder = Folder(), loop = try Loop(), lines = Lines(), told = Told()
        let cluster = try Cluster(loop, path: folder.path + "/cluster")
        let source = SocketSource(path: cluster.path, loop: loop, log: lines.log)
        source.watch([.endpoints]) { told.hear($0) }
        #expect(run(loop) { cluster.heard.count == 1 })
        #expect(cluster.heard == [#"{"type":"WATCH","kinds":["Endpoints"]}"#])
        // Two slices, and the Endpoints object that Kubernetes cuts short; then all is told.
        let ending = endpoint(4, #""ready":false,"serving":true,"terminating":true"#)
        let whole = LinkMessage.added(.endpoints(endpoints("r-private", 0x0A00_0009))).line.dropLast()
        cluster.say(
            event("ADDED", "r-a", of: "r-private", "\(endpoint(1)),\(endpoint(2, #""ready":false"#)),\(ending)"),
            String(decoding: whole, as: UTF8.self),
            event("ADDED", "r-b", of: "r-private", endpoint(3)), Self.bookmark)
        #expect(run(loop) { told.syncs == 1 })
        #expect(told.store.all() == [expected([(1, true), (2, false), (3, true)])], "\(told.store.all())")
        // Pod 2 moves to the other slice and is ready there: it counts once, before and after.
        let before = told.changes.count
        cluster.say(event("MODIFIED", "r-b", of: "r-private", "\(endpoint(3)),\(endpoint(2))"))
        #expect(run(loop) { told.changes.count > before })
        #expect(told.store.all() == [expected([(1, true), (2, true), (3, true)])])
        cluster.say(event("MODIFIED", "r-a", of: "r-private", endpoint(1)))
        #expect(run(loop) { told.store.all() == [expected([(1, true), (3, true), (2, true)])] })
        // What is told again changes nothing; what cannot be read is said, and what was known stays.
        let known = told.changes.count
        cluster.say(
            event("MODIFIED", "r-a", of: "r-private", endpoint(1)),
            event("MODIFIED", "r-a", of: "r-private", #"{"addresses":["10.0.0.x"]}"#))
        #expect(run(loop) { lines.all.contains { $0.contains("not understood") && $0.contains("10.0.0.x") } })
        #expect(told.changes.count == known)
        // Without slices the Endpoints object counts; without it nothing is left.
        for slice in ["r-a", "r-b"] {
            let object = #"{"kind":"EndpointSlice","metadata":{"name":"\#(slice)","namespace":"default"}}"#
            cluster.say(#"{"type":"DELETED","object":\#(object)}"#)
        }
        #expect(run(loop) { told.store.all() == [.endpoints(endpoints("r-private", 0x0A00_0009))] })
        cluster.say(#"{"type":"DELETED","object":{"kind":"Endpoints","metadata":{"name":"r-private"}}}"#)
        #expect(run(loop) { told.changes.last == .removed(.endpoints, name("r-private")) })
    }

    /// After a lost connection slices that have gone meanwhile take their part with them, and nothing flickers.
    @Test func aLostConnection() throws {
        let folder = Folder(), loop = try Loop(), told = Told()
        let cluster = try Cluster(loop, path: folder.path + "/cluster")
        let source = SocketSource(path: cluster.path, loop: loop, log: Lines().log)
        source.watch([.endpoints, .scale]) { told.hear($0) }
        #expect(run(loop) { !cluster.heard.isEmpty })
        cluster.say(
            event("ADDED", "r-a", of: "r-private", endpoint(1)), event("ADDED", "r-b", of: "r-private", endpoint(2)),
            event("ADDED", "o", of: "o-private", endpoint(5)), Self.bookmark)
        #expect(run(loop) { told.syncs == 1 })
        cluster.hangUp()
        #expect(run(loop) { !cluster.heard.isEmpty })
        let before = told.changes.count
        cluster.say(event("ADDED", "r-b", of: "r-private", endpoint(2)), Self.bookmark)
        #expect(run(loop) { told.syncs == 2 })
        #expect(told.store.all() == [expected([(2, true)])])
        #expect(
            Set(told.changes[before...].map { "\($0)" })
                == Set(
                    [
                        ClusterChange.removed(.endpoints, name("o-private")), .applied(expected([(2, true)])), .synced,
                    ].map { "\($0)" }))
        // A role that watches no endpoints is told none.
        let other = Told()
        source.watch([.scale]) { other.hear($0) }
        #expect(run(loop) { cluster.heard.last == #"{"type":"WATCH","kinds":["Scale"]}"# })
        cluster.say(event("ADDED", "r-a", of: "r-private", endpoint(1)), Self.bookmark)
        #expect(run(loop) { other.syncs == 1 } && other.store.count == 0)
    }

    @Test func thereIsALimit() throws {
        let folder = Folder(), loop = try Loop(), lines = Lines(), told = Told()
        let cluster = try Cluster(loop, path: folder.path + "/cluster")
        var limits = ClusterLimits()
        limits.slices = 2
        let source = SocketSource(path: cluster.path, loop: loop, log: lines.log, limits: limits)
        source.watch([.endpoints]) { told.hear($0) }
        #expect(run(loop) { !cluster.heard.isEmpty })
        for number in 1...4 { cluster.say(event("ADDED", "r-\(number)", of: "r-private", endpoint(number))) }
        cluster.say(event("MODIFIED", "r-1", of: "r-private", endpoint(7)), Self.bookmark)
        #expect(run(loop) { told.syncs == 1 })
        #expect(told.store.all() == [expected([(7, true), (2, true)])], "those that are known still change")
        #expect(lines.all.filter { $0.contains("too many EndpointSlices") }.count == 1, "\(lines.all)")
    }
}
