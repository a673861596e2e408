import Glibc
import Synchronization
import TLS
import Testing

@testable import Roles

/// The authority of a user's own: made once, kept closed, good for little.
@Suite struct LocalAuthorityTests {
    private let now = Fixture.now

    private func store(_ folder: Folder, _ domain: String = "localhost") throws -> LocalAuthorityStore {
        try LocalAuthorityStore(domain: domain, directory: folder.at("state/martlet"))
    }

    @Test func madeOnceAndUsedAgain() throws {
        let folder = Folder()
        let first = try store(folder).describe(now: now)
        let second = try store(folder, "LOCALHOST").describe(now: now + 86_400)
        #expect(first.isNew && !second.isNew)
        #expect(first.fingerprint == second.fingerprint && first.pem == second.pem)
        #expect(first.certificateFile == folder.at("state/martlet/ca/localhost/ca.crt"))
        #expect(first.fingerprint.contains(#/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/#), "\(first.fingerprint)")
        #expect(first.expires == utcText(now + LocalAuthority.authorityDays * 86_400))
        let other = try store(folder, "example.test").describe(now: now)
        #expect(other.isNew && other.fingerprint != first.fingerprint)
        for name in ["state", "state/martlet", "state/martlet/ca", "state/martlet/ca/localhost"] {
            #expect(folder.mode(name) == 0o700, "\(name)")
        }
        #expect(folder.mode("state/martlet/ca/localhost/ca.key") == 0o600)
        #expect(folder.names("state/martlet/ca") == ["example.test", "localhost"])
    }

    /// Many at once: all get the same, and nothing is left of the others.
    @Test func manyStartAtOnce() throws {
        let folder = Folder()
        let store = try store(folder)
        let found = Mutex<[String]>([])
        let threads = (0..<8).map { _ in
            TestThread { [now] in
                let description = try? store.describe(now: now)
                found.withLock { $0.append(description?.fingerprint ?? "failed") }
            }
        }
        for thread in threads { thread.join() }
        let all = found.withLock { $0 }
        #expect(all.count == 8 && Set(all).count == 1 && all.first != "failed", "\(all)")
        #expect(folder.names("state/martlet/ca") == ["localhost"])
        #expect(folder.names("state/martlet/ca/localhost") == ["ca.crt", "ca.key"])
    }

    @Test func whatIsNotOursIsRefused() throws {
        func refusal(_ prepare: (Folder) throws -> Void) throws -> String {
            let folder = Folder()
            for name in ["state", "state/martlet", "state/martlet/ca"] { folder.make(name) }
            try prepare(folder)
            do {
                let found = try store(folder).describe(now: now)
                return "made \(found.isNew)"
            } catch let failure as LocalAuthorityFailure {
                return failure.description.replacing(folder.path, with: "DIR")
            }
        }
        #expect(
            try refusal { chmod($0.at("state/martlet"), 0o755) }.contains("DIR/state/martlet: not a directory of mode"))
        #expect(try refusal { chmod($0.at("state/martlet/ca"), 0o770) }.contains("DIR/state/martlet/ca: not a dir"))
        let linked = try refusal { folder in
            folder.make("elsewhere")
            folder.link("state/martlet/ca/localhost", to: "../../../elsewhere")
        }
        #expect(linked.contains("DIR/state/martlet/ca/localhost: Not a directory"), "\(linked)")
        let file = try refusal { folder in
            folder.remove("state/martlet")
            folder.write("state/martlet", [])
        }
        #expect(file.contains("DIR/state/martlet: Not a directory"), "\(file)")
        #expect(file.contains("set XDG_STATE_HOME to a folder of your own"), "\(file)")
    }

    @Test func brokenOnesAreReported() throws {
        func report(_ damage: (Folder) throws -> Void, at later: Int64 = 0) throws -> String {
            let folder = Folder()
            let made = try store(folder).describe(now: now)
            #expect(made.isNew)
            try damage(folder)
            do {
                let again = try store(folder).describe(now: now + later)
                return again.fingerprint == made.fingerprint ? "the same" : "another"
            } catch let failure as LocalAuthorityFailure {
                return failure.description.replacing(folder.path, with: "DIR")
            }
        }
        let key = "state/martlet/ca/localhost/ca.key"
        #expect(try report { _ in } == "the same")
        #expect(try report { chmod($0.at(key), 0o644) }.contains("ca.key: others can read this secret"))
        #expect(try report { $0.remove(key) }.contains("DIR/\(key): No such file"))
        let mismatch = try report { $0.write(key, try Fixture.authority().pem.key) }
        #expect(mismatch.contains("does not belong to the certificate in DIR/"), "\(mismatch)")
        #expect(mismatch.contains("remove DIR/state/martlet/ca/localhost to have a new one made"), "\(mismatch)")
        let leaf = try report {
            $0.write("state/martlet/ca/localhost/ca.crt", try Fixture.pair(["a.test"]).certificate)
        }
        #expect(leaf.contains("the local authority cannot be used"), "\(leaf)")
        let ended = try report({ _ in }, at: LocalAuthority.authorityDays * 86_400)
        #expect(ended.contains("ends at 2035-12-30 00:00:00 UTC"), "\(ended)")
    }

    @Test(arguments: ["a_b", "..", "a..b", "-a", "a/b", "*.test", String(repeating: "a", count: 64)])
    func unusableDomains(domain: String) {
        #expect(throws: LocalAuthorityFailure.self) { try LocalAuthorityStore(domain: domain, directory: "/tmp/x") }
    }

    // MARK: What it signs

    @Test func oneForTheMachineAndOneForEachNamespace() throws {
        var certificates = LocalCertificates(try Fixture.authority(["localhost"]), domain: "localhost")
        let first = try #require(try certificates.update(hosts: [:], now: now))
        #expect(first.served.map(\.isDefault) == [true] && first.names == ["localhost"])
        #expect(try certificates.update(hosts: [:], now: now) == nil, "nothing has changed")
        let hosts = ["default": ["b.default.localhost", "a.default.localhost"], "team": ["x.team.localhost"]]
        let second = try #require(try certificates.update(hosts: hosts, now: now))
        #expect(
            second.served.map(\.names) == [
                ["localhost"], ["*.default.localhost", "a.default.localhost", "b.default.localhost"],
                ["*.team.localhost", "x.team.localhost"],
            ])
        #expect(second.hasName(for: "later.default.localhost"))
        let third = try #require(try certificates.update(hosts: ["default": hosts["default"] ?? []], now: now))
        #expect(third.served.count == 2)
        let many = ["default": (0..<500).map { "s\($0).default.localhost" }]
        let large = try #require(try certificates.update(hosts: many, now: now))
        #expect(large.names.count == 1 + LocalCertificates.namesLimit && large.hasName(for: "s499.default.localhost"))
    }

    @Test func renewedInTime() throws {
        let day: Int64 = 86_400
        var certificates = LocalCertificates(try Fixture.authority(), domain: "example.test")
        let first = try #require(try certificates.update(hosts: [:], now: now))
        #expect(first.names == ["localhost", "example.test"])
        let end = now + LocalAuthority.certificateDays * day
        #expect(first.firstExpiry == end)
        #expect(try certificates.update(hosts: [:], now: end - 30 * day) == nil)
        let later = try #require(try certificates.update(hosts: [:], now: end - 30 * day + 1))
        #expect(later.firstExpiry == end - 30 * day + 1 + LocalAuthority.certificateDays * day)
    }

    /// No certificate outlives the authority, and its last ones are not signed anew every hour.
    @Test func theAuthoritysOwnEnd() throws {
        var certificates = LocalCertificates(try Fixture.authority(days: 10), domain: "localhost")
        let set = try #require(try certificates.update(hosts: [:], now: now + 5))
        let expiry = try #require(set.firstExpiry)
        #expect(expiry <= now + 10 * 86_400 && expiry > now + 9 * 86_400)
        #expect(try certificates.update(hosts: [:], now: now + 3_600) == nil)
    }
}

/// A thread that can be joined.
final class TestThread {
    private var thread = pthread_t()
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    init(_ body: @escaping @Sendable () -> Void) {
        let argument = Unmanaged.passRetained(Body(body)).toOpaque()
        pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, argument)
    }

    func join() { pthread_join(thread, nil) }
}
