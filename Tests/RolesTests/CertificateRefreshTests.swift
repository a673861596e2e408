import Testing

@testable import Roles
@testable import TLS

/// What a change of the folder does, for every kind of change and every reason to look.
@Suite struct CertificateRefreshTests {
    private let now = Fixture.now

    /// The pairs `a` and `b`, served.
    private struct Served {
        let folder = Folder()
        var refresh: CertificateRefresh
        var published: CertificateSet?

        init() throws {
            folder.write("a", try Fixture.pair(["a.test"]))
            folder.write("b", try Fixture.pair(["b.test"]))
            let sources = CertificateFolder(folder.path).read().sources ?? []
            let loaded = CertificateSet.load(sources, now: Fixture.now)
            #expect(loaded.problems.isEmpty)
            refresh = CertificateRefresh(loaded.set, sources: sources)
        }

        /// What is said, in short; "again" for a second look, "" for nothing.
        mutating func look(_ cause: CertificateRefresh.Cause, at now: Int64 = Fixture.now) -> String {
            switch refresh.take(CertificateFolder(folder.path).read(), cause: cause, now: now) {
            case .none: return ""
            case .readAgain: return "again"
            case .use(let set, let notices):
                published = set ?? published
                return notices.map { notice in
                    switch notice {
                    case .refused(let problem): "refused \(problem.file.dropFirst(folder.path.utf8.count + 1))"
                    case .removed(let file): "removed \(file.dropFirst(folder.path.utf8.count + 1))"
                    case .serving(let pairs): "serving \(pairs)"
                    }
                }.joined(separator: ", ")
            }
        }

        var names: [String] { refresh.set.names.sorted() }
    }

    @Test func wholePairsAreUsedAtOnce() throws {
        var served = try Served()
        #expect(served.look(.changed) == "" && served.look(.clock) == "" && served.look(.settled) == "")
        served.folder.write("a", try Fixture.pair(["a2.test"]))
        #expect(served.look(.changed) == "serving 2")
        #expect(served.names == ["a2.test", "b.test"] && served.published?.names.sorted() == served.names)
        served.folder.write("c", try Fixture.pair(["c.test"]))
        #expect(served.look(.changed) == "serving 3")
        #expect(served.look(.asked) == "serving 3")
    }

    /// Certificate first, key later: nothing is said and nothing changes in between.
    @Test func halfWrittenPairsAreWaitedFor() throws {
        var served = try Served()
        let new = try Fixture.pair(["a2.test"])
        served.folder.write("a.crt", new.certificate)
        #expect(served.look(.changed) == "again")
        #expect(served.look(.changed) == "", "one second look is enough")
        #expect(served.names == ["a.test", "b.test"])
        served.folder.write("a.key", new.key)
        #expect(served.look(.changed) == "serving 2")
        #expect(served.look(.settled) == "")
        #expect(served.names == ["a2.test", "b.test"])
    }

    @Test func brokenPairsKeepTheOldOne() throws {
        var served = try Served()
        served.folder.write("a.crt", try Fixture.pair(["a2.test"]).certificate)
        served.folder.write("b", try Fixture.pair(["b2.test"]))
        #expect(served.look(.changed) == "again")
        #expect(served.look(.settled) == "refused a.key, serving 2")
        #expect(served.names == ["a.test", "b2.test"])
        // Said once, unless somebody asks or it is broken anew.
        #expect(served.look(.changed) == "" && served.look(.clock) == "")
        #expect(served.look(.asked) == "refused a.key, serving 2")
        served.folder.write("a.crt", try Fixture.pair(["a3.test"]).certificate)
        #expect(served.look(.changed) == "again")
        #expect(served.look(.settled) == "refused a.key")
        // The good one goes on changing meanwhile.
        served.folder.write("b", try Fixture.pair(["b3.test"]))
        #expect(served.look(.changed) == "serving 2")
        served.folder.write("a", try Fixture.pair(["a4.test"]))
        #expect(served.look(.changed) == "serving 2")
        #expect(served.names == ["a4.test", "b3.test"])
    }

    /// Every other way to be broken: the old pair serves on, and a new one is not served.
    @Test(arguments: ["empty", "partner", "text", "expired", "future", "folder"]) func eachKindOfBreakage(
        kind: String
    ) throws {
        var served = try Served()
        switch kind {
        case "empty": served.folder.write("a.crt", [])
        case "partner": served.folder.remove("a.key")
        case "text": served.folder.write("a.key", Array("none".utf8))
        case "expired": served.folder.write("a", try Fixture.pair(["x.test"], at: now - 90 * 86_400, days: 30))
        case "future": served.folder.write("a", try Fixture.pair(["x.test"], at: now + 86_400))
        default:
            served.folder.remove("a.crt")
            served.folder.make("a.crt")
        }
        #expect(served.look(.changed) == "again")
        let said = served.look(.settled)
        #expect(said == "refused a.crt" || said == "refused a.key")
        #expect(served.names == ["a.test", "b.test"])
    }

    @Test func whatBecomesValidIsUsed() throws {
        var served = try Served()
        served.folder.write("a", try Fixture.pair(["a2.test"], at: now + 86_400))
        #expect(served.look(.asked) == "refused a.crt, serving 2")
        #expect(served.look(.clock, at: now + 3_600) == "")
        #expect(served.look(.clock, at: now + 86_400) == "serving 2")
        #expect(served.names == ["a2.test", "b.test"])
    }

    @Test func removedPairsGoAfterAMoment() throws {
        var served = try Served()
        served.folder.remove("a.crt")
        served.folder.remove("a.key")
        #expect(served.look(.changed) == "again")
        #expect(served.names == ["a.test", "b.test"])
        #expect(served.look(.settled) == "removed a.crt")
        #expect(served.names == ["b.test"])
    }

    /// An empty or missing folder is a mistake, never an order to serve nothing.
    @Test func neverLeftWithNothing() throws {
        var served = try Served()
        for name in ["a.crt", "a.key", "b.crt", "b.key"] { served.folder.remove(name) }
        #expect(served.look(.changed) == "again")
        #expect(served.look(.settled) == "refused ")
        #expect(served.names == ["a.test", "b.test"] && served.published == nil)
        served.folder.remove("")
        #expect(served.look(.asked) == "refused ")
        #expect(served.names == ["a.test", "b.test"])
        // Renamed and broken at once.
        mkdirAgain(served.folder)
        served.folder.write("c.crt", try Fixture.pair(["c.test"]).certificate)
        #expect(served.look(.asked) == "refused c.crt")
        #expect(served.names == ["a.test", "b.test"])
        served.folder.write("c", try Fixture.pair(["c.test"]))
        #expect(served.look(.changed) == "again")
        #expect(served.look(.settled) == "removed a.crt, removed b.crt, serving 1")
        #expect(served.names == ["c.test"])
    }

    private func mkdirAgain(_ folder: Folder) { folder.make("") }

    @Test func remindersComeOnceADay() {
        let end = now + 20 * 86_400
        var reminder = ExpiryReminder()
        func due(_ seconds: Int64, _ end: Int64) -> [Int64?] {
            let item = CertificateSet.Served(file: "a.crt", names: [], expiresAt: end, isDefault: false)
            return reminder.due([item], now: now + seconds).map(\.daysLeft)
        }
        #expect(due(0, end) == [] && due(6 * 86_400, end) == [])
        #expect(due(6 * 86_400 + 1, end) == [13])
        #expect(due(6 * 86_400 + 3_600, end) == [])
        #expect(due(7 * 86_400 + 1, end) == [12])
        #expect(due(20 * 86_400 + 5, end) == [nil])
        #expect(due(20 * 86_400 + 9, now + 21 * 86_400) == [0], "another one that ends soon too")
        #expect(due(20 * 86_400 + 10, now + 90 * 86_400) == [], "renewed")
    }

    @Test func timesAreReadable() {
        #expect(utcText(1_767_225_600 + 3_723) == "2026-01-01 01:02:03 UTC")
    }
}
