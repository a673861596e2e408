import Foundation
import TestProcess
import Testing

/// The real executable in a process of its own.
final class Martlet: @unchecked Sendable {  // all that changes is guarded by `condition`
    let scratch: Scratch
    private let child: TestProcess
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
        let pipes = (input: try TestPipe(), output: try TestPipe(), errors: try TestPipe())
        child = try TestProcess(
            ["sh", "-c", "cd \"$0\" && exec \"$@\"", scratch.path, program] + arguments,
            environment: Self.environment(scratch), input: pipes.input.readEnd, output: pipes.output.writeEnd,
            errors: pipes.errors.writeEnd)
        pipes.input.write(input)
        collect(pipes.output, as: 1)
        collect(pipes.errors, as: 2)
        Thread.detachNewThread { [self] in
            let status = child.waitForEnd()
            condition.withLock {
                endedWith = status
                condition.broadcast()
            }
        }
    }

    private static func environment(_ scratch: Scratch) -> [String: String] {
        let own = ProcessInfo.processInfo.environment
        // Pods inherit TMPDIR, so all that comes of this run can be found by it.
        var environment = [
            "TMPDIR": scratch.path, "XDG_RUNTIME_DIR": scratch.path + "/run",
            "XDG_STATE_HOME": scratch.path + "/state",
        ]
        for key in ["PATH", "HOME", "LANG", "LD_LIBRARY_PATH"] { environment[key] = own[key] }
        return environment
    }

    private func collect(_ pipe: TestPipe, as number: Int32) {
        pipe.closeWriteEnd()
        // The pipe is handed over: nobody else has it from here on.
        nonisolated(unsafe) let pipe = pipe
        Thread.detachNewThread { [self] in
            while case let more = pipe.read(), !more.isEmpty {
                condition.withLock {
                    output[number]? += more
                    condition.broadcast()
                }
            }
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

    var pid: pid_t { child.pid }

    func signal(_ number: Int32) { child.signal(number) }

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
