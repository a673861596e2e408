import EventLoop
import Foundation
import Glibc
import Knative
import Testing

@testable import ClusterLink

@Suite struct FolderSourceTests {
    private func text(_ object: ClusterObject) -> String { String(decoding: object.json, as: UTF8.self) }

    @Test func tellsWhatIsThereThenChanges() throws {
        let folder = Folder(), loop = try Loop(), lines = Lines(), told = Told()
        try folder.write("a.json", text(scale("a", 1)))
        try folder.write("b.yaml", "\(text(scale("b", 1)))\n---\n\(text(.endpoints(endpoints("e", 7))))\n")
        try folder.write("c.txt", "no manifest")
        let source = try FolderSource(path: folder.path, loop: loop, log: lines.log)
        source.watch([.scale]) { told.hear($0) }
        #expect(told.changes.isEmpty, "never from inside the call")
        #expect(run(loop) { told.syncs == 1 })
        #expect(told.changes == [.applied(scale("a", 1)), .applied(scale("b", 1)), .synced])
        told.changes = []
        try folder.write("a.json", text(scale("a", 2)))
        #expect(run(loop) { told.changes == [.applied(scale("a", 2))] })
        folder.remove("b.yaml")
        #expect(run(loop) { told.changes.last == .removed(.scale, name("b")) })
        #expect(lines.all.isEmpty)
    }

    /// A broken file keeps its last good objects, and its problems are told once.
    @Test func brokenFilesKeepTheirObjects() throws {
        let folder = Folder(), loop = try Loop(), lines = Lines(), told = Told()
        try folder.write("a.yaml", text(scale("a", 1)))
        let source = try FolderSource(path: folder.path, loop: loop, log: lines.log)
        source.watch([.scale]) { told.hear($0) }
        #expect(run(loop) { told.syncs == 1 })
        let broken = "apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: a}\nspec: {replicas: x}\n"
        try folder.write("a.yaml", broken)
        #expect(run(loop) { !lines.all.isEmpty })
        try folder.write("b.yaml", text(scale("b", 1)))
        #expect(run(loop) { told.store.count == 2 })
        #expect(told.store[ObjectKey(.scale, name("a"))] == scale("a", 1))
        #expect(lines.all.count == 1 && lines.all[0].contains("a.yaml:4:18: error: spec.replicas: expected an integer"))
        try folder.write("a.yaml", text(scale("a", 5)))
        #expect(run(loop) { told.store[ObjectKey(.scale, name("a"))] == scale("a", 5) })
    }

    @Test func twoOfOneNameAreAnError() throws {
        let folder = Folder(), loop = try Loop(), lines = Lines(), told = Told()
        try folder.write("a.yaml", text(scale("a", 1)))
        try folder.write("b.yaml", text(scale("a", 2)))
        let source = try FolderSource(path: folder.path, loop: loop, log: lines.log)
        source.watch([.scale]) { told.hear($0) }
        #expect(run(loop) { told.syncs == 1 })
        #expect(told.store.all() == [scale("a", 1)])
        #expect(lines.all.count == 1 && lines.all[0].contains("Scale default/a is already at a.yaml:1"), "\(lines.all)")
        folder.remove("a.yaml")
        #expect(run(loop) { told.store.all() == [scale("a", 2)] })
    }

    /// Two slices of one service become its Endpoints; an Endpoints object of that name does not count beside them.
    @Test func slicesAreEndpoints() throws {
        let folder = Folder(), loop = try Loop(), lines = Lines(), told = Told()
        func slice(_ name: String, _ service: String?, _ endpoints: String, type: String = "IPv4") -> String {
            let labels = service.map { ", labels: {kubernetes.io/service-name: \($0)}" } ?? ""
            return """
                apiVersion: discovery.k8s.io/v1
                kind: EndpointSlice
                metadata: {name: \(name)\(labels)}
                addressType: \(type)
                ports: [{name: http, port: 8012, protocol: TCP, appProtocol: http}, {name: any}]
                endpoints: [\(endpoints)]

                """
        }
        // ready nil: serving decides; all nil: ready; what ends and is not ready is not listed.
        let first = """
            {addresses: [10.0.0.1], conditions: {ready: true, serving: true}, targetRef: {kind: Pod, name: p1}},
            {addresses: [10.0.0.2], conditions: {ready: false, serving: false}},
            {addresses: [10.0.0.3], conditions: {ready: null, serving: false}}, {addresses: [10.0.0.4]},
            {addresses: [10.0.0.5], conditions: {ready: false, serving: true, terminating: true}}
            """
        let second = "{addresses: [10.0.0.2, 10.0.9.9], conditions: {ready: true}}, {addresses: [10.0.0.6]}"
        try folder.write("b.yaml", slice("e-bbb", "e", second))
        try folder.write("a.yaml", slice("e-aaa", "e", first) + "---\n" + slice("six", "e", "", type: "IPv6"))
        try folder.write("c.yaml", "\(text(.endpoints(endpoints("e", 7))))\n---\n" + slice("mine", nil, second))
        let source = try FolderSource(path: folder.path, loop: loop, log: lines.log)
        source.watch([.endpoints]) { told.hear($0) }
        #expect(run(loop) { told.syncs == 1 })
        func address(_ last: UInt32, _ isReady: Bool, _ pod: String = "") -> ClusterEndpoints.Address {
            .init(ip: 0x0A00_0000 + last, isReady: isReady, podName: pod, ports: ["http": 8012])
        }
        func expect(_ addresses: [ClusterEndpoints.Address]) -> ClusterObject {
            .endpoints(ClusterEndpoints(name: name("e"), addresses: addresses))
        }
        let all = [
            address(1, true, "p1"), address(2, true), address(3, false), address(4, true), address(6, true),
        ]
        #expect(told.store.all() == [expect(all)], "\(told.store.all())")
        #expect(
            lines.all.count == 2 && lines.all.contains { $0.contains("kubernetes.io/service-name") }, "\(lines.all)")
        // A slice that goes takes its part; with the last one the Endpoints object counts.
        folder.remove("b.yaml")
        #expect(run(loop) { told.store.all() == [expect([all[0], address(2, false), all[2], all[3]])] })
        folder.remove("a.yaml")
        #expect(run(loop) { told.store.all() == [.endpoints(endpoints("e", 7))] })
        try folder.write("d.yaml", slice("bad", "e", "{addresses: [x]}"))
        #expect(run(loop) { lines.all.contains { $0.contains("is no address") } }, "\(lines.all)")
        #expect(told.store.all() == [.endpoints(endpoints("e", 7))])
    }

    @Test func writesGoToTheOtherFolder() throws {
        let folder = Folder(), output = Folder(), loop = try Loop(), lines = Lines(), told = Told()
        let source = try FolderSource(path: folder.path, output: output.path, loop: loop, log: lines.log)
        source.apply(scale("a", 3))
        source.apply(scale("a", 4))
        let reader = try FolderSource(path: output.path, loop: loop, log: lines.log)
        reader.watch([.scale]) { told.hear($0) }
        #expect(run(loop) { told.syncs == 1 } && told.store.all() == [scale("a", 4)])
        #expect(try FolderFiles.names(of: output.path) == ["Scale.default.a.json"])
        reader.apply(scale("b", 1))
        reader.apply(scale("b", 2))
        #expect(lines.all.count == 1 && lines.all[0].contains("takes no objects"))
    }

    /// The folder of what is written is made; where it cannot be, that is said at once.
    @Test func theOtherFolderIsMade() throws {
        let folder = Folder(), loop = try Loop(), lines = Lines()
        let place = folder.path + "/decisions"
        let source = try FolderSource(path: folder.path, output: place, loop: loop, log: lines.log)
        source.apply(scale("a", 3))
        #expect(try FolderFiles.names(of: place) == ["Scale.default.a.json"])
        for wrong in [place + "/Scale.default.a.json", folder.path + "/no/where"] {
            #expect(throws: SystemError.self) {
                try FolderSource(path: folder.path, output: wrong, loop: loop, log: lines.log)
            }
        }
        try FileManager.default.removeItem(atPath: place)
        source.apply(scale("a", 4))
        source.apply(scale("a", 5))
        #expect(lines.all.count == 1 && lines.all[0].contains("cannot write objects"), "\(lines.all)")
    }

    @Test func aFolderThatIsNotThere() throws {
        let loop = try Loop()
        #expect(throws: SystemError.self) {
            try FolderSource(path: "/nonexistent", loop: loop, log: Lines().log)
        }
    }
}
