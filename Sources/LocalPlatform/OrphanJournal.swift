import EventLoop
import Glibc
import Primitives

/// A list of living process groups on disk, for the start after an end that nobody could answer: martlet and its
/// guardian killed together.
///
/// One file a martlet. It is trusted only as far as the kernel confirms it: same boot and PID namespace, and processes
/// that have the start time, or the very environment, that was written down.
struct OrphanJournal {
    /// One process group that a martlet started.
    struct Entry: Equatable {
        var group: Int32
        /// Of the leader, in clock ticks since boot.
        var startTime: UInt64
        var revision: String
        var port: UInt16
    }

    /// A file's contents.
    struct Record: Equatable {
        var world: String
        var owner: Int32
        var ownerStartTime: UInt64
        var entries: [Entry]
    }

    private static let heading = "martlet pods 1"
    private static let prefix = "pods-"
    private static let fileBytes = 4 << 20

    /// The usual place: `$XDG_RUNTIME_DIR/martlet`, or `/tmp/martlet-<uid>`.
    static func defaultDirectory() -> String {
        if let runtime = getenv("XDG_RUNTIME_DIR"), runtime.pointee == CChar(bitPattern: UInt8(ascii: "/")) {
            return "\(String(cString: runtime))/martlet"
        }
        return "/tmp/martlet-\(ProcessTable.ownUser)"
    }

    /// The name of the file of the process `owner`.
    static func fileName(owner: Int32) -> String { "\(prefix)\(owner)" }

    /// The text of a file. A revision's name is a DNS label, so it needs no quoting; other names are left out.
    static func text(of record: Record) -> String {
        var text = "\(heading)\n\(record.world) \(record.owner) \(record.ownerStartTime)\n"
        for entry in record.entries {
            let isPlain = entry.revision.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } && !entry.revision.isEmpty
            text += "\(entry.group) \(entry.startTime) \(entry.port) \(isPlain ? entry.revision : "-")\n"
        }
        return text
    }

    /// Reads a file's text; nil if it is not one of ours. Lines that do not fit are left out.
    static func parse(_ text: String) -> Record? {
        let lines = text.split(separator: "\n")
        guard lines.count >= 2, lines[0] == heading else { return nil }
        let owner = lines[1].split(separator: " ")
        guard owner.count == 3, let pid = Int32(owner[1]), let startTime = UInt64(owner[2]) else { return nil }
        let entries = lines.dropFirst(2).compactMap { line -> Entry? in
            let fields = line.split(separator: " ")
            guard fields.count == 4, let group = Int32(fields[0]), group > 1, let startTime = UInt64(fields[1]),
                let port = UInt16(fields[2])
            else { return nil }
            return Entry(group: group, startTime: startTime, revision: String(fields[3]), port: port)
        }
        return Record(world: String(owner[0]), owner: pid, ownerStartTime: startTime, entries: entries)
    }

    /// Kills what martlets that have gone left behind, and removes their files. Returns a line for each group killed.
    static func sweep(_ directory: borrowing RunDirectory) -> [String] {
        var reports: [String] = []
        for name in directory.names() where name.hasPrefix(prefix) {
            guard let text = directory.read(name, atMost: fileBytes), let record = parse(text) else {
                directory.remove(name)
                continue
            }
            // Ids of another boot mean nothing; those of another namespace cannot be judged from here.
            if record.world == ProcessTable.world() {
                if ProcessTable.startTime(of: record.owner) == record.ownerStartTime { continue }
                reports += kill(record)
            }
            directory.remove(name)
        }
        return reports
    }

    private static func kill(_ record: Record) -> [String] {
        let entries = Dictionary(record.entries.map { ($0.group, $0) }, uniquingKeysWith: { first, _ in first })
        var killed: Set<Int32> = []
        for pid in ProcessTable.all() {
            guard let status = ProcessTable.status(of: pid), let entry = entries[status.group],
                !killed.contains(entry.group), isOurs(pid, status.startTime, entry)
            else { continue }
            ChildProcess.signalGroup(entry.group, SIGKILL)
            killed.insert(entry.group)
        }
        return killed.sorted().compactMap { group in
            entries[group].map { "revision \($0.revision), process group \(group), port \($0.port)" }
        }
    }

    /// Whether `pid`, a member of the group, is what was written down: the leader by its start time, another member by
    /// the variables it has inherited.
    private static func isOurs(_ pid: Int32, _ startTime: UInt64, _ entry: Entry) -> Bool {
        if pid == entry.group { return startTime == entry.startTime }
        guard startTime >= entry.startTime else { return false }
        let environment = ProcessTable.environment(of: pid)
        return environment.contains("K_REVISION=\(entry.revision)") && environment.contains("PORT=\(entry.port)")
    }
}
