import ArgumentParser
import Knative
import Roles

/// `martlet validate`.
struct ValidateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate",
        abstract: "Check Service files without running anything.",
        discussion: """
            EXAMPLES
              martlet validate service.yaml
              martlet validate config/ --image docker.io/me/app="python3 app.py"

            Prints every problem as file:line:column and exits with 78 if there is an error.
            """)

    @Argument(help: ArgumentHelp("Service files, or folders of them; - is standard input.", valueName: "FILE|DIR"))
    var paths: [String]

    @OptionGroup var manifests: ManifestOptions

    func run() throws {
        var options = AllInOneOptions()
        var problems: [String] = []
        manifests.apply(to: &options, &problems)
        guard problems.isEmpty else { throw ValidationError(problems.joined(separator: "\n")) }
        options.workload.files = ManifestFiles(paths: paths)
        let result = options.workload.read()
        for diagnostic in result.diagnostics { complain("\(diagnostic)") }
        guard !result.diagnostics.hasErrors else { throw ExitCode(ExitCodes.badConfiguration) }
        var store = ServiceStore()
        _ = store.apply(result.services, removing: true)
        for service in store.services {
            let count = store.revisions(of: service.serviceName).count
            print("\(service.serviceName): valid, \(count) \(count == 1 ? "revision" : "revisions")")
        }
    }
}
