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
    private var lastGood: [String: [ClusterFile.Place]] = [:]

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
        var good: [String: [ClusterFile.Place]] = [:]
        var left = limits.folderBytes
        for name in names.prefix(limits.files) {
            good[name] = load(name, &left, &reading.troubles) ?? lastGood[name]
        }
        lastGood = good
        collect(into: &reading)
        return reading
    }

    /// The objects of a file; nil if it has an error.
    private func load(_ name: String, _ left: inout Int, _ troubles: inout [Trouble]) -> [ClusterFile.Place]? {
        let limit = min(left, ClusterLoader.limits.fileBytes)
        let text: [UInt8]
        do throws(SystemError) { text = try FolderFiles.contents(of: path + "/" + name, atMost: limit) } catch {
            troubles.append(Trouble(file: name, text: "\(error)"))
            return nil
        }
        left -= text.count
        let file = ClusterLoader.load(file: name, text: text)
        troubles += file.diagnostics.map { Trouble(file: name, text: "\($0)") }
        return file.diagnostics.hasErrors ? nil : file.objects
    }

    /// Of two objects with one name the first counts, in order of file and place.
    private func collect(into reading: inout Reading) {
        var places: [ObjectKey: String] = [:]
        for name in lastGood.keys.sorted() {
            for place in lastGood[name] ?? [] {
                let key = place.object.key
                if let first = places[key] {
                    let text = "\(name):\(place.line): error: \(key.kind.rawValue) \(key.name) is already at \(first)"
                    reading.troubles.append(Trouble(file: name, text: text + "; remove one of the two"))
                    continue
                }
                places[key] = "\(name):\(place.line)"
                reading.objects.append(place.object)
            }
        }
    }
}
