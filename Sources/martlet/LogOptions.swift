import ArgumentParser
import Logging
import Roles

/// Options of the log on standard error; the same for every role.
struct LogOptions: ParsableArguments {
    @Option(name: .long, help: "Form of the log on standard error: text or json.")
    var log = "text"

    @Option(name: .long, help: "Least level of the log: debug, info, notice, warning, error.")
    var logLevel = "info"

    /// Appends what is wrong.
    func check(_ problems: inout [String]) {
        if LogForm(rawValue: log) == nil { problems.append("--log \(log): expected text or json") }
        if Logger.Level(rawValue: logLevel) == nil {
            problems.append("--log-level \(logLevel): expected debug, info, notice, warning or error")
        }
    }

    /// A log as the options want it; as their defaults say in place of what `check` has refused.
    var logger: Logger {
        let form = LogForm(rawValue: log) ?? .text
        let level = Logger.Level(rawValue: logLevel) ?? .info
        return Logger(label: "martlet") { ConsoleLog(label: $0, form: form, level: level) }
    }
}
