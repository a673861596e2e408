import Primitives

/// Names one pod of this platform; never used twice.
public struct PodID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Counts from 1.
    public let number: UInt64

    /// Names pod `number`.
    public init(number: UInt64) { self.number = number }

    /// The number.
    public var description: String { String(number) }

    /// Whether `lhs` was started before `rhs`.
    public static func < (lhs: PodID, rhs: PodID) -> Bool { lhs.number < rhs.number }
}

/// One process to run as a pod of a revision.
public struct PodSpec: Equatable, Sendable {
    /// One variable of the environment.
    public struct Variable: Equatable, Sendable {
        /// Its name.
        public var name: String
        /// Its value.
        public var value: String

        /// A variable.
        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// Stands for the port in `command` and in values of `environment`: the port is known only when a process starts.
    public static let portPlaceholder = "\u{F8FF}PORT\u{F8FF}"

    /// Name of the revision, given to the process as K_REVISION.
    public var revision: String
    /// Name of the service, given as K_SERVICE.
    public var service = ""
    /// Name of the configuration, given as K_CONFIGURATION; empty means the service's.
    public var configuration = ""
    /// Which replica of the revision it is; for logs.
    public var index = 0
    /// Command and arguments. The command is searched for in the PATH of the pod's environment.
    public var command: [String]
    /// Variables over the inherited base. Later ones of the same name win. PORT and K_* are set after them.
    public var environment: [Variable] = []
    /// Where it runs. nil: where martlet runs.
    public var workingDirectory: String?
    /// The port the Service names. The process listens on PORT instead; a probe of this port means PORT. Default 8080.
    public var containerPort: UInt16 = 8080
    /// Whether that port speaks HTTP/2 without TLS: a port named `h2c`. HTTP probes of it then ask over HTTP/2 first,
    /// and over HTTP/1.1 if it turns out not to.
    public var speaksHTTP2 = false
    /// Whether every process of the pod gets the same port, for who must know it beforehand. Default no: a late request
    /// to a process that has gone meets nobody.
    public var keepsPort = false
    /// Whether it is asked for its readiness at all. Default yes; no for who asks by other means.
    public var isAskedForReadiness = true
    /// When it is ready. nil: when it accepts connections.
    public var readinessProbe: ProbeSpec?
    /// When it must be restarted. nil: only when it exits.
    public var livenessProbe: ProbeSpec?
    /// Holds the other two back until it passes. nil: they run at once.
    public var startupProbe: ProbeSpec?
    /// Seconds between SIGTERM and SIGKILL. Default 30. Knative: `timeoutSeconds`.
    public var graceSeconds: Double = 30

    /// A pod of `revision` that runs `command`.
    public init(revision: String, command: [String]) {
        self.revision = revision
        self.command = command
    }

    /// `text` with the placeholder replaced by `port`.
    static func resolving(_ text: String, port: UInt16) -> String {
        guard text.unicodeScalars.contains("\u{F8FF}") else { return text }
        return text.split(separator: portPlaceholder, omittingEmptySubsequences: false).joined(separator: "\(port)")
    }

    /// What is wrong with it, all at once, as texts that start with a key; empty if nothing.
    public func problems() -> [String] {
        var found: [String] = []
        if command.first?.isEmpty ?? true { found.append("command: is empty; name the program to run") }
        if command.contains(where: { $0.utf8.contains(0) }) { found.append("command: holds a NUL byte") }
        if let directory = workingDirectory, directory.utf8.contains(0) || directory.isEmpty {
            found.append("workingDir: is empty or holds a NUL byte")
        }
        for variable in environment {
            if variable.name.isEmpty || variable.name.utf8.contains(where: { $0 == 0 || $0 == UInt8(ascii: "=") }) {
                found.append("env: \"\(variable.name)\": not a name of a variable")
            }
            if variable.value.utf8.contains(0) { found.append("env: \(variable.name): holds a NUL byte") }
        }
        let probes = [
            ("readinessProbe", readinessProbe), ("livenessProbe", livenessProbe), ("startupProbe", startupProbe),
        ]
        for (key, probe) in probes { found += probe?.problems(key: key) ?? [] }
        if !(graceSeconds >= 0) { found.append("graceSeconds: must be 0 or more") }
        return found
    }
}

/// What happened to a pod. Delivered on the loop's thread, never from inside a call of `start`, `stop` or `recheck`.
public enum PodEvent: Equatable, Sendable {
    /// A process was started, for the first time or again. Its events follow.
    case spawned(PodID, pid: Int32, at: Instant)
    /// It accepts requests at 127.0.0.1:`port`, which is another port after every restart. Also the good answer to
    /// `recheck`.
    case ready(PodID, port: UInt16, at: Instant)
    /// It was ready and is not any more, though it runs: do not send it requests.
    case unready(PodID, reason: String)
    /// The process ended without being asked to. `lastLines` are the newest lines of its output, oldest first.
    case exited(PodID, status: String, lastLines: [String], restartAfterMilliseconds: UInt64?)
    /// It could not be started. nil for the restart: it never will be as it is specified.
    case failedToStart(PodID, error: String, restartAfterMilliseconds: UInt64?)
    /// It was stopped as asked, and nothing of it is left. The last event of a pod.
    case stopped(PodID)

    /// The pod it is about.
    public var id: PodID {
        switch self {
        case .spawned(let id, _, _), .ready(let id, _, _), .unready(let id, _), .exited(let id, _, _, _),
            .failedToStart(let id, _, _), .stopped(let id):
            id
        }
    }
}

/// Which output of a pod a line came from.
public enum OutputStream: Equatable, Sendable {
    /// Standard output.
    case output
    /// Standard error.
    case error
}
