import ArgumentParser
import Roles

/// `martlet explain`.
struct ExplainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Say why a revision has as many pods as it has.",
        discussion: """
            EXAMPLES
              martlet explain                     every revision of the run on this machine
              martlet explain hello-00001
              martlet explain demo/hello-00001 --run /run/user/1000/martlet/hub-4711.sock

            Asks a martlet run of this user at its socket, hub-PID.sock in $XDG_RUNTIME_DIR/martlet or
            /tmp/martlet-UID. With several runs --run says which.
            """)

    @Argument(help: ArgumentHelp("REVISION or NAMESPACE/REVISION (default: all).", valueName: "REVISION"))
    var revision = ""

    @Option(
        name: .customLong("run"),
        help: ArgumentHelp("The socket of a run, or the directory it is in.", valueName: "PATH"))
    var place: String?

    func run() throws {
        let lines: [String]
        do throws(RunQuestion.Failure) { lines = try RunQuestion.explain(revision, run: place) } catch {
            complain("error: \(error)")
            throw ExitCode(ExitCodes.failure)
        }
        for line in lines { print(line) }
    }
}
