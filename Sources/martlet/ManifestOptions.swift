import ArgumentParser
import Glibc
import Knative
import Roles

/// Options that say how manifests are read; the same for `run` and `validate`.
struct ManifestOptions: ParsableArguments {
    @Option(
        name: .long, parsing: .singleValue,
        help: ArgumentHelp("Run COMMAND for containers of image REF. May be repeated.", valueName: "REF=COMMAND"))
    var image: [String] = []

    @Flag(name: .long, help: "Accept initial-scale 0, as allow-zero-initial-scale does in Knative.")
    var allowZeroInitialScale = false

    func loadOptions() throws -> LoadOptions {
        var options = LoadOptions()
        options.defaults.allowZeroInitialScale = allowZeroInitialScale
        for text in image {
            do throws(ImageMapping.Failure) {
                let mapping = try ImageMapping.parse(text)
                options.images[mapping.reference] = mapping.command
            } catch {
                throw ValidationError("--image \(text): \(error)")
            }
        }
        return options
    }
}

/// Writes to standard error.
func complain(_ text: String) {
    var line = text + "\n"
    line.withUTF8 { bytes in _ = write(2, bytes.baseAddress, bytes.count) }
}
