import EventLoop
import LocalPlatform
import Logging
import Primitives

/// The role processes of a split run: started, restarted with back-off when they die, stopped in order. Owned by the
/// control thread.
///
/// They run as pods without a sidecar: the platform's guard sees to it that none outlives the run.
final class SplitRoles {
    /// One process to run.
    struct Role {
        /// `ingress`, `activator-1`, `autoscaler`.
        var name: String
        /// The command of `martlet` and its options.
        var arguments: [String]
        /// What it gets besides the inherited variables.
        var environment: [String: String] = [:]
        /// Between SIGTERM and SIGKILL, in seconds.
        var graceSeconds: Double
    }

    /// Called once with an address that a role cannot bind, if it says so by exit status 71.
    var onCannotBind: (String) -> Void = { _ in }

    private let platform: LocalPlatform
    private let executable: String
    private let log: Logger
    private var running: [PodID: Role] = [:]
    private var waiting: [(names: Set<String>, action: () -> Void)] = []

    init(platform: LocalPlatform, executable: String, logger: Logger) {
        self.platform = platform
        self.executable = executable
        log = logger
    }

    /// The name of a role's process; nil if it is none.
    func name(of id: PodID) -> String? { running[id]?.name }

    func start(_ role: Role) {
        var spec = PodSpec(revision: "martlet-\(role.name)", command: [executable] + role.arguments)
        spec.isAskedForReadiness = false
        spec.environment = role.environment.map { PodSpec.Variable(name: $0.key, value: $0.value) }
        spec.graceSeconds = role.graceSeconds
        running[platform.start(spec)] = role
    }

    /// Whether a role of this kind runs.
    func isRunning(_ kind: String) -> Bool { running.values.contains { $0.name.hasPrefix(kind) } }

    /// Stops all roles of a kind, then calls `done`.
    func stop(_ kind: String, done: @escaping () -> Void) {
        let chosen = running.filter { $0.value.name.hasPrefix(kind) }
        waiting.append((Set(chosen.values.map(\.name)), done))
        for id in chosen.keys.sorted() { platform.stop(id) }
        if chosen.isEmpty { finish() }
    }

    /// An event of one of its processes; false if it is none.
    func handle(_ event: PodEvent) -> Bool {
        guard let role = running[event.id] else { return false }
        switch event {
        case .spawned(_, let pid, _): log.debug("role started", metadata: ["role": "\(role.name)", "pid": "\(pid)"])
        case .ready, .unready: break
        case .exited(_, let status, let lines, let restart):
            ended(role, status, restart)
            if status.hasPrefix("exit code 71") { onCannotBind(lines.last ?? "\(role.name) cannot bind its address") }
        case .failedToStart(_, let error, let restart): ended(role, error, restart)
        case .stopped(let id):
            running[id] = nil
            finish()
        }
        return true
    }

    private func ended(_ role: Role, _ status: String, _ restart: UInt64?) {
        var metadata: Logger.Metadata = ["role": "\(role.name)", "status": "\(status)"]
        if let restart { metadata["restart_after_ms"] = "\(restart)" }
        log.error("role ended", metadata: metadata)
    }

    private func finish() {
        let living = Set(running.values.map(\.name))
        let done = waiting.filter { living.isDisjoint(with: $0.names) }
        waiting.removeAll { living.isDisjoint(with: $0.names) }
        for item in done { item.action() }
    }
}
