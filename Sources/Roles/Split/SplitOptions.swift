import EventLoop
import Knative
import Telemetry

/// What `martlet run --split` adds to the options of `martlet run`.
public struct SplitOptions: Sendable {
    /// Activators to start. Default 1. Range 1...16.
    public var activators = 1
    /// The file of `martlet`; nil: that of this process.
    public var executable: String?
    /// The file of `martlet-queue`; nil: beside `executable`.
    public var queueExecutable: String?
    /// Options handed on to `martlet ingress` as they were given.
    public var ingressArguments: [String] = []
    /// Entries of config-autoscaler as they were given, each `KEY=VALUE`.
    public var configAutoscaler: [String] = []
    /// Least level of the roles' logs. Default `info`.
    public var logLevel = "info"
    /// Form of the roles' logs: `text` or `json`. Default `text`.
    public var logForm = "text"
    /// How long the first activator is waited for before the ingress starts, in milliseconds. Default 5,000.
    public var activatorMilliseconds: UInt64 = 5_000
    /// How long an activator still takes requests after SIGTERM, in milliseconds. Default 200: by then the ingress has
    /// ended. Knative's 45 s are for a cluster that must hear of it.
    public var activatorDrainMilliseconds: UInt64 = 200
    /// How long requests under way in an activator are waited for after that, in milliseconds. Default 30,000.
    public var activatorLimitMilliseconds: UInt64 = 30_000

    /// The defaults.
    public init() {}
}
