import EventLoop
import Glibc
import Primitives

@testable import LocalPlatform

/// A loop with a platform on it, everything it reported, and a place of its own on disk.
final class Harness {
    /// How long anything may take before a test gives up, in milliseconds. Generous: test machines are busy.
    static let patience: UInt64 = 20_000

    let loop: Loop
    let platform: LocalPlatform
    let directory: String
    var events: [PodEvent] = []
    var lines: [(id: PodID, stream: OutputStream, text: String)] = []

    init(_ configure: (inout LocalPlatformOptions) -> Void = { _ in }) throws {
        loop = try Loop()
        directory = try Harness.makeDirectory()
        var options = LocalPlatformOptions()
        options.runDirectory = "\(directory)/run"
        configure(&options)
        platform = LocalPlatform(loop: loop, options: options)
        platform.onEvent = { [unowned self] event in self.events.append(event) }
        platform.onLine = { [unowned self] id, stream, line in self.lines.append((id, stream, line.string)) }
    }

    deinit { Harness.remove(directory) }

    /// Removes a directory that `makeDirectory` made, with what is in it.
    static func remove(_ directory: String) {
        guard directory.hasPrefix("/tmp/martlet-test-") else { return }
        _ = system("rm -rf '\(directory)'")
    }

    /// A shell script as a pod.
    static func shell(_ script: String, revision: String = "hello-00001") -> PodSpec {
        var spec = PodSpec(revision: revision, command: ["/bin/sh", "-c", script])
        spec.service = "hello"
        spec.graceSeconds = 5
        return spec
    }

    /// Runs the loop until `condition` holds; false if patience ran out.
    func run(patience: UInt64 = Harness.patience, until condition: () -> Bool) -> Bool {
        let deadline = MonotonicClock.now().adding(milliseconds: patience)
        while !condition() {
            guard MonotonicClock.now() < deadline else { return false }
            loop.runOnce(atMostMilliseconds: 10)
        }
        return true
    }

    /// Runs the loop until an event satisfies `pick`, and returns what that made of it.
    func wait<Found>(_ pick: (PodEvent) -> Found?) -> Found? {
        var found: Found?
        _ = run {
            found = events.lazy.compactMap(pick).first
            return found != nil
        }
        return found
    }

    /// Runs the loop until a line appears, and returns its text.
    func waitForLine(_ isWanted: (String) -> Bool = { _ in true }) -> String? {
        var found: String?
        _ = run {
            found = lines.first { isWanted($0.text) }?.text
            return found != nil
        }
        return found
    }

    /// Waits for the pod's `ready` and returns its port.
    func waitReady(_ id: PodID) -> UInt16? {
        wait { if case .ready(id, let port, _) = $0 { port } else { nil } }
    }

    /// Stops everything and waits until nothing is left.
    func finish() -> Bool {
        platform.stopAll(deadline: MonotonicClock.now())
        return waitEmpty()
    }

    /// Waits until no pod is left and everything about them has been said.
    func waitEmpty() -> Bool {
        run { platform.podCount == 0 && platform.isQuiet }
    }

    /// Whether a process exists and is not a zombie.
    static func isAlive(_ pid: Int32) -> Bool {
        guard let line = SystemFile.read("/proc/\(pid)/stat", atMost: 512) else { return false }
        guard let bracket = line.lastIndex(of: ")") else { return false }
        return !line[bracket...].hasPrefix(") Z") && !line[bracket...].hasPrefix(") X")
    }

    /// Waits, without a loop, until none of the processes exists.
    static func waitGone(_ pids: [Int32]) -> Bool {
        let deadline = MonotonicClock.now().adding(milliseconds: patience)
        while pids.contains(where: isAlive) {
            guard MonotonicClock.now() < deadline else { return false }
            sched_yield()
        }
        return true
    }

    static func makeDirectory() throws -> String {
        var template = Array("/tmp/martlet-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError(call: "mkdtemp", code: errno) }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    static func write(_ text: String, to path: String, mode: mode_t = 0o644) throws {
        guard let file = fopen(path, "w") else { throw SystemError(call: "fopen", code: errno) }
        fputs(text, file)
        fclose(file)
        chmod(path, mode)
    }
}
