import EventLoop
import Glibc
import Knative
import Logging

/// Keeps a run at what its files say: watches them, reads them anew, and tells what is wrong with them.
///
/// Lives on the control thread.
final class WorkloadWatch {
    /// Applies services that were read; returns what shows only then.
    typealias Apply = ([ServiceObject]) -> [Diagnostic]

    private let workload: Workload
    private let loop: Loop
    private let logger: Logger
    private let apply: Apply
    private var watch: FileWatch?

    /// Watches nothing yet.
    init(_ workload: Workload, loop: Loop, logger: Logger, apply: @escaping Apply) {
        self.workload = workload
        self.loop = loop
        self.logger = logger
        self.apply = apply
    }

    /// Applies what was read before the run began.
    func applyFirst(_ services: [ServiceObject]) { tell(apply(services)) }

    /// Calls `onChange` when a file has changed, from now on. Without files there is nothing to watch.
    func start(onChange: @escaping () -> Void) {
        guard let files = workload.files else { return }
        do {
            let watch = try FileWatch(loop: loop, onChange: onChange)
            for folder in files.folders { try watch.add(folder: folder) }
            self.watch = watch
        } catch {
            logger.warning("files are not watched; send SIGHUP after a change", metadata: ["error": "\(error)"])
        }
    }

    /// Reads everything anew. If anything is wrong, says so and keeps the old state whole.
    func reload(_ cause: String) {
        let result = workload.read()
        tell(result.diagnostics)
        guard !result.diagnostics.hasErrors else {
            return logger.error("reload refused; the old state stays", metadata: ["cause": "\(cause)"])
        }
        tell(apply(result.services))
        logger.info("reloaded", metadata: ["cause": "\(cause)"])
    }

    private func tell(_ diagnostics: [Diagnostic]) {
        for diagnostic in diagnostics { WholeBytes.write("\(diagnostic)\n", to: STDERR_FILENO) }
    }
}
