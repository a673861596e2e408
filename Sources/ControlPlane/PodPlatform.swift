import Knative
import Primitives

/// Names a pod of a platform.
public struct PodHandle: Hashable, Sendable {
    /// The platform's number for it.
    public let number: UInt64

    /// The pod of that number.
    public init(number: UInt64) { self.number = number }
}

/// What happened to a pod.
public enum PodChange: Sendable {
    /// Its process was started, for the first time or again.
    case spawned(pid: Int32, at: Instant)
    /// It accepts requests at 127.0.0.1:`port`.
    case ready(port: UInt16, at: Instant)
    /// It was ready and is not any more.
    case unready(reason: String)
    /// Its process ended unasked; nil: it will not be started again.
    case exited(status: String, lastLines: [String], restartAfterMilliseconds: UInt64?)
    /// Its process could not be started; nil: it will not be tried again.
    case failedToStart(error: String, restartAfterMilliseconds: UInt64?)
    /// It was stopped as asked; nothing of it is left.
    case stopped
}

/// Where pods run: the boundary between what is wanted and what makes it so.
///
/// Today processes of this machine; a cluster is another implementation. Owned by the control thread.
public protocol PodPlatform: AnyObject {
    /// Starts pod number `ordinal` of a revision. What comes of it is told to the observer, never from inside the call.
    func start(_ revision: RevisionObject, ordinal: Int) -> PodHandle
    /// Stops a pod: it is asked to end, given its grace, and killed.
    func stop(_ pod: PodHandle)
    /// Stops every pod by `deadline`.
    func stopAll(deadline: Instant)
    /// Looks at once whether a pod still answers.
    func recheck(_ pod: PodHandle)
    /// How many pods there are, stopping ones included.
    var podCount: Int { get }
    /// Whom to tell of changes.
    var observer: (PodHandle, PodChange) -> Void { get set }
}
