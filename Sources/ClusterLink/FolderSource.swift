import EventLoop
import Knative
import Logging
import Primitives

/// Objects from a watched folder of `.yaml`, `.yml` and `.json` files, such as `kubectl get -o yaml` prints. Owned by
/// the control thread.
///
/// At each change the folder is read whole and the difference told. A file with an error keeps its last good objects;
/// its problems are logged once. Of two objects of one kind and name the first counts, in order of file and place.
public final class FolderSource: ClusterSource {
    /// The folder.
    public let path: String
    /// Where written objects go, a file each; nil: nowhere.
    public let output: String?

    private let loop: Loop
    private let log: Logger
    private var folder: ObjectFolder
    private var watch: FileWatch?
    private var known = ObjectStore()
    private var kinds: Set<ObjectKind> = []
    private var observer: ((ClusterChange) -> Void)?
    private var first: TimerHandle = .none
    private var told: Set<ObjectFolder.Trouble> = []
    private var isUnreadable = false
    private var isRefusalTold = false
    /// Why the last object was not written; nil: it was.
    private var unwritten: SystemError?

    /// Will read the folder at `path`. Written objects go to `output`, another folder, as
    /// `Kind.namespace.name.json`; it is made if it is missing. Nil refuses them with one line in the log.
    /// - Throws: if the folder cannot be watched, or the other one not be made.
    public init(
        path: String, output: String? = nil, loop: Loop, log: Logger, limits: ClusterLimits = ClusterLimits()
    ) throws(SystemError) {
        self.path = path
        self.output = output
        self.loop = loop
        self.log = log
        folder = ObjectFolder(path: path, limits: limits)
        if let output { try FolderFiles.make(output) }
        let watch = try FileWatch(loop: loop) { [weak self] in self?.read() }
        try watch.add(folder: path)
        self.watch = watch
    }

    /// Begins to tell. A second call replaces the first: its observer hears no more.
    public func watch(_ kinds: Set<ObjectKind>, _ observer: @escaping (ClusterChange) -> Void) {
        self.kinds = kinds
        self.observer = observer
        known = ObjectStore()
        loop.cancel(first)
        first = loop.after(milliseconds: 0) { [weak self] in
            self?.read()
            self?.observer?(.synced)
        }
    }

    /// Writes the object's file in `output`.
    public func apply(_ object: ClusterObject) {
        guard let output else {
            if !isRefusalTold {
                log.warning(
                    "a folder takes no objects", metadata: ["kind": "\(object.kind.rawValue)", "folder": "\(path)"])
            }
            isRefusalTold = true
            return
        }
        let file = "\(output)/\(object.kind.rawValue).\(object.name.namespace).\(object.name.name).json"
        do throws(SystemError) {
            try FolderFiles.replace(file, with: object.json + [UInt8(ascii: "\n")])
            unwritten = nil
        } catch {
            // A full disk is told once, not for every object.
            if unwritten?.code != error.code { log.error("cannot write objects", metadata: ["reason": "\(error)"]) }
            unwritten = error
        }
    }

    private func read() {
        guard let observer else { return }
        let reading: ObjectFolder.Reading
        do throws(SystemError) { reading = try folder.read() } catch {
            if !isUnreadable { log.error("cannot read the folder of objects", metadata: ["reason": "\(error)"]) }
            isUnreadable = true
            return
        }
        isUnreadable = false
        for trouble in reading.troubles where !told.contains(trouble) {
            log.error("\(trouble.text)", metadata: ["folder": "\(path)"])
        }
        told = Set(reading.troubles)
        let objects = reading.objects.filter { kinds.contains($0.kind) }
        for change in known.replace(kinds, with: objects) { observer(change) }
    }
}
