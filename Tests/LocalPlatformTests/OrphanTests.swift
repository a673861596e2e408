import EventLoop
import Glibc
import Primitives
import Testing

@testable import LocalPlatform

/// Nothing of a pod outlives martlet, whatever ends it. Each test lets a second process start pods and die.
@Suite struct OrphanTests {
    /// Starts a platform with three pods that each have a grandchild, in this process; returns when all pids are on
    /// disk.
    static func startFamily(in directory: String) throws -> Harness {
        let harness = try Harness { $0.runDirectory = "\(directory)/run" }
        for _ in 0..<3 {
            var spec = Harness.shell("sh -c 'sleep 1000 & echo $$ $! >> pids; wait' & wait")
            spec.workingDirectory = directory
            _ = harness.platform.start(spec)
        }
        _ = harness.run { pids(in: directory).count == 6 }
        harness.platform.writeJournal()
        return harness
    }

    static func opens(_ path: String) -> Bool {
        do throws(RunDirectoryFailure) {
            _ = try RunDirectory.open(path)
            return true
        } catch { return false }
    }

    static func pids(in directory: String) -> [Int32] {
        let text = SystemFile.read("\(directory)/pids", atMost: 4_096) ?? ""
        return text.split { $0 == "\n" || $0 == " " }.compactMap { Int32($0) }
    }

    /// kill -9 of martlet: the guardian takes the groups, grandchildren included.
    @Test func killedMartletLeavesNothing() async throws {
        let directory = try Harness.makeDirectory()
        defer { Harness.remove(directory) }
        await #expect(processExitsWith: .signal(SIGKILL)) { [directory = directory as String] in
            let harness = try OrphanTests.startFamily(in: directory)
            kill(getpid(), SIGKILL)
            _ = harness.finish()  // never reached: holds it till here
        }
        let pids = Self.pids(in: directory)
        #expect(pids.count == 6)
        #expect(Harness.waitGone(pids))
    }

    /// An ordinary exit that forgot to stop its pods is no different.
    @Test func exitLeavesNothing() async throws {
        let directory = try Harness.makeDirectory()
        defer { Harness.remove(directory) }
        await #expect(processExitsWith: .exitCode(7)) { [directory = directory as String] in
            let harness = try OrphanTests.startFamily(in: directory)
            guard harness.platform.podCount == 0 else { exit(7) }
        }
        let pids = Self.pids(in: directory)
        #expect(pids.count == 6)
        #expect(Harness.waitGone(pids))
    }

    /// Martlet and its guardian killed together: the next start finds and ends what is left.
    @Test func nextStartSweeps() async throws {
        let directory = try Harness.makeDirectory()
        defer { Harness.remove(directory) }
        await #expect(processExitsWith: .signal(SIGKILL)) { [directory = directory as String] in
            let harness = try OrphanTests.startFamily(in: directory)
            kill(harness.platform.guardianPID ?? 0, SIGKILL)
            kill(getpid(), SIGKILL)
        }
        let pids = Self.pids(in: directory)
        #expect(pids.count == 6)
        #expect(pids.contains(where: Harness.isAlive), "the grandchildren cannot know yet")
        let next = try Harness { $0.runDirectory = "\(directory)/run" }
        #expect(next.platform.killedAtStart.count == 3)
        #expect(next.platform.killedAtStart.allSatisfy { $0.hasPrefix("revision hello-00001, process group ") })
        #expect(Harness.waitGone(pids))
        let third = try Harness { $0.runDirectory = "\(directory)/run" }
        #expect(third.platform.killedAtStart.isEmpty)
    }

    /// A guardian that is killed is replaced, and the new one knows the old groups.
    @Test func guardianIsReplaced() async throws {
        let directory = try Harness.makeDirectory()
        defer { Harness.remove(directory) }
        await #expect(processExitsWith: .signal(SIGKILL)) { [directory = directory as String] in
            let harness = try OrphanTests.startFamily(in: directory)
            let first = harness.platform.guardianPID
            kill(first ?? 0, SIGKILL)
            guard harness.run(until: { harness.platform.guardianPID != first }) else { exit(1) }
            // Without its journal only the guardian is left to do it.
            kill(getpid(), SIGKILL)
        }
        let pids = Self.pids(in: directory)
        #expect(pids.count == 6)
        #expect(Harness.waitGone(pids))
    }

    /// The guardian does not hear a terminal's interrupt, holds no descriptor of ours, and ends when we do.
    @Test func guardianKeepsToItself() throws {
        let pid: Int32
        do {
            let harness = try Harness()
            pid = try #require(harness.platform.guardianPID)
            #expect(harness.run { SystemFile.read("/proc/\(pid)/comm", atMost: 64) == "pod-guardian\n" })
            kill(pid, SIGINT)
            kill(pid, SIGTERM)
            kill(pid, SIGHUP)
            #expect(harness.run { getsid(pid) == pid })
            #expect(Harness.isAlive(pid))
        }
        #expect(Harness.waitGone([pid]))
    }

    /// Another living martlet's pods are left alone.
    @Test func livingMartletsAreRespected() throws {
        let directory = try Harness.makeDirectory()
        defer { Harness.remove(directory) }
        let first = try Self.startFamily(in: directory)
        let second = try Harness { $0.runDirectory = "\(directory)/run" }
        #expect(second.platform.killedAtStart.isEmpty)
        #expect(Self.pids(in: directory).allSatisfy(Harness.isAlive))
        #expect(first.finish())
        #expect(Harness.waitGone(Self.pids(in: directory)))
    }

    /// A journal is believed only where the kernel agrees: other boot, other start time, other variables, not ours.
    @Test func strangersAreNotKilled() throws {
        let directory = try Harness.makeDirectory()
        defer { Harness.remove(directory) }
        let bystander = try ChildProcess.spawn(
            SpawnRequest(path: "/bin/sleep", arguments: ["sleep", "1000"], environment: [], workingDirectory: nil))
        let pid = bystander.pid
        let startTime = try #require(ProcessTable.startTime(of: pid))
        mkdir("\(directory)/run", 0o700)
        let world = ProcessTable.world()
        let own = ProcessTable.startTime(of: getpid()) ?? 0
        let journals = [
            "martlet pods 1\nother:1 1 1\n\(pid) \(startTime) 80 r\n",
            "martlet pods 1\n\(world) 4194304 1\n\(pid) \(startTime + 1) 80 r\n",
            "martlet pods 1\n\(world) 4194304 1\n1 1 80 r\n0 0 0 r\n-5 1 1 r\nx\n", "garbage", "",
            "martlet pods 1\n\(world) \(getpid()) \(own)\n\(pid) \(startTime) 80 r\n",
        ]
        for (number, text) in journals.enumerated() {
            try Harness.write(text, to: "\(directory)/run/pods-\(900_000 + number)")
        }
        let harness = try Harness { $0.runDirectory = "\(directory)/run" }
        #expect(harness.platform.killedAtStart.isEmpty)
        #expect(Harness.isAlive(pid))
        bystander.signalGroup(SIGKILL)
        #expect(Harness.waitGone([pid]))
        _ = bystander.reap()
    }

    @Test func runDirectoryMustBeOurs() throws {
        let base = try Harness.makeDirectory()
        defer { Harness.remove(base) }
        mkdir("\(base)/open", 0o777)
        chmod("\(base)/open", 0o777)
        mkdir("\(base)/good", 0o700)
        symlink("\(base)/good", "\(base)/link")
        try Harness.write("", to: "\(base)/file")
        for name in ["open", "link", "file", "none/below"] {
            #expect(!Self.opens("\(base)/\(name)"), "\(name)")
        }
        let directory = try RunDirectory.open("\(base)/good")
        let isReplaced = directory.replace("pods-1", with: "text")
        #expect(isReplaced)
        let (names, text) = (directory.names(), directory.read("pods-1", atMost: 100))
        #expect(names == ["pods-1"] && text == "text")
        symlink("/etc/passwd", "\(base)/good/pods-2")
        let linked = directory.read("pods-2", atMost: 100)
        #expect(linked == nil)
        directory.remove("pods-1")
        let left = directory.names()
        #expect(left == ["pods-2"])
    }

    @Test func journalSurvivesTheRoundTrip() {
        let record = OrphanJournal.Record(
            world: "boot:1", owner: 7, ownerStartTime: 8,
            entries: [
                .init(group: 10, startTime: 11, revision: "a-00001", port: 20_000),
                .init(group: 12, startTime: 13, revision: "b", port: 20_001),
            ])
        #expect(OrphanJournal.parse(OrphanJournal.text(of: record)) == record)
        #expect(OrphanJournal.parse("") == nil)
        #expect(OrphanJournal.parse("martlet pods 2\nboot 1 1\n") == nil)
    }
}
