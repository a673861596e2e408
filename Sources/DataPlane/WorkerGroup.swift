import EventLoop
import Glibc
import Primitives
import Routing

/// All workers of a process: their listeners on one address, their threads, their mailboxes.
///
/// Owned by the control thread.
public final class WorkerGroup {
    /// What workers tell the owner, who watches this mailbox.
    public let events: Mailbox<WorkerEvent>
    /// The address they listen on, with the real port.
    public let address: SocketAddress
    /// How many there are.
    public var count: Int { mailboxes.count }

    private let mailboxes: [Mailbox<WorkerCommand>]
    private var descriptors: [Int32] = []
    private var threads: [WorkerThread] = []
    private let options: WorkerOptions
    private let budget: ConnectionBudget
    private let log: LogSink?

    /// Opens one listener a worker on `address`; port 0 picks a free one. `options.index` is set for each.
    ///
    /// - Throws: the failed call, for example "listen on 127.0.0.1:8080: Address already in use".
    public init(address: SocketAddress, options: WorkerOptions, log: LogSink?) throws(SystemError) {
        self.options = options
        self.log = log
        budget = ConnectionBudget(limit: options.limits.connections)
        events = try Mailbox()
        var boxes: [Mailbox<WorkerCommand>] = []
        var bound = address
        // With SO_REUSEPORT a second martlet on the same port would silently share its requests: ask for it alone
        // first.
        if address.port != 0 { _ = try Listener(address, sharesPort: false) }
        for _ in 0..<options.count {
            let listener = try Listener(bound, sharesPort: true)
            bound = listener.address ?? bound
            descriptors.append(listener.release())
            boxes.append(try Mailbox())
        }
        self.address = bound
        mailboxes = boxes
    }

    /// Starts the threads. Connections made since `init` have waited in the kernel.
    public func start(_ snapshot: RoutingSnapshot) throws(SystemError) {
        for (index, descriptor) in descriptors.enumerated() {
            var own = options
            own.index = index
            let start = WorkerStart(
                options: own, descriptor: descriptor, snapshot: snapshot, mailboxes: mailboxes, events: events,
                budget: budget, log: log)
            threads.append(try WorkerThread(name: "worker \(index)") { start.run() })
        }
        descriptors = []
    }

    /// Tells every worker.
    public func post(_ command: WorkerCommand) {
        for mailbox in mailboxes { mailbox.post(command) }
    }

    /// Tells one worker.
    public func post(_ command: WorkerCommand, to worker: Int) { mailboxes[worker].post(command) }

    /// Waits for the threads, after `stop`.
    public func join() {
        for thread in threads { thread.join() }
        threads = []
    }

    /// How many client connections there are.
    public var connectionCount: Int { budget.count }
}

/// What a worker's thread begins with.
private struct WorkerStart: Sendable {
    let options: WorkerOptions
    let descriptor: Int32
    let snapshot: RoutingSnapshot
    let mailboxes: [Mailbox<WorkerCommand>]
    let events: Mailbox<WorkerEvent>
    let budget: ConnectionBudget
    let log: LogSink?

    func run() {
        do throws(SystemError) {
            let worker = try Worker(
                options: options, listener: Listener(owning: descriptor), snapshot: snapshot, mailboxes: mailboxes,
                events: events, connectionBudget: budget, log: log)
            worker.run()
        } catch {
            events.post(.failed(worker: options.index, error))
        }
    }
}
