import EventLoop
import Glibc
import Knative
import Logging
import Primitives
import Testing

@testable import ClusterLink

/// A folder that is removed with what is in it.
final class Folder {
    let path: String

    init() {
        var template = Array("/tmp/martlet-link-XXXXXX".utf8CString)
        path =
            mkdtemp(&template) == nil
            ? "" : String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        for name in (try? FolderFiles.names(of: path)) ?? [] { unlink(path + "/" + name) }
        rmdir(path)
    }

    func write(_ name: String, _ text: String) throws {
        try FolderFiles.replace(path + "/" + name, with: Array(text.utf8))
    }

    func remove(_ name: String) { unlink(path + "/" + name) }
}

/// A logger whose lines are kept.
final class Lines: @unchecked Sendable {  // used by one thread
    var all: [String] = []

    var log: Logger {
        Logger(label: "test") { _ in Handler(lines: self) }
    }

    private struct Handler: LogHandler {
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) { lines.all.append("\(event.message) \(event.metadata ?? [:])") }
    }
}

/// What an observer was told, and what it knows thereby.
final class Told {
    var changes: [ClusterChange] = []
    var store = ObjectStore()
    var syncs = 0

    func hear(_ change: ClusterChange) {
        changes.append(change)
        switch change {
        case .applied(let object): _ = store.apply(object)
        case .removed(let kind, let name): _ = store.remove(ObjectKey(kind, name))
        case .synced: syncs += 1
        }
    }
}

/// Runs the loop until something holds; false after 20 seconds.
func run(_ loop: Loop, until isDone: () -> Bool) -> Bool {
    let deadline = MonotonicClock.now().adding(milliseconds: 20_000)
    while !isDone() {
        guard MonotonicClock.now() < deadline else { return false }
        loop.runOnce(atMostMilliseconds: 5)
    }
    return true
}

func name(_ text: String) -> ObjectName { ObjectName(namespace: "default", name: text) }

func scale(_ text: String, _ replicas: Int) -> ClusterObject {
    .scale(ClusterScale(name: name(text), replicas: replicas))
}

func endpoints(_ text: String, _ ips: UInt32...) -> ClusterEndpoints {
    ClusterEndpoints(name: name(text), addresses: ips.map { .init(ip: $0, isReady: true, ports: ["http": 8012]) })
}
