/// Bounds of a link between processes of one machine.
public struct ClusterLimits: Sendable {
    /// Roles connected to a hub at once; the newest is refused. Default 64.
    public var sessions = 64
    /// Bytes rendered ahead for a subscriber that reads slowly. Beyond, only the names of what has changed are kept,
    /// and the newest of each is told later. Default 256 KiB; a single line may exceed it.
    public var outboundBytes = 256 << 10
    /// How many changed objects a slow subscriber may be behind; then it is cut and may come again. Default 100,000.
    public var pendingObjects = 100_000
    /// How long a peer may take nothing while something waits for it, in milliseconds; then it is cut. Default 10 s.
    public var stallMilliseconds: UInt64 = 10_000
    /// Longest line taken from a peer, in bytes; a longer one ends the connection. Default 4 MiB.
    public var lineBytes = 4 << 20
    /// Objects one role may write under different names and have remembered for the next connection; the oldest are
    /// forgotten. Default 10,000.
    public var rememberedWrites = 10_000
    /// Objects one session may register; more are refused. Default 100.
    public var registrations = 100
    /// First wait before a lost connection is tried again, in milliseconds; doubled at each failure. Default 10.
    public var firstRetryMilliseconds: UInt64 = 10
    /// Longest wait between two attempts, in milliseconds. Default 1 s.
    public var lastRetryMilliseconds: UInt64 = 1_000
    /// EndpointSlices known at once; more are passed over. Default 20,000, each of 1,000 addresses at most.
    public var slices = 20_000
    /// Files of a watched folder; those behind it in order of name are not read. Default 10,000.
    public var files = 10_000
    /// Bytes of all files of a watched folder. Default 256 MiB.
    public var folderBytes = 256 << 20

    /// The defaults.
    public init() {}
}
