import ArgumentParser
import EventLoop
import Glibc
import Knative
import Roles

/// Options that say how manifests are read; the same for `run` and `validate`.
struct ManifestOptions: ParsableArguments {
    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp("Run COMMAND for containers of image REF. May be repeated.", valueName: "REF=COMMAND"))
    var image: [String] = []

    @Flag(name: .long, help: "Accept initial-scale 0; short for --config-autoscaler allow-zero-initial-scale=true.")
    var allowZeroInitialScale = false

    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp(
            "An entry of Knative's ConfigMap config-autoscaler, as stable-window=30s. May be repeated.",
            valueName: "KEY=VALUE"))
    var configAutoscaler: [String] = []

    /// Sets how manifests are read and the autoscaler's settings; every problem is appended.
    func apply(to options: inout AllInOneOptions, _ problems: inout [String]) {
        for text in image {
            do throws(ImageMapping.Failure) {
                let mapping = try ImageMapping.parse(text)
                options.workload.load.images[mapping.reference] = mapping.command
            } catch {
                problems.append("\(error)")
            }
        }
        options.setAutoscaler(configAutoscaler, allowZeroInitialScale: allowZeroInitialScale, &problems)
    }
}

/// Writes to standard error.
func complain(_ text: String) {
    WholeBytes.write(text + "\n", to: STDERR_FILENO)
}
