/// Hosts and where their requests go (networking.internal.knative.dev/v1alpha1 `Ingress`; spec/dataplane 5.1).
public struct ClusterIngress: Sendable, Equatable {
    /// A share of the requests.
    public struct Split: Sendable, Equatable {
        /// The service of a revision (`serviceNamespace`, `serviceName`), named like it.
        public var service: ObjectName
        /// `servicePort`: a number; 80 if it is a name.
        public var port: UInt16
        /// 0...100; a single split with 0 gets all.
        public var percent: Int
        /// Fields to set on the requests, as `Knative-Serving-Revision`.
        public var appendHeaders: [String: String]

        /// A share with every part given.
        public init(service: ObjectName, port: UInt16 = 80, percent: Int = 100, appendHeaders: [String: String] = [:]) {
            self.service = service
            self.port = port
            self.percent = percent
            self.appendHeaders = appendHeaders
        }
    }

    /// Requests with a path and fields.
    public struct Path: Sendable, Equatable {
        /// A prefix of the path; empty: all.
        public var path = ""
        /// Fields that must have exactly these values.
        public var headers: [String: String] = [:]
        /// Replaces the host; nil: it stays.
        public var rewriteHost: String?
        /// Fields to set on the requests.
        public var appendHeaders: [String: String] = [:]
        /// At least one; they sum to 100.
        public var splits: [Split]

        /// A path with these shares.
        public init(splits: [Split]) { self.splits = splits }
    }

    /// Hosts with the same paths.
    public struct Rule: Sendable, Equatable {
        /// Exact names.
        public var hosts: [String]
        /// `visibility: ClusterLocal`.
        public var isClusterLocal: Bool
        /// In order: the most specific one that matches.
        public var paths: [Path]

        /// A rule for these hosts.
        public init(hosts: [String], isClusterLocal: Bool = false, paths: [Path]) {
            self.hosts = hosts
            self.isClusterLocal = isClusterLocal
            self.paths = paths
        }
    }

    /// What requests without TLS to hosts that are not cluster-local get (`spec.httpOption`).
    public enum HTTPOption: String, Sendable {
        /// The answer.
        case enabled = "Enabled"
        /// 301 to `https`.
        case redirected = "Redirected"
    }

    /// A certificate for hosts, by the name of its Secret (`spec.tls[]`).
    public struct TLS: Sendable, Equatable {
        /// The hosts.
        public var hosts: [String]
        /// `secretName`.
        public var secretName: String
        /// `secretNamespace`.
        public var secretNamespace: String

        /// A certificate for these hosts.
        public init(hosts: [String], secretName: String = "", secretNamespace: String = "") {
            self.hosts = hosts
            self.secretName = secretName
            self.secretNamespace = secretNamespace
        }
    }

    /// What an ingress says of it (`status`).
    public struct Status: Sendable, Equatable {
        /// The `generation` that is served (`observedGeneration`).
        public var observedGeneration: Int
        /// The condition `Ready` is true: every worker uses the routes of that generation.
        public var isReady: Bool

        /// A status with these parts.
        public init(observedGeneration: Int, isReady: Bool) {
            self.observedGeneration = observedGeneration
            self.isReady = isReady
        }
    }

    /// Its name.
    public var name: ObjectName
    /// `metadata.generation`: rises with each change of the spec. 0: the source has none. Default 0.
    public var generation = 0
    /// `metadata.creationTimestamp` in unix seconds; nil: the source has none. Of two objects with one host the older
    /// serves it.
    public var createdAt: Int64?
    /// The rules.
    public var rules: [Rule]
    /// Nil: not stated, which is `enabled`.
    public var httpOption: HTTPOption?
    /// Certificates. They count for the version only.
    public var tls: [TLS] = []
    /// Written by an ingress; nil: none has said anything.
    public var status: Status?

    /// An Ingress with these rules.
    public init(name: ObjectName, rules: [Rule] = []) {
        self.name = name
        self.rules = rules
    }
}
