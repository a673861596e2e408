import EventLoop
import Knative

/// What a folder of files holds, read anew at each change; a file that cannot be used keeps its last good objects.
struct ObjectFolder {
    /// Something to tell the operator, once.
    struct Trouble: Equatable, Hashable {
        let file: String
        let text: String
    }

    /// What was read.
    struct Reading {
        /// In order of file and place.
        var objects: [ClusterObject] = []
        /// What is wrong now.
        var troubles: [Trouble] = []
    }

    let path: String
    private let limits: ClusterLimits
    private var lastGood: [String: ClusterFile] = [:]

    init(path: String, limits: ClusterLimits) {
        self.path = path
        self.limits = limits
    }

    /// Reads every file; nil if the folder itself cannot be read.
    mutating func read() throws(SystemError) -> Reading {
        var reading = Reading()
        let names = try FolderFiles.names(of: path).filter { name in
            [".yaml", ".yml", ".json"].contains { name.hasSuffix($0) }
        }
        if names.count > limits.files {
            let text = "\(names.count) files; the first \(limits.files) are read"
            reading.troubles.append(Trouble(file: path, text: text))
        }
        var good: [String: ClusterFile] = [:]
        var left = limits.folderBytes
        for name in names.prefix(limits.files) {
            good[name] = load(name, &left, &reading.troubles) ?? lastGood[name]
        }
        lastGood = good
        collect(into: &reading)
        return reading
    }

    /// The objects of a file; nil if it has an error.
    private func load(_ name: String, _ left: inout Int, _ troubles: inout [Trouble]) -> ClusterFile? {
        let limit = min(left, ClusterLoader.limits.fileBytes)
        let text: [UInt8]
        do throws(SystemError) { text = try FolderFiles.contents(of: path + "/" + name, atMost: limit) } catch {
            troubles.append(Trouble(file: name, text: "\(error)"))
            return nil
        }
        left -= text.count
        let file = ClusterLoader.load(file: name, text: text)
        troubles += file.diagnostics.map { Trouble(file: name, text: "\($0)") }
        return file.diagnostics.hasErrors ? nil : file
    }

    /// Of two objects with one name the first counts, in order of file and place.
    private func collect(into reading: inout Reading) {
        var places: [ObjectKey: String] = [:]
        let merged = merge(&reading)
        let sliced = Set(merged.map(\.name))
        for name in lastGood.keys.sorted() {
            for place in lastGood[name]?.objects ?? [] {
                let key = place.object.key
                if let first = places[key] {
                    let text = "\(name):\(place.line): error: \(key.kind.rawValue) \(key.name) is already at \(first)"
                    reading.troubles.append(Trouble(file: name, text: text + "; remove one of the two"))
                    continue
                }
                places[key] = "\(name):\(place.line)"
                // A cluster has both for one service; the slices are never cut short.
                if key.kind == .endpoints, sliced.contains(key.name) { continue }
                reading.objects.append(place.object)
            }
        }
        reading.objects += merged.map { .endpoints($0) }
    }

    /// The endpoints of services that have slices. Of two slices with one name the first counts, too.
    private func merge(_ reading: inout Reading) -> [ClusterEndpoints] {
        var places: [ObjectName: String] = [:]
        var slices: [EndpointSlice] = []
        for file in lastGood.keys.sorted() {
            for (slice, line) in lastGood[file]?.slices ?? [] {
                if let first = places[slice.name] {
                    let text = "\(file):\(line): error: EndpointSlice \(slice.name) is already at \(first)"
                    reading.troubles.append(Trouble(file: file, text: text + "; remove one of the two"))
                    continue
                }
                places[slice.name] = "\(file):\(line)"
                slices.append(slice)
            }
        }
        return EndpointSlice.merge(slices)
    }
}
