import Primitives
import Testing

@testable import Knative

private let start = Instant(nanoseconds: 1)

@Suite struct NameTests {
    /// The test suite of RFC 1321, appendix 5.
    @Test(arguments: [
        ("", "d41d8cd98f00b204e9800998ecf8427e"), ("a", "0cc175b9c0f1b6a831c399e269772661"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"), ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a"
        ),
    ])
    func md5(text: String, digest: String) {
        #expect(MD5.hexDigest(text) == digest)
    }

    @Test func md5OfEveryPadding() {
        for count in 50...70 { #expect(MD5.hexDigest(String(repeating: "x", count: count)).utf8.count == 32) }
        #expect(MD5.hexDigest(String(repeating: "a", count: 64)) == "014842d480b571495a4a0363793f7367")
    }

    /// Lengths and parts as Knative's `kmeta.ChildName` makes them.
    @Test func childNames() {
        #expect(ChildName.make(parent: "svc", suffix: "-00001") == "svc-00001")
        let exact = String(repeating: "f", count: 57)
        #expect(ChildName.make(parent: exact, suffix: "-00001") == exact + "-00001")
        let long = String(repeating: "f", count: 63)
        let name = ChildName.make(parent: long, suffix: "-00001")
        #expect(name == String(repeating: "f", count: 25) + MD5.hexDigest(long) + "-00001")
        #expect(name.utf8.count == 63)
        #expect(ChildName.make(parent: long, suffix: String(repeating: "-", count: 40)).utf8.count == 63)
        #expect(
            ChildName.make(parent: "ab", suffix: String(repeating: "-", count: 62)) == "ab"
                + MD5.hexDigest("ab" + String(repeating: "-", count: 62)))
    }
}

/// A service whose template differs by `image`.
private func service(
    _ image: String, name: String = "svc", revision: String? = nil, traffic: [TrafficTarget] = [.latest],
    namespace: String = "default"
) throws -> ServiceObject {
    var service = try ServiceObject.make(name: name, namespace: namespace, command: ["app"])
    service.template.container.image = image
    service.template.name = revision
    service.traffic = traffic
    return service
}

@Suite struct ApplyTests {
    static let name = ServiceName(name: "svc")

    @Test func onlyTemplatesMakeRevisions() throws {
        var store = ServiceStore()
        var result = store.apply([try service("a")], removing: false)
        #expect(result.changes.map(\.change) == [.created])
        #expect(result.createdRevisions.map(\.name) == ["svc-00001"])
        result = store.apply([try service("a")], removing: true)
        #expect(result.changes.map(\.change) == [.unchanged])
        let split = [TrafficTarget(percent: 100, revisionName: "svc-00001")]
        result = store.apply([try service("a", traffic: split)], removing: true)
        #expect(result.changes.map(\.change) == [.trafficChanged])
        #expect(result.createdRevisions.isEmpty)
        result = store.apply([try service("b")], removing: true)
        #expect(result.changes.map(\.change) == [.templateChanged])
        #expect(result.createdRevisions.map(\.name) == ["svc-00002"])
        #expect(result.createdRevisions.map(\.generation) == [2])
        #expect(store.revisions(of: Self.name).map(\.template.container.image) == ["a", "b"])
    }

    /// A revision is found by its name as long as it is kept; names of two namespaces are two names.
    @Test func revisionsAreFoundByName() throws {
        var store = ServiceStore()
        store.maxReserveRevisions = 1
        _ = store.apply([try service("a"), try service("a", namespace: "other")], removing: true)
        #expect(store.revision("svc-00001", namespace: "default")?.namespace == "default")
        #expect(store.revision("svc-00001", namespace: "other")?.namespace == "other")
        #expect(store.revision("svc-00002", namespace: "other") == nil)
        let found = store.revision("svc-00001", namespace: "default")?.uid
        #expect(found == store.revisions(of: Self.name).first?.uid)
        // Collected: the oldest of those without traffic.
        for image in ["b", "c", "d"] {
            _ = store.apply([try service(image)], removing: false)
            let latest = store.revisions(of: Self.name).last?.name
            _ = store.resolveTraffic(
                of: Self.name, isReady: { $0 == latest }, isFailed: { _ in false }, now: start)
        }
        let kept = store.revisions(of: Self.name).map(\.name)
        #expect(!kept.contains("svc-00001") && store.revision("svc-00001", namespace: "default") == nil)
        for name in kept { #expect(store.revision(name, namespace: "default")?.name == name) }
        // Removed with its service; then the name is free for another one.
        _ = store.apply([try service("a", namespace: "other")], removing: true)
        #expect(store.revision(kept[0], namespace: "default") == nil)
        let result = store.apply([try service("x", name: "new", revision: "new-svc")], removing: false)
        #expect(result.diagnostics.isEmpty && store.revision("new-svc", namespace: "default")?.service == "new")
        let taken = store.apply([try service("y", name: "newer", revision: "new-svc")], removing: false)
        #expect(taken.changes.map(\.change) == [.refused])
    }

    /// A refused document is tried again at the next call, the documents before it are not.
    @Test func documentsBehindARefusedOneAreTriedAgain() throws {
        var store = ServiceStore()
        let documents = [
            try service("a", revision: "svc-one"), try service("b", revision: "svc-one"),
            try service("c", revision: "svc-two"),
        ]
        let first = store.apply(documents, removing: true)
        #expect(first.changes.map(\.change) == [.created, .refused, .templateChanged])
        let again = store.apply(documents, removing: true)
        #expect(again.changes.map(\.change) == [.unchanged, .refused, .unchanged])
    }

    /// Two documents of one service make two revisions once; a reload of the same file makes none.
    @Test func severalDocumentsOfOneService() throws {
        var store = ServiceStore()
        let documents = [try service("a"), try service("b")]
        let first = store.apply(documents, removing: true)
        #expect(first.createdRevisions.map(\.name) == ["svc-00001", "svc-00002"])
        let again = store.apply(documents, removing: true)
        #expect(again.changes.map(\.change) == [.unchanged, .unchanged])
        let more = store.apply(documents + [try service("c")], removing: true)
        #expect(more.createdRevisions.map(\.name) == ["svc-00003"])
        let less = store.apply([try service("a")], removing: true)
        #expect(less.changes.map(\.change) == [.templateChanged])
        #expect(less.createdRevisions.map(\.name) == ["svc-00004"])
    }

    /// A refused document in the middle does not hide that a shorter file says something else.
    @Test func shorterFileAfterARefusedDocument() throws {
        var store = ServiceStore()
        let (a, c) = (try service("a", revision: "svc-a"), try service("c", revision: "svc-c"))
        let refused = try service("b", revision: "svc-a")
        let first = store.apply([a, refused, c], removing: true)
        #expect(first.changes.map(\.change) == [.created, .refused, .templateChanged])
        let again = store.apply([a, refused, c], removing: true)
        #expect(again.changes.map(\.change) == [.unchanged, .refused, .unchanged])
        let shorter = store.apply([a], removing: true)
        #expect(shorter.changes.map(\.change) == [.templateChanged])
        #expect(store.service(Self.name)?.template.container.image == "a")
    }

    @Test func reloadRemoves() throws {
        var store = ServiceStore()
        _ = store.apply([try service("a"), try service("a", name: "other")], removing: false)
        let kept = store.apply([try service("a")], removing: false)
        #expect(kept.removedServices.isEmpty)
        let result = store.apply([try service("a")], removing: true)
        #expect(result.removedServices == [ServiceName(name: "other")])
        #expect(result.removedRevisions.map(\.name) == ["other-00001"])
        #expect(store.services.map(\.metadata.name) == ["svc"])
        let back = store.apply([try service("a"), try service("a", name: "other")], removing: true)
        #expect(back.createdRevisions.map(\.name) == ["other-00001"])
        #expect(back.createdRevisions.first?.uid != result.removedRevisions.first?.uid)
    }

    @Test func ownNamesMustChangeWithTheTemplate() throws {
        var store = ServiceStore()
        let text = manifest("name: hello-one", at: .templateMetadata)
        let first = try #require(load(text).services.first)
        let created = store.apply([first], removing: false)
        #expect(created.createdRevisions.map(\.name) == ["hello-one"])
        let changed = try #require(load(text + "        args: [x]\n").services.first)
        let result = store.apply([changed], removing: true)
        #expect(result.changes.map(\.change) == [.refused])
        #expect(
            result.diagnostics.map(\.description) == [
                "f.yaml:9:13: error: Saw the following changes without a name change (-old +new): "
                    + "spec.template.metadata.name; spec.containers[0].args: +[\"x\"]; "
                    + "give the revision a new name, or remove it"
            ])
        // Nothing was taken, and the same file is complained about again.
        #expect(store.service(ServiceName(name: "hello"))?.template == first.template)
        let again = store.apply([changed], removing: true)
        #expect(again.diagnostics.count == 1)
    }

    @Test func ownNamesAreTakenOrTakenUpAgain() throws {
        var store = ServiceStore()
        _ = store.apply([try service("a", revision: "svc-a")], removing: false)
        _ = store.apply([try service("b", revision: "svc-b")], removing: false)
        let back = store.apply([try service("a", revision: "svc-a")], removing: false)
        #expect(back.changes.map(\.change) == [.templateChanged])
        #expect(back.createdRevisions.isEmpty)
        #expect(store.revisions(of: Self.name).map(\.name) == ["svc-b", "svc-a"])
        let conflict = store.apply([try service("c", revision: "svc-b")], removing: false)
        #expect(conflict.changes.map(\.change) == [.refused])
        #expect(
            conflict.diagnostics.first?.problem
                == "The revision name \"svc-b\" is taken by a conflicting Revision, so traffic will not be migrated")
        // Another service's name, made by its generation.
        _ = store.apply([try service("a", name: "svc-x")], removing: false)
        let other = store.apply([try service("d", revision: "svc-x-00001")], removing: false)
        #expect(other.changes.map(\.change) == [.refused])
        let elsewhere = store.apply([try service("d", revision: "svc-x-00001", namespace: "n")], removing: false)
        #expect(elsewhere.changes.map(\.change) == [.created])
    }

    @Test func tagHostOfAnotherService() throws {
        var store = ServiceStore()
        let tagged = try service("a", traffic: [TrafficTarget(percent: 100, tag: "old")])
        let result = store.apply([tagged, try service("a", name: "old-svc")], removing: true)
        #expect(
            result.diagnostics.map(\.problem) == [
                "the host \"old-svc.default\" of tag \"old\" belongs to service \"old-svc\""
            ])
    }

    @Test func oldRevisionsAreBounded() throws {
        var store = ServiceStore()
        store.maxReserveRevisions = 3
        var removed: [String] = []
        for index in 0..<10 {
            let result = store.apply([try service("image\(index)")], removing: true)
            _ = store.resolveTraffic(of: Self.name, isReady: { _ in true }, isFailed: { _ in false }, now: start)
            removed += result.removedRevisions.map(\.name)
        }
        #expect(removed.first == "svc-00001")
        #expect(store.revisions(of: Self.name).count <= 5)
        #expect(removed.count + store.revisions(of: Self.name).count == 10)
        #expect(store.revisions(of: Self.name).last?.name == "svc-00010")
    }
}

@Suite struct TrafficTests {
    static let name = ServiceName(name: "svc")

    private static func resolve(
        _ store: inout ServiceStore, ready: Set<String>, failed: Set<String> = []
    ) -> TrafficResolution {
        store.resolveTraffic(
            of: name, isReady: { ready.contains($0) }, isFailed: { failed.contains($0) }, now: start)
    }

    @Test func latestFollowsTheLatestReady() throws {
        var store = ServiceStore()
        _ = store.apply([try service("a")], removing: false)
        var traffic = Self.resolve(&store, ready: [])
        #expect(traffic.main.isEmpty)
        #expect(
            traffic.problems == [
                TrafficProblem(
                    reason: "RevisionMissing",
                    message: "Configuration \"svc\" is waiting for a Revision to become ready.", isFailure: false)
            ])
        let first = try #require(store.revision("svc-00001", namespace: "default"))
        #expect(store.routingState(of: first) == .pending)
        traffic = Self.resolve(&store, ready: [], failed: ["svc-00001"])
        #expect(traffic.problems.map(\.message) == ["Configuration \"svc\" does not have any ready Revision."])
        traffic = Self.resolve(&store, ready: ["svc-00001"])
        #expect(traffic.main == [RevisionShare(revision: "svc-00001", percent: 100)])
        #expect(store.routingState(of: first) == .active)
        _ = store.apply([try service("b")], removing: false)
        traffic = Self.resolve(&store, ready: ["svc-00001"])
        #expect(traffic.main == [RevisionShare(revision: "svc-00001", percent: 100)])
        #expect(traffic.isCurrent)
        traffic = Self.resolve(&store, ready: ["svc-00001", "svc-00002"])
        #expect(traffic.main == [RevisionShare(revision: "svc-00002", percent: 100)])
        #expect(traffic.released == ["svc-00001"])
        #expect(store.routingState(of: first) == .reserve)
        #expect(store.reserveRevisions(of: Self.name).map(\.name) == ["svc-00001"])
        // It does not fall back when the latest ready one fails later: the last good traffic stays.
        traffic = Self.resolve(&store, ready: ["svc-00001"])
        #expect(traffic.main == [RevisionShare(revision: "svc-00002", percent: 100)])
        #expect(traffic.problems.map(\.message) == ["Revision \"svc-00002\" is not yet ready."])
        #expect(traffic.released.isEmpty)
    }

    /// A split with a tag: the main host has all percents, each tag its own host.
    @Test func splitAndTags() throws {
        var store = ServiceStore()
        _ = store.apply([try service("a"), try service("b")], removing: false)
        let targets = [
            TrafficTarget(percent: 80), TrafficTarget(percent: 20, tag: "old", revisionName: "svc-00001"),
            TrafficTarget(percent: 0, tag: "new"), TrafficTarget(percent: 0, revisionName: "svc-00002"),
        ]
        _ = store.apply([try service("b", traffic: targets)], removing: false)
        let traffic = Self.resolve(&store, ready: ["svc-00001", "svc-00002"])
        #expect(
            traffic.main == [
                RevisionShare(revision: "svc-00002", percent: 80), RevisionShare(revision: "svc-00001", percent: 20),
            ])
        #expect(traffic.tags["old"] == [RevisionShare(revision: "svc-00001", percent: 100)])
        #expect(traffic.tags["new"] == [RevisionShare(revision: "svc-00002", percent: 100)])
        let hosts = store.hosts(of: Self.name, domain: "example.com")
        #expect(
            hosts.filter { !$0.isClusterLocal }.map(\.host) == [
                "svc.default.example.com", "new-svc.default.example.com", "old-svc.default.example.com",
            ])
        #expect(
            hosts.filter { $0.tag == nil && $0.isClusterLocal }.map(\.host) == [
                "svc.default", "svc.default.svc", "svc.default.svc.cluster.local",
            ])
    }

    /// The whole way: a file that brings a first version, then a second with a split between both and a tag.
    @Test func blueAndGreenFromOneFile() throws {
        let blue = manifest("name: hello-blue", at: .templateMetadata)
        let green =
            manifest("name: hello-green", at: .templateMetadata) + """
                        env: [{name: COLOR, value: green}]
                  traffic:
                  - {revisionName: hello-blue, percent: 90}
                  - {revisionName: hello-green, percent: 10, tag: green}

                """
        let result = load(blue + "---\n" + green)
        #expect(result.diagnostics == [])
        var store = ServiceStore()
        #expect(
            store.apply(result.services, removing: true).createdRevisions.map(\.name) == ["hello-blue", "hello-green"])
        let name = ServiceName(name: "hello")
        let traffic = store.resolveTraffic(of: name, isReady: { _ in true }, isFailed: { _ in false }, now: start)
        #expect(
            traffic.main == [
                RevisionShare(revision: "hello-blue", percent: 90), RevisionShare(revision: "hello-green", percent: 10),
            ])
        #expect(traffic.tags == ["green": [RevisionShare(revision: "hello-green", percent: 100)]])
        #expect(store.hosts(of: name, domain: "test").map(\.host).contains("green-hello.default.test"))
    }

    @Test func sharesOfOneRevisionAreAdded() throws {
        var store = ServiceStore()
        let targets = [
            TrafficTarget(percent: 30), TrafficTarget(percent: 50, revisionName: "svc-00001"),
            TrafficTarget(percent: 20, tag: "a"),
        ]
        _ = store.apply([try service("a", traffic: targets)], removing: false)
        let traffic = Self.resolve(&store, ready: ["svc-00001"])
        #expect(traffic.main == [RevisionShare(revision: "svc-00001", percent: 100)])
    }

    /// A 0-percent target has no share but keeps its revision reachable.
    @Test func zeroPercentStaysReachable() throws {
        var store = ServiceStore()
        let targets = [TrafficTarget(percent: 100), TrafficTarget(percent: 0, revisionName: "svc-00001")]
        _ = store.apply([try service("a"), try service("b", traffic: targets)], removing: false)
        let traffic = Self.resolve(&store, ready: ["svc-00001", "svc-00002"])
        #expect(traffic.main == [RevisionShare(revision: "svc-00002", percent: 100)])
        #expect(traffic.referenced == ["svc-00001", "svc-00002"])
        #expect(store.revisions(of: Self.name).map { store.routingState(of: $0) } == [.active, .active])
    }

    @Test(arguments: [
        ("svc-00009", "RevisionMissing", "Revision \"svc-00009\" referenced in traffic not found.", true),
        (
            "other-00001", "RevisionNotOwned",
            "Revision \"other-00001\" belongs to Service \"other\", not Service \"svc\".", true
        ),
        ("svc-00002", "RevisionMissing", "Revision \"svc-00002\" is not yet ready.", false),
        ("svc-00003", "RevisionMissing", "Revision \"svc-00003\" failed to become ready.", true),
    ])
    func unassignedTargetsKeepTheLastTraffic(revision: String, reason: String, message: String, isFailure: Bool) throws
    {
        var store = ServiceStore()
        let pinned = [TrafficTarget(percent: 100, revisionName: "svc-00001")]
        _ = store.apply(
            [
                try service("x", name: "other"), try service("a"), try service("b"), try service("c", traffic: pinned),
            ], removing: false)
        _ = Self.resolve(&store, ready: ["svc-00001"])
        let targets = [
            TrafficTarget(percent: 50, revisionName: revision), TrafficTarget(percent: 50, revisionName: "svc-00001"),
        ]
        _ = store.apply([try service("c", traffic: targets)], removing: false)
        let traffic = Self.resolve(&store, ready: ["svc-00001"], failed: ["svc-00003"])
        #expect(traffic.problems == [TrafficProblem(reason: reason, message: message, isFailure: isFailure)])
        #expect(traffic.main == [RevisionShare(revision: "svc-00001", percent: 100)])
        #expect(!traffic.isCurrent)
    }

    @Test func clusterLocalServicesHaveNoExternalHost() throws {
        var local = try service("a")
        local.metadata.labels["networking.knative.dev/visibility"] = "cluster-local"
        #expect(local.hosts(domain: "example.com").filter { !$0.isClusterLocal } == [])
    }

    @Test func unknownServices() {
        var store = ServiceStore()
        #expect(Self.resolve(&store, ready: []).main.isEmpty)
        #expect(store.hosts(of: Self.name, domain: "d").isEmpty)
    }
}
