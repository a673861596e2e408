import Knative

/// Which generations of Ingresses all workers use, and which of them nobody has been told of. Pure.
///
/// Knative's controllers wait for this before they go on with a rollout: a condition `Ready` with the generation that
/// was observed.
struct IngressStatuses {
    /// The generation of the snapshot that each worker uses.
    private var taken: [Int]
    /// The generation told, or about to be.
    private var known: [ObjectName: Int] = [:]
    /// Generations of Ingresses in a snapshot that not all workers use yet.
    private var waiting: [ObjectName: (generation: Int, snapshot: Int)] = [:]

    init(workers: Int) { taken = [Int](repeating: 0, count: workers) }

    /// A snapshot with the routes of `ingress` is on its way to the workers. One without a generation is never told of.
    mutating func published(_ ingress: ClusterIngress, in snapshot: Int) {
        guard ingress.generation > 0, known[ingress.name] != ingress.generation else { return }
        known[ingress.name] = ingress.generation
        waiting[ingress.name] = (ingress.generation, snapshot)
    }

    /// It is not there any more.
    mutating func forget(_ name: ObjectName) {
        known[name] = nil
        waiting[name] = nil
    }

    /// A worker uses a snapshot. Returns what is to be told now: Ingresses with their status alone, sorted by name.
    mutating func taken(by worker: Int, _ snapshot: Int) -> [ClusterIngress] {
        taken[worker] = snapshot
        let oldest = taken.min() ?? 0
        let due = waiting.filter { $0.value.snapshot <= oldest }
        for name in due.keys { waiting[name] = nil }
        return due.sorted { $0.key < $1.key }.map { name, place in
            var ingress = ClusterIngress(name: name)
            ingress.generation = place.generation
            ingress.status = .init(observedGeneration: place.generation, isReady: true)
            return ingress
        }
    }
}
