import ClusterLink
import Knative

/// Where it is written how many pods a revision shall have. Owned by the control thread.
public protocol ScaleTarget: AnyObject {
    /// `scale.replicas` pods shall exist from now on. What cannot be written now is written when it can be.
    func scale(_ scale: ClusterScale)
}

/// Writes scales to the source that objects come from.
public final class ClusterScaleTarget: ScaleTarget {
    private let source: any ClusterSource

    /// Writes to `source`.
    public init(_ source: any ClusterSource) { self.source = source }

    /// Writes `scale` at once.
    public func scale(_ scale: ClusterScale) { source.apply(.scale(scale)) }
}
