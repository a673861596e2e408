import Foundation
import TestProcess
import Testing

/// What the other tests rely on when they start programs side by side.
@Suite struct TestProcessTests {
    /// Neither descriptors nor blocked signals of the test process reach the program.
    @Test func nothingIsInherited() throws {
        let open = fcntl(0, F_DUPFD, 100)
        defer { close(open) }
        #expect(open >= 100)
        var all = sigset_t(), before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        // Each asks of itself: a shell blocks signals now and then.
        #expect(try TestProcess(["test", "-e", "/proc/self/fd/\(open)"]).waitForEnd() == 1)
        let mask = try TestProcess.run(["grep", "SigBlk", "/proc/self/status"]).output
        #expect(mask == "SigBlk:\t0000000000000000\n")
    }

    @Test(arguments: [("exit 3", 3), ("kill -TERM $$", -SIGTERM)])
    func ends(script: String, status: Int32) throws {
        let child = try TestProcess(["sh", "-c", script])
        #expect(child.waitForEnd() == status && child.hasEnded && child.waitForEnd() == status)
        child.signal(SIGKILL)
    }

    @Test func isKilledWithItsObject() throws {
        var child: TestProcess? = try TestProcess(["sleep", "60"])
        let pid = try #require(child?.pid)
        #expect(child?.hasEnded == false)
        child = nil
        #expect(kill(pid, 0) == -1)
    }

    @Test func unknownProgram() {
        let failure = #expect(throws: TestProcess.Failure.self) { try TestProcess(["martlet-no-such-program"]) }
        #expect(failure?.description == "martlet-no-such-program: No such file or directory")
    }
}
