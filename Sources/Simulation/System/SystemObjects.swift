import ClusterLink
import Knative
import Primitives

/// Which object: its kind, and the number of its revision or pod.
struct ObjectNumber: Hashable {
    enum Kind: UInt8 { case pods, path, service, scale, autoscaler, pod }
    let kind: Kind
    let number: Int
}

/// Somebody who is told of objects, late and each object's changes in order: a change that comes after a newer one of
/// the same object is passed over, as informers do.
final class SystemWatcher {
    var isOver = false
    /// Whether it has been told all that was there.
    private(set) var isSynced = false
    private var known: [ObjectNumber: UInt64] = [:]
    private let kinds: Set<ObjectNumber.Kind>
    private let take: (ClusterChange) -> Void

    init(_ kinds: Set<ObjectNumber.Kind>, _ take: @escaping (ClusterChange) -> Void) {
        self.kinds = kinds
        self.take = take
    }

    func wants(_ object: ObjectNumber) -> Bool { kinds.contains(object.kind) && !isOver }

    func tell(_ change: ClusterChange, of object: ObjectNumber, version: UInt64) {
        guard !isOver, version > known[object, default: 0] else { return }
        known[object] = version
        take(change)
    }

    func synced() {
        isSynced = true
        if !isOver { take(.synced) }
    }
}

/// All objects of the simulated cluster, and who watches them.
final class SystemObjects {
    private var objects: [ObjectNumber: (object: ClusterObject, version: UInt64)] = [:]
    private var order: [ObjectNumber] = []
    private var watchers: [SystemWatcher] = []
    private var version: UInt64 = 0
    private unowned let world: SystemSimulation

    init(_ world: SystemSimulation) { self.world = world }

    /// Makes `object` what it is from now on, and tells watchers some time later. False if it was so already.
    @discardableResult
    func publish(_ object: ClusterObject, as number: ObjectNumber) -> Bool {
        guard objects[number]?.object != object else { return false }
        version += 1
        if objects[number] == nil { order.append(number) }
        objects[number] = (object, version)
        spread(.applied(object), of: number)
        return true
    }

    func remove(_ number: ObjectNumber) {
        guard let object = objects.removeValue(forKey: number)?.object else { return }
        version += 1
        order.removeAll { $0 == number }
        spread(.removed(object.kind, object.name), of: number)
    }

    subscript(number: ObjectNumber) -> ClusterObject? { objects[number]?.object }

    private func spread(_ change: ClusterChange, of number: ObjectNumber) {
        let version = version
        watchers.removeAll(where: \.isOver)
        for watcher in watchers where watcher.wants(number) {
            world.clock.after(world.delay(world.plan.delays.watch)) { [weak watcher] in
                watcher?.tell(change, of: number, version: version)
            }
        }
    }

    /// Tells `watcher` all there is after a while, then what changes.
    func add(_ watcher: SystemWatcher) {
        world.clock.after(world.delay(world.plan.delays.watch)) { [self] in
            guard !watcher.isOver else { return }
            watchers.append(watcher)
            for number in order where watcher.wants(number) {
                guard let (object, version) = objects[number] else { continue }
                watcher.tell(.applied(object), of: number, version: version)
            }
            watcher.synced()
        }
    }
}
