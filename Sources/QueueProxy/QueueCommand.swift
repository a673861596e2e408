/// What the command line of the sidecar asks for.
public enum QueueCommand: Equatable, Sendable {
    /// No argument: serve.
    case run
    /// `--check`: print the effective configuration.
    case check
    /// `--help`, `-h`.
    case help
    /// `--version`.
    case version
    /// Something else: this argument.
    case unknown(String)

    /// Reads the arguments without the program's name. Help goes before all else.
    public init(_ arguments: [String]) {
        if arguments.contains(where: { $0 == "--help" || $0 == "-h" }) {
            self = .help
            return
        }
        switch arguments.first {
        case nil: self = .run
        case "--check" where arguments.count == 1: self = .check
        case "--version" where arguments.count == 1: self = .version
        case .some(let first): self = .unknown(["--check", "--version"].contains(first) ? arguments[1] : first)
        }
    }

    /// The version of this build.
    public static let versionNumber = "0.1.0"
    /// The name with it.
    public static let versionText = "martlet-queue \(versionNumber)"

    /// One line of what may be said.
    public static let usage = "usage: martlet-queue [--check | --version | --help]"

    /// The text of `--help`.
    public static var helpText: String {
        """
        The sidecar of a Knative revision's pod. It is configured by the environment, as Knative's controller writes it
        (1.16 and later); no argument is needed.

        \(usage)
          --check     print the effective configuration, a NAME=value a line with where it came from; exit 0, or 1
                      with everything that is wrong on standard error
          --version   print the version
          --help      print this

        Variables that Knative does not have. An address is \(ListenAddress.allowed).
        \(OwnVariable.table)
        """
    }
}

/// What `--check` prints.
public struct CheckReport: Equatable, Sendable {
    /// For standard output: the effective configuration, if there is no problem.
    public let output: String
    /// For standard error: problems and warnings.
    public let messages: String
    /// 0, or 1 if there is a problem.
    public let exitCode: Int32

    /// The report of a reading: what it found, and what the parts would say of it when they start.
    public init(_ reading: QueueConfigurationReading) {
        var (problems, warnings) = (reading.problems, reading.warnings)
        if let configuration = reading.configuration {
            do throws(TelemetryPlan.Failure) {
                warnings += try TelemetryPlan(configuration).warnings
            } catch {
                problems += error.problems
            }
        }
        output = problems.isEmpty ? reading.entries.map { "\($0)\n" }.joined() : ""
        messages = Self.messages(problems, warnings)
        exitCode = problems.isEmpty ? 0 : 1
    }

    /// A line for each problem and each warning; empty if there is none.
    static func messages(_ problems: [ConfigurationProblem], _ warnings: [ConfigurationProblem]) -> String {
        problems.map { "martlet-queue: error: \($0)\n" }.joined()
            + warnings.map { "martlet-queue: warning: \($0)\n" }.joined()
    }
}
