import Foundation
import Testing

/// The real executable in a process of its own.
final class Martlet: @unchecked Sendable {  // all that changes is guarded by `condition`
    let scratch: Scratch
    let pid: pid_t
    private let condition = NSCondition()
    private var output: [Int32: [UInt8]] = [1: [], 2: []]
    private var endedWith: Int32?
    private var openPipes = 2
    private var knownPort: UInt16?

    /// Starts it and returns at once.
    init(_ arguments: [String], scratch: Scratch = Scratch(), input: String = "", program: String = Place.martlet)
        throws
    {
        self.scratch = scratch
        let (pid, pipes) = try Self.spawning.withLock {
            let pipes = try (0..<3).flatMap { _ in try Self.makePipe() }
            return (try Self.spawn(program, arguments, scratch, pipes), pipes)
        }
        self.pid = pid
        for fd in [pipes[0], pipes[3], pipes[5]] { close(fd) }
        _ = input.withCString { Glibc.write(pipes[1], $0, strlen($0)) }
        close(pipes[1])
        collect(pipes[2], as: 1)
        collect(pipes[4], as: 2)
        Thread.detachNewThread { [self] in
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0, errno == EINTR {}
            condition.withLock {
                endedWith = status & 0x7F == 0 ? status >> 8 & 0xFF : -(status & 0x7F)
                condition.broadcast()
            }
        }
    }

    /// Held from the making of pipes until the new process has its ends of them, so that no other one gets them too.
    static let spawning = NSLock()

    private static func makePipe() throws -> [Int32] {
        var pair: [Int32] = [0, 0]
        guard pipe(&pair) == 0 else { throw Failure("pipe: \(errno)") }
        for fd in pair { _ = fcntl(fd, F_SETFD, FD_CLOEXEC) }
        return pair
    }

    private static func spawn(
        _ program: String, _ arguments: [String], _ scratch: Scratch, _ pipes: [Int32]
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (number, fd) in [pipes[0], pipes[3], pipes[5]].enumerated() {
            posix_spawn_file_actions_adddup2(&actions, fd, Int32(number))
        }
        let own = ProcessInfo.processInfo.environment
        // Pods inherit TMPDIR, so all that comes of this run can be found by it.
        var environment = [
            "TMPDIR=\(scratch.path)", "XDG_RUNTIME_DIR=\(scratch.path)/run", "XDG_STATE_HOME=\(scratch.path)/state",
        ]
        for key in ["PATH", "HOME", "LANG", "LD_LIBRARY_PATH"] { own[key].map { environment.append("\(key)=\($0)") } }
        let words = ["sh", "-c", "cd \"$0\" && exec \"$@\"", scratch.path, program] + arguments
        var list = words.map { strdup($0) } + [nil]
        var variables = environment.map { strdup($0) } + [nil]
        defer { (list + variables).forEach { free($0) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, "/bin/sh", &actions, nil, &list, &variables)
        guard code == 0 else { throw Failure("sh: \(String(cString: strerror(code)))") }
        return pid
    }

    private func collect(_ fd: Int32, as number: Int32) {
        Thread.detachNewThread { [self] in
            var chunk = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = read(fd, &chunk, chunk.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { break }
                condition.withLock {
                    output[number]? += chunk[..<count]
                    condition.broadcast()
                }
            }
            close(fd)
            condition.withLock {
                openPipes -= 1
                condition.broadcast()
            }
        }
    }

    // MARK: What it says

    /// Standard error so far.
    var log: String { text(2) }
    /// Standard output so far: the access log and the lines of pods.
    var out: String { text(1) }

    private func text(_ number: Int32) -> String {
        condition.withLock { String(decoding: output[number] ?? [], as: UTF8.self) }
    }

    /// Waits until standard error (or another stream) satisfies `isWanted`.
    func waitForLog(_ seconds: Double = patience, of number: Int32 = 2, _ isWanted: (String) -> Bool) -> Bool {
        let deadline = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while !isWanted(String(decoding: output[number] ?? [], as: UTF8.self)) {
            guard openPipes > 0 || endedWith == nil, condition.wait(until: deadline) else {
                return isWanted(String(decoding: output[number] ?? [], as: UTF8.self))
            }
        }
        return true
    }

    /// Waits for a text in the log; fails the test if it does not come.
    func expectLog(
        _ wanted: String, count: Int = 1, within seconds: Double = patience,
        _ location: SourceLocation = #_sourceLocation
    ) {
        let found = waitForLog(seconds) { $0.ranges(of: wanted).count >= count }
        #expect(found, "no \(count) x \"\(wanted)\" in:\n\(tail)", sourceLocation: location)
    }

    /// The end of both streams, for messages of failed tests.
    var tail: String { "\(log.suffix(6_000))\n--- out:\n\(out.suffix(1_500))" }

    /// The port it listens at, as its log tells.
    func port() throws -> UInt16 {
        if let knownPort { return knownPort }
        // A split run passes on what its roles say, each line behind a name: it is the ingress that listens for us.
        let pattern = /(?:^|\n)(?:ingress \| )?[^|\n]*listening.*address[^ ,]*:(\d+)/
        _ = waitForLog { $0.contains(pattern) || self.hasEnded }
        guard let match = log.firstMatch(of: pattern), let port = UInt16(match.1) else {
            throw Failure("it does not listen:\n\(tail)")
        }
        knownPort = port
        return port
    }

    // MARK: Its end

    private var hasEnded: Bool { endedWith != nil }

    func signal(_ number: Int32) { kill(pid, number) }

    /// Waits for its end: the exit status, or the signal with a minus; nil when it does not end.
    func waitForEnd(_ seconds: Double = patience) -> Int32? {
        let deadline = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while endedWith == nil || openPipes > 0 { guard condition.wait(until: deadline) else { break } }
        return endedWith
    }

    /// Processes of this run that are still there, itself excepted.
    var others: [(pid: pid_t, command: String)] { scratch.processes.filter { $0.pid != pid } }

    /// The processes that run `word`, oldest first.
    func pods(_ word: String = "martlet-test-server") -> [pid_t] {
        others.filter { $0.command.contains(word) && !$0.command.hasPrefix(Place.martlet + " ") }.map(\.pid).sorted()
    }

    /// Checks that nothing of the run is left.
    func expectNothingLeft(_ location: SourceLocation = #_sourceLocation) {
        _ = wait(10) { scratch.processes.isEmpty }
        let left = scratch.processes
        #expect(left.isEmpty, "left: \(left)", sourceLocation: location)
        for process in left { kill(process.pid, SIGKILL) }
    }

    /// SIGTERM, exit status 0, nothing left.
    private func stop(_ location: SourceLocation) {
        signal(SIGTERM)
        let ended = waitForEnd()
        #expect(ended == 0, "ended with \(ended.map(String.init) ?? "nothing"):\n\(tail)", sourceLocation: location)
        if ended == nil { signal(SIGKILL) }
        expectNothingLeft(location)
    }

    /// Runs `martlet run` for `body`, then stops it and checks that nothing is left.
    static func serving(
        _ arguments: [String], scratch: Scratch = Scratch(), input: String = "", stops: Bool = true,
        location: SourceLocation = #_sourceLocation, _ body: (Martlet) throws -> Void
    ) throws {
        let all = ["run", "--http", "127.0.0.1:0"] + arguments
        let martlet = try Martlet(all, scratch: scratch, input: input)
        defer {
            if martlet.waitForEnd(0) == nil { martlet.signal(SIGKILL) }
            for process in scratch.processes { kill(process.pid, SIGKILL) }
        }
        do {
            _ = try martlet.port()
            try body(martlet)
        } catch {
            Issue.record("\(error)\n\(martlet.tail)", sourceLocation: location)
        }
        if stops, martlet.waitForEnd(0) == nil { martlet.stop(location) } else { martlet.expectNothingLeft(location) }
    }

    /// Runs a command to its end.
    static func command(_ arguments: [String], scratch: Scratch = Scratch(), input: String = "") throws -> Ended {
        let martlet = try Martlet(arguments, scratch: scratch, input: input)
        let status = martlet.waitForEnd()
        if status == nil { martlet.signal(SIGKILL) }
        return Ended(status: status, out: martlet.out, log: martlet.log)
    }

    struct Ended {
        let status: Int32?
        let out: String
        let log: String
    }
}

/// What went wrong, in words.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
