/// What one file may cost. A manifest is small; beyond these bounds it is a mistake or an attack.
public struct YAMLLimits: Hashable, Sendable {
    /// Bytes of one file. Default 1 MiB.
    public var fileBytes = 1 << 20
    /// Nesting of lists and mappings, aliases expanded. Default 64.
    public var depth = 64
    /// Nodes of one file, aliases expanded. Default 100,000.
    ///
    /// A bomb of aliases is small in memory, but nobody could walk it to its end.
    public var nodes = 100_000
    /// Bytes of scalar text of one file, aliases expanded. Default 4 MiB.
    public var expandedBytes = 4 << 20
    /// Documents in one file. Default 1,000.
    public var documents = 1_000
    /// Problems reported for one file; the rest is only counted. Default 200.
    public var problems = 200

    /// The defaults.
    public init() {}
}

/// Something wrong with a YAML text.
public struct YAMLProblem: Error, Hashable, Sendable {
    /// Where.
    public let mark: YAMLMark
    /// What was found.
    public let problem: String
    /// What would be accepted.
    public let remedy: String

    init(_ problem: String, at mark: YAMLMark, remedy: String) {
        self.problem = problem
        self.mark = mark
        self.remedy = remedy
    }
}
