import Knative
import Scaling

/// What a revision's `ServerlessService` shall say: whether requests go through activators, and through how many. Pure.
///
/// Source: Knative Serving, `pkg/reconciler/autoscaling/kpa/kpa.go`; spec/autoscaling 5.3, 5.4.
enum ServingModeRule {
    /// The object to write; nil if `current` says it already.
    static func change(
        of name: ObjectName, current: ServerlessService?, record: DecisionRecord, ready: Int
    ) -> ServerlessService? {
        var wanted = current ?? ServerlessService(name: name)
        wanted.isProxy = record.mode == .proxy
        wanted.activatorCount = record.spec.activatorCount(ready: ready)
        return wanted == current ? nil : wanted
    }
}
