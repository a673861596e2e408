import ArgumentParser

/// The `martlet` command.
struct MartletCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet",
        abstract: "Runs Knative Services: from zero processes to many and back, by their requests.",
        discussion: """
            EXAMPLES
              martlet run service.yaml                      serve a Knative Service on http://127.0.0.1:8080
              martlet run --name hello -- python3 app.py    the same without a file
              martlet run --https :8443 service.yaml        HTTPS as well, with certificates of its own making
              martlet validate service.yaml                 check files; every problem with file:line:column
              martlet cert                                  how clients come to trust those certificates
            """,
        version: MartletVersion.text,
        subcommands: [
            RunCommand.self, ActivatorCommand.self, ValidateCommand.self, CertCommand.self, VersionCommand.self,
        ])
}

/// The version of this build.
enum MartletVersion {
    static let text = "martlet 0.1.0"
}
