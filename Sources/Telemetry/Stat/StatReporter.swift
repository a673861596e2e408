import Primitives

/// The queue-proxy's reporter: closes a window each second and keeps its body until the next one.
///
/// Whoever is asked for `/metrics` answers with `body`, from the start of the process on. Windows are counted from the
/// start without drift, so a late tick shortens the next window and not the one after. Owner: one thread.
/// Source: Knative `serving/pkg/queue/protobuf_stats_reporter.go`.
public struct StatReporter: ~Copyable {
    /// Length of a window: the period Knative divides counts by.
    public static let periodMilliseconds: UInt64 = 1000

    private let memory: UnsafeMutableRawBufferPointer
    private let nameLength: Int
    private let start: Instant
    private var bodyLength = 0
    /// When the present window ends and `report` is due.
    public private(set) var deadline: Instant

    /// A reporter before its first second: the body has nothing but the name.
    ///
    /// - Returns: nil if `podName` is longer than `StatMessage.podNameLimit` bytes.
    public init?(podName: String, start: Instant) {
        let name = Array(podName.utf8)
        guard name.count <= StatMessage.podNameLimit else { return nil }
        memory = .allocate(byteCount: name.count + StatMessage.bodyLimit, alignment: 8)
        memory.copyBytes(from: name)
        nameLength = name.count
        self.start = start
        deadline = start.adding(milliseconds: StatReporter.periodMilliseconds)
        write(StatMessage(podName: self.podName))
    }

    deinit { memory.deallocate() }

    /// Ends the window: its sums over all workers become the body until the next report.
    ///
    /// Counts are per second of the period, which is what they are whatever the clock says (Knative divides by 1).
    public mutating func report(_ sums: WindowSums, now: Instant) {
        var report = sums.report
        report.requestCount = Double(sums.requests)
        report.proxiedRequestCount = Double(sums.proxiedRequests)
        write(StatMessage(podName: podName, report: report, processUptime: now.seconds(since: start)))
        let elapsed = now.milliseconds(since: start)
        let windows = elapsed / StatReporter.periodMilliseconds + 1
        let next = start.adding(milliseconds: windows * StatReporter.periodMilliseconds)
        deadline = max(next, deadline)
    }

    /// The body of `/metrics` on port 9090, good until the next report.
    public var body: ByteView { region(nameLength, bodyLength) }

    private var podName: ByteView { region(0, nameLength) }

    private func region(_ start: Int, _ length: Int) -> ByteView {
        ByteView(UnsafeRawBufferPointer(rebasing: memory[start..<start + length]))
    }

    private mutating func write(_ message: StatMessage) {
        var writer = ByteWriter(UnsafeMutableRawBufferPointer(rebasing: memory[nameLength...]))
        let isWritten = message.write(to: &writer)
        assert(isWritten, "a name within its limit leaves room for everything")
        bodyLength = writer.count
    }
}
