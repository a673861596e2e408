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
    /// The addresses they listen on, with the real ports, in the order of the options.
    public let addresses: [SocketAddress]
    /// How many there are.
    public var count: Int { mailboxes.count }

    private let mailboxes: [Mailbox<WorkerCommand>]
    private let listeners: [ListenerOptions]
    /// For each worker the descriptors of its listeners.
    private var descriptors: [[Int32]] = []
    private var threads: [WorkerThread] = []
    private let options: WorkerOptions
    private let budget: ConnectionBudget
    private let log: LogSink?

    /// Opens the listeners, each once for every worker. `options.index` is set for each.
    ///
    /// - Throws: the failed call, for example "listen on 127.0.0.1:8080: Address already in use".
    public init(
        listeners: [ListenerOptions], options: WorkerOptions, log: LogSink?
    ) throws(SystemError) {
        self.options = options
        self.log = log
        budget = ConnectionBudget(limit: options.limits.connections)
        events = try Mailbox()
        var boxes: [Mailbox<WorkerCommand>] = []
        for _ in 0..<options.count { boxes.append(try Mailbox()) }
        mailboxes = boxes
        var bound = listeners.map(\.address)
        // With SO_REUSEPORT a second martlet on the same port would silently share its requests: ask for it alone
        // first.
        for address in bound where address.port != 0 { try Listener.check(address) }
        for _ in 0..<options.count {
            var own: [Int32] = []
            for index in bound.indices {
                let listener = try Listener(bound[index], sharesPort: true)
                bound[index] = listener.address ?? bound[index]
                own.append(listener.release())
            }
            descriptors.append(own)
        }
        addresses = bound
        // Where to redirect to is known only now, if the port was free to choose.
        let secure = listeners.indices.first { listeners[$0].tls != nil }
        self.listeners = listeners.map { listener in
            var listener = listener
            if listener.redirectPort == 0 { listener.redirectPort = secure.map { bound[$0].port } }
            return listener
        }
    }

    /// Starts the threads. Connections made since `init` have waited in the kernel.
    public func start(_ snapshot: RoutingSnapshot) throws(SystemError) {
        for (index, own) in descriptors.enumerated() {
            var settings = options
            settings.index = index
            let start = WorkerStart(
                options: settings, listeners: Array(zip(own, listeners)), snapshot: snapshot, mailboxes: mailboxes,
                events: events,
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

    /// Tells whoever asked the answer.
    public func answer(_ asker: Asker, _ answer: Answer) { mailboxes[asker.worker].post(.answer(asker, answer)) }

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
    let listeners: [(descriptor: Int32, options: ListenerOptions)]
    let snapshot: RoutingSnapshot
    let mailboxes: [Mailbox<WorkerCommand>]
    let events: Mailbox<WorkerEvent>
    let budget: ConnectionBudget
    let log: LogSink?

    func run() {
        do throws(SystemError) {
            let worker = try Worker(
                options: options, listeners: listeners, snapshot: snapshot, mailboxes: mailboxes, events: events,
                connectionBudget: budget, log: log)
            worker.run()
        } catch {
            events.post(.failed(worker: options.index, error))
        }
    }
}
