import Primitives
import Synchronization

/// What the connections of a listener are for.
public enum ListenerPurpose: Sendable, Equatable {
    /// Requests for the container; among them probes, which the workers recognise (`QuestionRule`).
    case traffic
    /// `/wait-for-drain` for kubelet.
    case admin
    /// `/metrics` for the autoscaler.
    case stat
    /// `/metrics` for people.
    case metrics
}

/// What a worker cannot answer by itself.
public enum QuestionSubject: Sendable, Equatable, CaseIterable {
    /// Whether the container is ready.
    case readiness
    /// To be answered when the drain is over.
    case drain
    /// The figures for the autoscaler.
    case stat
    /// The metrics.
    case metrics
}

/// Who waits for an answer: a request of one worker.
public struct Asker: Sendable, Equatable, Hashable {
    let worker: Int
    let token: SlabToken
}

/// What a worker asks the control thread, which answers with `WorkerCommand.answer` to the asker's worker
/// (`WorkerGroup.answer`). An answer to somebody who has gone is dropped.
public struct Question: Sendable, Equatable {
    /// What is asked.
    public let subject: QuestionSubject
    /// Who waits.
    public let asker: Asker
}

/// A whole response of the control thread's.
public struct Answer: Sendable, Equatable {
    /// Most bytes of a body. What is longer is answered with 500. A page of metrics has its own limit of 8 MiB.
    public static let bodyLimit = 9 << 20
    /// A longer body is sent in pieces of this size, in bytes, each when the client has taken the last one.
    static let pieceBytes = 32 << 10

    /// 200...599.
    public let status: Int
    /// Nil for none.
    public let contentType: StaticText?
    /// All of it; at most `bodyLimit`.
    public let body: [UInt8]

    /// An answer.
    public init(status: Int, contentType: StaticText? = nil, body: [UInt8] = []) {
        let fits = body.count <= Self.bodyLimit
        self.status = fits ? status : 500
        self.contentType = fits ? contentType : nil
        self.body = fits ? body : []
    }

    /// A content type that a program knows.
    public enum StaticText: Sendable, Equatable {
        /// `text/plain; charset=utf-8`.
        case plain
        /// `application/protobuf`, to the letter: the autoscaler compares it.
        case protobuf
        /// `text/plain; version=0.0.4; charset=utf-8`, as Prometheus wants it.
        case prometheus

        var text: StaticString {
            switch self {
            case .plain: "text/plain; charset=utf-8"
            case .protobuf: "application/protobuf"
            case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
            }
        }
    }
}

/// What all workers and the control thread share about questions. Any thread.
public final class QuestionDesk: Sendable {
    /// How old the note of the last request may be before it is made anew, in nanoseconds: workers under load do not
    /// fight for it.
    static let noteNanoseconds: UInt64 = 1_000_000

    /// What an activator tells kubelet of its health (spec/dataplane 3.2).
    public enum Health: UInt8, Sendable, CaseIterable {
        /// 200.
        case good
        /// 500: the autoscaler is not connected.
        case notConnected
        /// 500: it is to end.
        case terminated

        var text: StaticString {
            switch self {
            case .good: ""
            case .notConnected: "connection has not yet been established"
            case .terminated: "received SIGTERM from kubelet"
            }
        }
    }

    private let draining = Atomic<Bool>(false)
    private let healthValue = Atomic<UInt8>(Health.good.rawValue)
    private let lastRequest = Atomic<UInt64>(0)

    /// A desk at which health is asked as usual.
    public init() {}

    /// Whether probes for health are answered with 503 (spec/dataplane 1.10).
    public var isDraining: Bool {
        get { draining.load(ordering: .relaxed) }
        set { draining.store(newValue, ordering: .relaxed) }
    }

    /// An activator's health. Default good.
    public var health: Health {
        get { Health(rawValue: healthValue.load(ordering: .relaxed)) ?? .good }
        set { healthValue.store(newValue.rawValue, ordering: .relaxed) }
    }

    /// When the last request that is no probe came, exact to a millisecond; the beginning of time if none did.
    public var lastRequestAt: Instant { Instant(nanoseconds: lastRequest.load(ordering: .relaxed)) }

    @inline(__always)
    func noteRequest(_ now: Instant) {
        guard now.nanoseconds(since: lastRequestAt) >= Self.noteNanoseconds else { return }
        lastRequest.store(now.nanoseconds, ordering: .relaxed)
    }
}
