import Primitives

/// The state as Knative keeps it, in the annotation `networking.internal.knative.dev/rollout` of an Ingress.
///
/// Where controllers may be replaced by one another, one goes on with the rollout that the other has begun.
extension Rollout {
    /// The annotation's key.
    public static let annotation = "networking.internal.knative.dev/rollout"

    /// Longest text that is read, in bytes: Kubernetes' own limit for all annotations of an object.
    public static let longestJSON = 256 << 10

    /// The state as the annotation's value. Instants are nanoseconds since 1970.
    public var json: String {
        let tree = JSONTree.object([("configurations", .nonempty(configurations.map(\.tree)))])
        var bytes: [UInt8] = []
        tree.write(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Reads the annotation's value.
    ///
    /// Nil for what is no state: another form, shares that do not sum to their host's percentage, more than 100
    /// percent, a step beyond the whole. It is to be discarded, and traffic is then what it shall come to.
    public init?(json: String) {
        guard json.utf8.count <= Self.longestJSON else { return nil }
        let parsed = YAMLParser.parse(JSONText.readableAsYAML(Array(json.utf8)))
        guard parsed.problems.isEmpty, let document = parsed.documents.first else { return nil }
        var report = Report(file: Self.annotation)
        var configurations: [ConfigurationRollout] = []
        guard let root = report.mapping(Field(document, path: "")) else { return nil }
        for element in report.list("configurations", of: root) {
            guard let field = report.mapping(element), let read = ConfigurationRollout(field, &report) else {
                return nil
            }
            configurations.append(read)
        }
        guard report.errorCount == 0 else { return nil }
        self.init(configurations)
    }
}

extension ConfigurationRollout {
    fileprivate var tree: JSONTree {
        let shares = revisions.map { share in
            JSONTree.object([("revisionName", .string(share.revision)), ("percent", .integer(share.percent))])
        }
        return .object([
            ("configurationName", .string(name)), ("tag", .nonempty(tag)), ("percent", .integer(percent)),
            ("revisions", .nonempty(shares)), ("stepParams", steps.tree),
        ])
    }

    /// Nil if the numbers do not fit one another.
    fileprivate init?(_ field: Field, _ report: inout Report) {
        let percents = 0...100
        let percent = report.integer("percent", of: field, in: percents) ?? 0
        var shares: [RevisionShare] = []
        for element in report.list("revisions", of: field) {
            guard let share = report.mapping(element), let name = report.string("revisionName", of: share) else {
                return nil
            }
            shares.append(
                RevisionShare(revision: name, percent: report.integer("percent", of: share, in: percents) ?? 0))
        }
        guard shares.reduce(0, { $0 + $1.percent }) == percent,
            let name = report.string("configurationName", of: field)
        else { return nil }
        var steps = Steps()
        if let params = report.mapping("stepParams", of: field) { steps = Steps(params, &report) }
        guard steps.percent <= percent else { return nil }
        self.init(
            name: name, tag: report.string("tag", of: field) ?? "", percent: percent,
            revisions: shares.filter { $0.percent > 0 }, steps: steps)
    }
}

extension ConfigurationRollout.Steps {
    fileprivate var tree: JSONTree {
        func number(_ value: UInt64?) -> JSONTree? {
            value.flatMap { $0 == 0 ? nil : JSONTree.integer(Int(clamping: $0)) }
        }
        return .object([
            ("starttime", number(startedAt?.nanoseconds)), ("nextStepTime", number(nextAt?.nanoseconds)),
            ("stepDuration", number(intervalNanoseconds)), ("stepSize", percent == 0 ? nil : .integer(percent)),
        ])
    }

    /// What is absent or 0 has not been set.
    fileprivate init(_ field: Field, _ report: inout Report) {
        self.init()
        func number(_ key: String) -> UInt64? {
            guard let value = report.integer(key, of: field, in: 0...Int.max), value > 0 else { return nil }
            return UInt64(value)
        }
        startedAt = number("starttime").map { Instant(nanoseconds: $0) }
        nextAt = number("nextStepTime").map { Instant(nanoseconds: $0) }
        intervalNanoseconds = number("stepDuration") ?? 0
        percent = report.integer("stepSize", of: field, in: 0...100) ?? 0
    }
}
