import ControlPlane
import EventLoop
import Glibc
import Knative
import Primitives

/// Pods that cost nothing: all are one application that runs already, ready as soon as it is asked for.
///
/// What is told, is told after the call, within the same wake-up of the control thread.
final class FreePods: PodPlatform {
    private enum Happening { case started(PodHandle), stopped(PodHandle) }

    private let loop: Loop
    private let port: UInt16
    private var lastNumber: UInt64 = 0
    private var happenings: [Happening] = []
    private var isTelling = false
    /// How often a pod was started, by revision.
    private(set) var starts: [String: Int] = [:]
    /// Pods that run.
    private(set) var podCount = 0
    var observer: (PodHandle, PodChange) -> Void = { _, _ in }

    /// Pods of the application at 127.0.0.1:`port`.
    init(loop: Loop, port: UInt16) {
        self.loop = loop
        self.port = port
    }

    func start(_ revision: RevisionObject, ordinal: Int) -> PodHandle {
        lastNumber += 1
        podCount += 1
        starts[revision.name, default: 0] += 1
        let pod = PodHandle(number: lastNumber)
        tell(.started(pod))
        return pod
    }

    func stop(_ pod: PodHandle) { tell(.stopped(pod)) }

    /// Nothing runs that would have to end.
    func stopAll(deadline: Instant) { podCount = 0 }

    func recheck(_ pod: PodHandle) { tell(.started(pod)) }

    private func tell(_ happening: Happening) {
        happenings.append(happening)
        guard happenings.count == 1, !isTelling else { return }
        loop.at(loop.now) { [unowned self] in tellAll() }
    }

    private func tellAll() {
        isTelling = true
        var index = 0
        while index < happenings.count {
            switch happenings[index] {
            case .started(let pod):
                observer(pod, .spawned(pid: getpid(), at: MonotonicClock.now()))
                observer(pod, .ready(port: port, at: MonotonicClock.now()))
            case .stopped(let pod):
                podCount -= 1
                observer(pod, .stopped)
            }
            index += 1
        }
        happenings.removeAll(keepingCapacity: true)
        isTelling = false
    }
}
