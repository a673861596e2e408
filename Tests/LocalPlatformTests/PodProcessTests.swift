import EventLoop
import Glibc
import Primitives
import Testing

@testable import LocalPlatform

/// Pods with real processes: what they are given, how they end, what is said about it.
@Suite struct PodProcessTests {
    @Test func environmentArgumentsDirectoryAndDescriptors() throws {
        let harness = try Harness { $0.baseEnvironment = [.init(name: "PATH", value: "/usr/bin:/bin")] }
        var spec = PodSpec(
            revision: "hello-00007",
            command: [
                "sh", "-c", "echo \"args $0 $1\"; pwd; env; ls /proc/$$/fd; echo done; exec sleep 100", "zero",
                "one two",
            ])
        spec.service = "hello"
        spec.workingDirectory = harness.directory
        spec.environment = [.init(name: "COLOR", value: "blue"), .init(name: "COLOR", value: "red = green")]
        let id = harness.platform.start(spec)
        let pid = try #require(harness.platform.pid(of: id))
        let port = try #require(harness.platform.port(of: id))
        #expect(getpgid(pid) == pid)
        #expect(harness.waitForLine { $0 == "done" } != nil)
        let texts = harness.lines.map(\.text)
        for wanted in [
            "args zero one two", harness.directory, "COLOR=red = green", "PORT=\(port)", "K_SERVICE=hello",
            "K_CONFIGURATION=hello", "K_REVISION=hello-00007", "PATH=/usr/bin:/bin",
        ] { #expect(texts.contains(wanted), "\(wanted) in \(texts)") }
        let names = texts.compactMap { $0.contains("=") ? $0.split(separator: "=").first.map(String.init) : nil }
        #expect(
            Set(names).subtracting([
                "COLOR", "PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION", "PATH", "PWD", "OLDPWD", "SHLVL", "_",
            ]).isEmpty, "\(names)")
        #expect(texts.filter { Int($0) ?? 0 > 2 }.isEmpty, "inherited descriptors: \(texts)")
        #expect(harness.finish())
    }

    /// One that keeps its port has it again in the next process; it is given back at the end. Nobody asks whether it is
    /// ready.
    @Test func aPortForLife() throws {
        let harness = try Harness { $0.restartPolicy.firstMilliseconds = 1 }
        var spec = Harness.shell("echo port $PORT; test -e again || { touch again; exit 3; }; exec sleep 100")
        spec.workingDirectory = harness.directory
        spec.keepsPort = true
        spec.isAskedForReadiness = false
        let id = harness.platform.start(spec)
        let port = try #require(harness.platform.port(of: id))
        #expect(harness.run { harness.lines.filter { $0.text == "port \(port)" }.count == 2 }, "\(harness.lines)")
        #expect(harness.platform.port(of: id) == port)
        #expect(!harness.events.contains { if case .ready = $0 { true } else { false } })
        #expect(harness.finish())
        #expect(harness.platform.port(of: id) == nil)
    }

    /// Nothing of ours reaches a pod: neither ignored nor blocked signals.
    @Test func signalsAreReset() throws {
        let previous = signal(SIGUSR2, SIG_IGN)
        defer { signal(SIGUSR2, previous) }
        let harness = try Harness()
        _ = harness.platform.start(Harness.shell("grep -E 'Sig(Blk|Ign)' /proc/self/status; exec sleep 100"))
        #expect(harness.waitForLine { $0.hasPrefix("SigIgn") } == "SigIgn:\t0000000000000000")
        #expect(harness.waitForLine { $0.hasPrefix("SigBlk") } == "SigBlk:\t0000000000000000")
        #expect(harness.finish())
    }

    @Test func failuresToStartNameTheCommand() throws {
        let harness = try Harness { $0.restartPolicy.baseMilliseconds = 100_000 }
        let plain = "\(harness.directory)/plain"
        let broken = "\(harness.directory)/broken"
        let noInterpreter = "\(harness.directory)/script"
        try Harness.write("text", to: plain)
        try Harness.write("not a program", to: broken, mode: 0o755)
        try Harness.write("#!/nowhere/sh\n", to: noInterpreter, mode: 0o755)
        let table: [(command: [String], directory: String?, text: String)] = [
            (["no-such-command-here"], nil, "command not found: no-such-command-here"),
            (["/no/such/file"], nil, "command not found: /no/such/file"),
            ([plain], nil, "permission denied: \(plain) is not an executable file"),
            (["/tmp"], nil, "permission denied: /tmp is not an executable file"),
            (["sleep", "1"], "/no/such/directory", "no such working directory: /no/such/directory"),
            (["sleep", "1"], plain, "not a directory: \(plain)"),
            ([broken], nil, "cannot execute \(broken): exec format error (a script without #! line?)"),
            ([noInterpreter], nil, "command not found: \(noInterpreter) (or its interpreter, the #! line)"),
            ([], nil, "command: is empty; name the program to run"),
            (["a\0b"], nil, "command: holds a NUL byte"),
        ]
        for row in table {
            var spec = PodSpec(revision: "r", command: row.command)
            spec.workingDirectory = row.directory
            let id = harness.platform.start(spec)
            #expect(!harness.events.contains { $0.id == id }, "delivered inside the call")
            let error = harness.wait { if case .failedToStart(id, let error, _) = $0 { error } else { nil } }
            #expect(error == row.text)
            #expect(harness.platform.port(of: id) == nil)
        }
        #expect(harness.finish())
        #expect(harness.events.count { if case .stopped = $0 { true } else { false } } == table.count)
    }

    @Test func endsAreReportedWithStatusAndLastLines() throws {
        let harness = try Harness()
        let table: [(script: String, status: String)] = [
            ("exit 0", "exit code 0"), ("exit 3", "exit code 3"), ("kill -SEGV $$", "killed by SIGSEGV"),
            ("kill -KILL $$", "killed by SIGKILL"), ("kill -TERM $$", "killed by SIGTERM"),
        ]
        for row in table {
            let id = harness.platform.start(Harness.shell("echo first; printf last >&2; \(row.script)"))
            let found = harness.wait { event -> (String, [String], UInt64?)? in
                guard case .exited(id, let status, let lines, let delay) = event else { return nil }
                return (status, lines, delay)
            }
            #expect(found?.0 == row.status)
            #expect(Set(found?.1 ?? []) == ["first", "last"], "the unfinished line too: \(found?.1 ?? [])")
            #expect(found?.2 == 10)
            harness.platform.stop(id)
        }
        #expect(harness.finish())
    }

    @Test func onlyTheNewestLinesAreKept() throws {
        let harness = try Harness()
        let id = harness.platform.start(
            Harness.shell("i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); done; exit 9"))
        let lines = harness.wait { if case .exited(id, _, let lines, _) = $0 { lines } else { nil } }
        #expect(lines == (30..<50).map { "line \($0)" })
        #expect(harness.finish())
    }

    @Test func crashesAreRestartedWithBackOff() throws {
        let harness = try Harness { $0.restartPolicy.baseMilliseconds = 40 }
        let id = harness.platform.start(Harness.shell("exit 1"))
        let delays = { harness.events.compactMap { if case .exited(id, _, _, let delay) = $0 { delay } else { nil } } }
        #expect(harness.run { delays().count >= 5 })
        #expect(Array(delays().prefix(5)) == [10, 40, 80, 160, 320])
        let ports = harness.events.compactMap { if case .spawned(_, let pid, _) = $0 { pid } else { nil } }
        #expect(Set(ports).count == ports.count && ports.count >= 5)
        harness.platform.stop(id)
        #expect(harness.waitEmpty())
        let after = harness.events.count
        _ = harness.run(patience: 400) { false }
        #expect(harness.events.count == after, "something happened after stopped")
    }

    @Test func stopTakesTheWholeGroup() throws {
        let harness = try Harness()
        let id = harness.platform.start(Harness.shell("sh -c 'sleep 1000 & echo $!; wait' & wait"))
        let leader = try #require(harness.platform.pid(of: id))
        let grandchild = try #require(harness.waitForLine { Int32($0) != nil }.flatMap { Int32($0) })
        #expect(getpgid(grandchild) == leader)
        harness.platform.stop(id)
        #expect(harness.waitEmpty())
        #expect(harness.events.last == .stopped(id))
        #expect(Harness.waitGone([leader, grandchild]))
    }

    /// A crash of the leader takes the rest of its group before the next start.
    @Test func crashTakesTheWholeGroup() throws {
        let harness = try Harness { $0.restartPolicy.firstMilliseconds = 100_000 }
        let id = harness.platform.start(Harness.shell("sleep 1000 & echo $!; exit 5"))
        let grandchild = try #require(harness.waitForLine { Int32($0) != nil }.flatMap { Int32($0) })
        #expect(harness.wait { if case .exited(id, let status, _, _) = $0 { status } else { nil } } == "exit code 5")
        #expect(Harness.waitGone([grandchild]))
        #expect(harness.finish())
    }

    @Test func graceThenKill() throws {
        let harness = try Harness()
        var spec = Harness.shell("trap '' TERM; echo armed; while :; do sleep 1000; done")
        spec.graceSeconds = 0.3
        let id = harness.platform.start(spec)
        #expect(harness.waitForLine() == "armed")
        let before = MonotonicClock.now()
        harness.platform.stop(id)
        #expect(harness.waitEmpty())
        #expect(MonotonicClock.now().milliseconds(since: before) >= 295)
        #expect(!harness.events.contains { if case .exited = $0 { true } else { false } }, "an asked end is no crash")
    }

    /// A wrapper that dies at once does not cost the server behind it its grace.
    @Test func restOfTheGroupHasTheGraceToo() throws {
        let harness = try Harness()
        let server = "trap 'sleep 0.2; echo finished; exit 0' TERM; echo armed; while :; do sleep 0.01; done"
        let id = harness.platform.start(Harness.shell("sh -c \"\(server)\" & wait"))
        #expect(harness.waitForLine { $0 == "armed" } != nil)
        harness.platform.stop(id)
        #expect(harness.waitEmpty())
        #expect(harness.lines.contains { $0.text == "finished" }, "\(harness.lines.map(\.text))")
    }

    /// A stopped process hears SIGTERM too.
    @Test func stoppedProcessesEndGracefully() throws {
        let harness = try Harness()
        let id = harness.platform.start(
            Harness.shell("trap 'echo bye; exit 0' TERM; echo armed; while :; do sleep 0.01; done"))
        #expect(harness.waitForLine { $0 == "armed" } != nil)
        let pid = try #require(harness.platform.pid(of: id))
        kill(-pid, SIGSTOP)
        harness.platform.stop(id)
        #expect(harness.waitEmpty())
        #expect(harness.lines.contains { $0.text == "bye" })
    }

    @Test func droppingThePlatformKillsItsPods() throws {
        let loop: Loop
        let pid: Int32
        do {
            let harness = try Harness()
            loop = harness.loop
            let id = harness.platform.start(Harness.shell("exec sleep 1000"))
            pid = try #require(harness.platform.pid(of: id))
        }
        // It lives on in the loop until it has reaped them.
        let deadline = MonotonicClock.now().adding(milliseconds: Harness.patience)
        while ProcessTable.status(of: pid) != nil, MonotonicClock.now() < deadline {
            loop.runOnce(atMostMilliseconds: 10)
        }
        #expect(ProcessTable.status(of: pid) == nil)
    }
}
