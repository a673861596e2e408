import EventLoop
import Logging
import Primitives

/// Sees to it that no process of a pod outlives martlet, whatever ends it. Owned by the loop's thread.
///
/// Three lines, each for what the one before cannot do: the kernel kills each leader when our thread ends
/// (PR_SET_PDEATHSIG); the guardian, a second process, kills the groups with all grandchildren when our end of its
/// channel closes; the journal tells the next martlet what is left if both were killed.
final class OrphanGuard {
    /// How long after a change the journal is written, in milliseconds: off the way of a start, and once for many.
    static let journalDelayMilliseconds: UInt64 = 5

    /// Shortest time between two restarts of the guardian, in milliseconds; the first comes at once.
    static let guardianRestMilliseconds: UInt64 = 1_000

    private let loop: Loop
    private let logger: Logger
    private let directory: RunDirectory?
    private let owner: (pid: Int32, startTime: UInt64, world: String)
    private var guardian: GuardianChannel?
    private var guardianWatch: Loop.WatchToken?
    private var groups: [Int32: OrphanJournal.Entry] = [:]
    private var commands: Set<Int32> = []
    private var isJournalDue = false
    /// How often a guardian had to be replaced.
    private(set) var guardianRestarts = 0
    private var lastRestart = Instant(nanoseconds: 0)
    /// What the check at start killed.
    let killedAtStart: [String]

    /// Starts the guardian and kills what earlier martlets left behind. `directory` nil: no journal.
    init(loop: Loop, logger: Logger, directory path: String?) {
        self.loop = loop
        self.logger = logger
        owner = (
            ProcessTable.ownPID, ProcessTable.startTime(of: ProcessTable.ownPID) ?? 0, ProcessTable.world()
        )
        if let path {
            do throws(RunDirectoryFailure) {
                let opened = try RunDirectory.open(path)
                killedAtStart = OrphanJournal.sweep(opened)
                directory = consume opened
            } catch {
                killedAtStart = []
                directory = nil
                logger.warning("no record of living pods is kept", metadata: ["reason": "\(error)"])
            }
        } else {
            killedAtStart = []
            directory = nil
        }
        for orphan in killedAtStart {
            logger.notice("killed a pod left behind by an earlier martlet", metadata: ["pod": "\(orphan)"])
        }
        startGuardian()
    }

    /// Whether a probe's command still runs, or was killed and not yet reaped.
    var hasCommands: Bool { !commands.isEmpty }

    /// The guardian's process id; nil if none could be started.
    var guardianPID: Int32? { guardian?.pid }

    /// Watches a group that was just started. Its leader must not have been reaped.
    func add(group: Int32, revision: String, port: UInt16) {
        groups[group] = OrphanJournal.Entry(group: group, startTime: 0, revision: revision, port: port)
        tell(group, watched: true)
        noteChange()
    }

    /// Forgets a group that has been killed or has ended.
    func remove(group: Int32) {
        guard groups.removeValue(forKey: group) != nil else { return }
        tell(group, watched: false)
        noteChange()
    }

    /// Watches the group of a probe's command: too short a life for the journal.
    func add(command group: Int32) {
        commands.insert(group)
        tell(group, watched: true)
    }

    /// Forgets the group of a probe's command.
    func remove(command group: Int32) {
        if commands.remove(group) != nil { tell(group, watched: false) }
    }

    private func tell(_ group: Int32, watched: Bool) {
        guard let isHeard = guardian?.send(group: group, watched: watched), !isHeard else { return }
        // It hangs: its channel is full. The watch on its pidfd brings the next one.
        guardian?.abandon()
    }

    private func startGuardian() {
        do throws(SpawnFailure) {
            let channel = try GuardianChannel.start()
            let pidfd = channel.pidfd
            guardian = consume channel
            guardianWatch = try? loop.watch(pidfd, .readable) { [weak self] _ in self?.guardianEnded() }
            for group in Array(groups.keys) + commands { tell(group, watched: true) }
        } catch {
            logger.error(
                "the pod guardian cannot be started: pods of pods may survive a crash of martlet",
                metadata: ["reason": "\(error)"])
            startGuardianLater()
        }
    }

    private func startGuardianLater() {
        loop.after(milliseconds: Self.guardianRestMilliseconds) { [weak self] in
            if let self, self.guardian == nil { self.startGuardian() }
        }
    }

    private func guardianEnded() {
        if let watch = guardianWatch { loop.unwatch(watch) }
        guardianWatch = nil
        guardian?.reap()
        guardian = nil
        let now = MonotonicClock.now()
        let isAgain = now.milliseconds(since: lastRestart) < Self.guardianRestMilliseconds
        lastRestart = now
        guardianRestarts += 1
        logger.warning("the pod guardian has ended; starting another")
        if isAgain { startGuardianLater() } else { startGuardian() }
    }

    private func noteChange() {
        guard directory != nil, !isJournalDue else { return }
        isJournalDue = true
        loop.after(milliseconds: Self.journalDelayMilliseconds) { [weak self] in self?.writeJournal() }
    }

    /// Writes the journal, or removes it when nothing lives.
    func writeJournal() {
        isJournalDue = false
        let name = OrphanJournal.fileName(owner: owner.pid)
        guard !groups.isEmpty else {
            directory?.remove(name)
            return
        }
        for (group, entry) in groups where entry.startTime == 0 {
            groups[group]?.startTime = ProcessTable.startTime(of: group) ?? 0
        }
        let entries = groups.values.sorted { $0.group < $1.group }
        let record = OrphanJournal.Record(
            world: owner.world, owner: owner.pid, ownerStartTime: owner.startTime, entries: entries)
        if let isWritten = directory?.replace(name, with: OrphanJournal.text(of: record)), !isWritten {
            logger.warning("the record of living pods cannot be written", metadata: ["file": "\(name)"])
        }
    }

    deinit {
        if let watch = guardianWatch { loop.unwatch(watch) }
        if groups.isEmpty { directory?.remove(OrphanJournal.fileName(owner: owner.pid)) }
    }
}
