import Knative

/// What the command line and the files together ask to be run.
public struct Workload: Sendable {
    /// The files; nil with a command.
    public var files: ManifestFiles?
    /// `--name NAME -- COMMAND…`: a Service made of a command.
    public var command: (name: String, arguments: [String])?
    /// How manifests are read.
    public var load = LoadOptions()

    /// Nothing yet.
    public init() {}

    /// What was read: services without errors, and every problem of all of them.
    public struct Reading: Sendable {
        /// In the order in which they are to be applied.
        public var services: [ServiceObject]
        /// Errors and warnings, by place. With an error nothing should be applied.
        public var diagnostics: [Diagnostic]
    }

    /// Reads everything anew.
    public func read() -> Reading {
        if let command {
            do throws(Diagnostic) {
                let service = try ServiceObject.make(name: command.name, command: command.arguments)
                return Reading(services: [service], diagnostics: [])
            } catch {
                return Reading(services: [], diagnostics: [error])
            }
        }
        let (sources, unreadable) = files?.read() ?? ([], [])
        let result = ManifestLoader.load(sources: sources, options: load)
        var reading = Reading(services: result.services, diagnostics: unreadable + result.diagnostics)
        for index in reading.services.indices { reading.services[index].resolveWorkingDirectory() }
        // Also what shows only when the documents are applied in order, as a revision name used twice.
        var trial = ServiceStore()
        reading.diagnostics += trial.apply(reading.services, removing: true).diagnostics
        return reading
    }
}

extension ServiceObject {
    /// A process runs in its `workingDir`, which is relative to the folder of the file; without one, in that folder.
    fileprivate mutating func resolveWorkingDirectory() {
        let folder = ManifestFiles.absolute(ManifestFiles.folder(of: origin.file == "-" ? "./-" : origin.file))
        guard let stated = template.container.workingDir else {
            template.container.workingDir = folder
            return
        }
        if !stated.hasPrefix("/") { template.container.workingDir = folder + "/" + stated }
    }
}
