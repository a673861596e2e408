import EventLoop
import Glibc
import Logging
import Primitives
import Synchronization
import TLS
import Testing

@testable import Roles

/// Files that change under a running loop, as people, editors, certbot and Kubernetes change them.
@Suite struct CertificateKeeperTests {
    /// A keeper on a loop of its own, and what it has published and said.
    private final class Kept {
        let loop: Loop
        let keeper: CertificateKeeper
        let log = LogLines()
        var published: [CertificateSet] = []
        static let now: Int64 = MonotonicClock.wallSeconds()

        init(_ folder: CertificateFolder, rotation: UInt64 = 3_600_000) throws {
            loop = try Loop()
            let opened = try OpenedCertificates.reading(folder, now: Self.now)
            let tickets = try TicketKeyRing(rotationMilliseconds: rotation, now: loop.now)
            let lines = log
            keeper = CertificateKeeper(
                opened, tickets: tickets, loop: loop, logger: Logger(label: "test") { _ in lines.handler })
            keeper.start { [unowned self] in published.append($0) }
        }

        /// Runs the loop until `isDone`; false if it takes longer than 20 s.
        func run(until isDone: () -> Bool) -> Bool {
            let deadline = MonotonicClock.now().adding(milliseconds: 20_000)
            while !isDone() {
                guard MonotonicClock.now() < deadline else { return false }
                loop.runOnce(atMostMilliseconds: 50)
            }
            return true
        }

        func serves(_ name: String) -> Bool { published.last?.hasName(for: name) ?? false }
    }

    private func pair(_ name: String) throws -> PEMPair { try Fixture.pair([name], at: Kept.now) }

    @Test func filesWrittenInPlaceAndRenamed() throws {
        let folder = Folder()
        folder.write("tls", try pair("a.test"))
        let kept = try Kept(CertificateFolder(folder.path))
        folder.write("tls", try pair("b.test"))
        #expect(kept.run { kept.serves("b.test") }, "\(kept.log.lines)")
        folder.write("new", try pair("c.test"))
        folder.move("new.crt", to: "tls.crt")
        folder.move("new.key", to: "tls.key")
        #expect(kept.run { kept.serves("c.test") }, "\(kept.log.lines)")
        #expect(!kept.log.lines.contains { $0.contains("refused") }, "\(kept.log.lines)")
    }

    /// Kubernetes: the files are links through `..data`, which is swapped.
    @Test func linksAreSwappedInside() throws {
        let folder = Folder()
        folder.make("..one")
        folder.write("..one/tls", try pair("a.test"))
        folder.link("..data", to: "..one")
        for name in ["tls.crt", "tls.key"] { folder.link(name, to: "..data/\(name)") }
        let kept = try Kept(CertificateFolder(folder.path))
        for round in 0..<5 {
            folder.make("..new\(round)")
            folder.write("..new\(round)/tls", try pair("r\(round).test"))
            folder.link("..tmp", to: "..new\(round)")
            folder.move("..tmp", to: "..data")
            #expect(kept.run { kept.serves("r\(round).test") }, "\(kept.log.lines)")
        }
        #expect(!kept.log.lines.contains { $0.contains("refused") }, "\(kept.log.lines)")
    }

    /// The folder itself is a link that is swapped, again and again: the watch follows.
    @Test func theFolderIsSwapped() throws {
        let folder = Folder()
        folder.make("v0")
        folder.write("v0/tls", try pair("a.test"))
        folder.link("now", to: "v0")
        let kept = try Kept(CertificateFolder(folder.at("now")))
        for round in 1...3 {
            folder.make("v\(round)")
            folder.write("v\(round)/tls", try pair("r\(round).test"))
            folder.link("next", to: "v\(round)")
            folder.move("next", to: "now")
            #expect(kept.run { kept.serves("r\(round).test") }, "\(kept.log.lines)")
            // And what is written into the new one is seen.
            folder.write("v\(round)/tls", try pair("s\(round).test"))
            #expect(kept.run { kept.serves("s\(round).test") }, "\(kept.log.lines)")
        }
    }

    /// certbot: new files come into an archive, then links elsewhere are turned to them, one after the other.
    @Test func linksLeadElsewhere() throws {
        let folder = Folder()
        for name in ["certs", "live", "archive"] { folder.make(name) }
        for ending in ["crt", "key"] {
            folder.link("live/x.\(ending)", to: "../archive/x1.\(ending)")
            folder.link("certs/tls.\(ending)", to: folder.at("live/x.\(ending)"))
        }
        folder.write("archive/x1", try pair("r1.test"))
        let kept = try Kept(CertificateFolder(folder.at("certs")))
        for round in 2...4 {
            folder.write("archive/x\(round)", try pair("r\(round).test"))
            for ending in ["crt", "key"] {
                folder.link("live/new", to: "../archive/x\(round).\(ending)")
                folder.move("live/new", to: "live/x.\(ending)")
            }
            #expect(kept.run { kept.serves("r\(round).test") }, "\(kept.log.lines)")
        }
        folder.write("archive/x4", try pair("in-place.test"))
        #expect(kept.run { kept.serves("in-place.test") }, "\(kept.log.lines)")
        #expect(!kept.log.lines.contains { $0.contains("refused") }, "\(kept.log.lines)")
    }

    /// A pair that stays half written is reported after a moment, once, and taken when it is whole.
    @Test func halfWritten() throws {
        let folder = Folder()
        folder.write("tls", try pair("a.test"))
        let kept = try Kept(CertificateFolder(folder.path))
        let new = try pair("b.test")
        folder.write("tls.crt", new.certificate)
        #expect(kept.run { kept.log.lines.contains { $0.contains("certificate refused") } })
        #expect(kept.published.isEmpty)
        let line = try #require(kept.log.lines.first { $0.contains("certificate refused") })
        #expect(line.contains("file=\(folder.at("tls.key"))") && line.contains("served=the old one"), "\(line)")
        folder.write("tls.key", new.key)
        #expect(kept.run { kept.serves("b.test") }, "\(kept.log.lines)")
        #expect(kept.log.lines.count { $0.contains("certificate refused") } == 1, "\(kept.log.lines)")
    }

    /// The folder goes and comes again: the old certificates serve meanwhile, and the new watch works.
    @Test func theFolderIsMadeAnew() throws {
        let folder = Folder()
        folder.make("certs")
        folder.write("certs/tls", try pair("a.test"))
        let kept = try Kept(CertificateFolder(folder.at("certs")))
        folder.remove("certs")
        #expect(kept.run { kept.log.lines.contains { $0.contains("certificate refused") } }, "\(kept.log.lines)")
        #expect(kept.published.isEmpty && kept.keeper.set.hasName(for: "a.test"))
        folder.make("certs")
        folder.write("certs/tls", try pair("b.test"))
        #expect(kept.run { kept.serves("b.test") }, "\(kept.log.lines)")
        folder.write("certs/tls", try pair("c.test"))
        #expect(kept.run { kept.serves("c.test") }, "\(kept.log.lines)")
    }

    @Test func hostsWithoutACertificateAreNamedOnce() throws {
        let folder = Folder()
        folder.write("tls", try pair("*.default.test"))
        let kept = try Kept(CertificateFolder(folder.path))
        let hosts = ["default": ["a.default.test"], "team": (10..<25).map { "s\($0).team.test" }]
        kept.keeper.use(hosts: hosts)
        kept.keeper.use(hosts: hosts)
        let lines = kept.log.lines.filter { $0.contains("no certificate names these hosts") }
        #expect(lines.count == 1 && lines[0].contains("s19.team.test and 5 more"), "\(lines)")
        #expect(!lines[0].contains("a.default.test"))
    }

    /// The control thread's loop rotates the keys of tickets when their time has come, again and again.
    @Test func ticketKeysRotate() throws {
        let folder = Folder()
        folder.write("tls", try pair("a.test"))
        let kept = try Kept(CertificateFolder(folder.path), rotation: 20)
        var deadlines: Set<Instant> = []
        let isRenewed = kept.run {
            deadlines.insert(kept.keeper.tickets.deadline)
            return deadlines.count == 4
        }
        #expect(isRenewed, "\(deadlines)")
    }

    /// What ends soon is said at the start already.
    @Test func endsSoon() throws {
        let folder = Folder()
        folder.write("tls", try Fixture.pair(["a.test"], at: Kept.now - 3_600, days: 5))
        let kept = try Kept(CertificateFolder(folder.path))
        let lines = kept.log.lines
        #expect(lines.count { $0.contains("certificate ends soon") && $0.contains("days_left=4") } == 1, "\(lines)")
    }

    /// At the start nothing is half accepted.
    @Test func theStartRefusesEverythingBroken() throws {
        let folder = Folder()
        folder.write("tls", try pair("a.test"))
        folder.write("x.crt", [])
        folder.write("y.key", [1])
        let failure = #expect(throws: CertificateFailure.self) {
            _ = try OpenedCertificates(.folder(folder.path), domain: "localhost")
        }
        let problems = (failure?.problems ?? []).map { $0.replacing(folder.path, with: "DIR") }
        #expect(problems.count == 3 && problems.allSatisfy { $0.contains(": error: ") }, "\(problems)")
    }

    /// The local authority's certificates follow the hosts.
    @Test func signedForTheHosts() throws {
        let folder = Folder()
        let store = try LocalAuthorityStore(domain: "localhost", directory: folder.at("state"))
        let loop = try Loop()
        let keeper = CertificateKeeper(
            try OpenedCertificates.signing(store, now: Kept.now), tickets: try TicketKeyRing(now: loop.now), loop: loop,
            logger: Logger(label: "test") { _ in LogLines().handler })
        var published: [CertificateSet] = []
        keeper.start { published.append($0) }
        #expect(published.isEmpty && keeper.set.hasName(for: "localhost"))
        keeper.use(hosts: ["default": ["a.default.localhost"]])
        keeper.use(hosts: ["default": ["a.default.localhost"]])
        keeper.reload()
        #expect(published.count == 1 && published[0].hasName(for: "a.default.localhost"))
        keeper.use(hosts: ["team": ["a.team.localhost"]])
        #expect(published.count == 2 && !published[1].hasName(for: "a.default.localhost"))
    }
}

/// Log lines as text.
final class LogLines: Sendable {
    private let all = Mutex<[String]>([])
    var lines: [String] { all.withLock { $0 } }
    var handler: any LogHandler { Handler(lines: self) }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let fields = (event.metadata ?? [:]).map { " \($0.key)=\($0.value)" }.sorted().joined()
            lines.all.withLock { $0.append("\(event.message)\(fields)") }
        }
    }
}
