import Foundation
import TestProcess
import Testing

@testable import QueueProxy

/// The command line: what it means, and the real executable.
@Suite struct CommandTests {
    @Test func arguments() {
        let rows: [([String], QueueCommand)] = [
            ([], .run), (["--check"], .check), (["--version"], .version), (["--help"], .help), (["-h"], .help),
            (["--check", "--help"], .help), (["--check", "x"], .unknown("x")), (["run"], .unknown("run")),
            (["--version", "--check"], .unknown("--check")), ([""], .unknown("")),
        ]
        for (arguments, command) in rows { #expect(QueueCommand(arguments) == command, "\(arguments)") }
    }

    @Test func helpNamesEveryVariableOfOurs() {
        for variable in OwnVariable.allCases {
            #expect(QueueCommand.helpText.contains("  \(variable.rawValue)\n"))
            #expect(variable.rawValue.hasPrefix("MARTLET_") && !variable.meaning.isEmpty)
        }
    }

    /// The version of both programs is one.
    @Test func oneVersion() throws {
        var root = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { root.deleteLastPathComponent() }
        let command = root.appendingPathComponent("Sources/martlet/MartletCommand.swift")
        let text = try String(contentsOf: command, encoding: .utf8)
        let number = try #require(QueueCommand.versionText.split(separator: " ").last)
        #expect(text.contains("\"martlet \(number)\""))
    }

    /// What `--check` prints can be read back: every line is `NAME=value  # origin`, and control characters are out.
    @Test func checkPrintsLines() {
        let report = CheckReport(QueueConfiguration.read(Environments.knative121) { _ in true })
        #expect(report.exitCode == 0 && report.messages.isEmpty)
        let lines = report.output.split(separator: "\n")
        #expect(lines.allSatisfy { $0.contains("=") && ($0.hasSuffix("  # set") || $0.hasSuffix("  # default")) })
        #expect(
            lines.contains("CONTAINER_CONCURRENCY=10  # set") && lines.contains("MARTLET_ADMIN_LISTEN=:8022  # default")
        )
        #expect(lines.contains("OBSERVABILITY_CONFIG.tracing.samplingRate=0.25  # set"))
        #expect(lines.contains("QUEUE_PROXY_TLS_MIN_VERSION=1.2  # set"))
        let names = lines.map { String($0.prefix { $0 != "=" }) }
        #expect(Set(names).count == names.count, "a variable is printed twice")
        let odd = CheckReport(Environments.read(["SERVING_SERVICE": "a\nUSER_PORT=1"]))
        #expect(odd.output.contains("SERVING_SERVICE=a\\nUSER_PORT=1  # set\n"))
    }

    /// A template that the start would refuse is refused here too.
    @Test func checkReadsTheTemplate() {
        let settings = #"{"enableRequestLog":true,"requestLogTemplate":"{{.Request.Nothing}}"}"#
        let report = CheckReport(Environments.read(["OBSERVABILITY_CONFIG": settings]))
        #expect(report.exitCode == 1 && report.output.isEmpty, "\(report)")
        #expect(report.messages.hasPrefix("martlet-queue: error: OBSERVABILITY_CONFIG.requestLogTemplate "))
    }

    // MARK: The executable

    private func run(_ arguments: [String], _ environment: [String: String]) throws -> (Int32, String, String) {
        let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        var folder = URL(fileURLWithPath: own).deletingLastPathComponent().path
        if !FileManager.default.isExecutableFile(atPath: folder + "/martlet-queue") {
            var root = URL(fileURLWithPath: #filePath)
            for _ in 0..<3 { root.deleteLastPathComponent() }
            folder = root.path + "/.build/debug"
        }
        return try TestProcess.run([folder + "/martlet-queue"] + arguments, environment: environment)
    }

    @Test func theExecutableChecks() throws {
        let (code, output, errors) = try run(["--check"], Environments.knative116)
        #expect(code == 0 && output.contains("TRACING_CONFIG_BACKEND=zipkin  # set\n"))
        #expect(errors.hasPrefix("martlet-queue: warning: TRACING_CONFIG_BACKEND is \"zipkin\"; "), "\(errors)")
        let (badCode, badOutput, badErrors) = try run(["--check"], ["USER_PORT": "http"])
        #expect(badCode == 1 && badOutput.isEmpty)
        #expect(badErrors.split(separator: "\n").count == Environments.required.count)
        #expect(badErrors.contains("martlet-queue: error: USER_PORT is \"http\"; allowed: a port in 1...65535\n"))
    }

    @Test func theExecutableFindsCertificates() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("martlet-certs-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        var environment = Environments.required
        environment["MARTLET_CERTIFICATE_DIRECTORY"] = folder.path
        environment["QUEUE_PROXY_TLS_MIN_VERSION"] = "1.1"
        #expect(try run(["--check"], environment).0 == 0)
        for name in ["tls.crt", "tls.key"] {
            #expect(try run(["--check"], environment).0 == 0, "one file is no certificate")
            try Data().write(to: folder.appendingPathComponent(name))
        }
        #expect(try run(["--check"], environment).0 == 1)
    }

    @Test func theExecutableAnswers() throws {
        let (code, version, _) = try run(["--version"], [:])
        #expect(code == 0 && version == QueueCommand.versionText + "\n")
        let (helpCode, help, _) = try run(["--help"], [:])
        #expect(helpCode == 0 && help.contains(QueueCommand.usage))
        let (wrongCode, nothing, wrong) = try run(["--chek"], [:])
        #expect(wrongCode == 64 && nothing.isEmpty && wrong.contains("--chek"))
    }
}
