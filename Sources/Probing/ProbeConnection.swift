import EventLoop
import Glibc
import HTTP2
import Primitives
import TLS

/// What the probes of one owner share. Owned by the loop's thread.
public final class ProbeContext {
    let loop: Loop
    let userAgent: String
    let pool: HTTP2Pool
    let followsRedirects: Bool
    let security: Result<TLSClientContext, ProbeSecurityMissing>

    /// Probes on `loop` that call themselves `userAgent`. With `security` they can ask over TLS; without they say why
    /// not. With `followsRedirects` an answer of HTTP/1.1 that names another place on this machine does not decide, but
    /// that place; default no.
    public init(
        loop: Loop, userAgent: String, followsRedirects: Bool = false,
        security: Result<TLSClientContext, ProbeSecurityMissing> = .failure(ProbeSecurityMissing("TLS is not set up"))
    ) {
        self.loop = loop
        self.userAgent = userAgent
        self.followsRedirects = followsRedirects
        self.security = security
        pool = HTTP2Pool(limits: HTTP2Dialogue.limits)
    }
}

/// Why probes cannot ask over TLS.
public struct ProbeSecurityMissing: Error, Equatable, Sendable {
    /// The reason, for a person.
    public let reason: String

    /// With its reason.
    public init(_ reason: String) { self.reason = reason }
}

/// One question to a port of this machine: it connects, asks, waits at most its timeout, and says the outcome exactly
/// once. Owned by the loop's thread.
///
/// The loop holds it while it waits for something, so its owner may let go of it after the report.
public final class ProbeConnection {
    /// Most bytes of an answer that are read, so that the application can finish writing it.
    public static let answerBytes = 16 * 1024
    /// Most bytes that wait to be sent, besides what the dialogue keeps.
    private static let outboundBytes = 4 * 1024

    private enum Stage { case connecting, talking, over }

    private let context: ProbeContext
    private let loop: Loop
    private var stage = Stage.over
    private var socket: Socket?
    private var watch: Loop.WatchToken?
    private var timer: TimerHandle?
    private var host: UInt32 = 0x7F00_0001
    private var port: UInt16 = 0
    private var dialogue: (any ProbeDialogue)?
    /// What is asked over HTTP/2. Its session is made when there is a connection: most eager probes are refused, and
    /// must stay cheap.
    private var question: HTTP2Dialogue.Question?
    /// What is said instead, should the port not speak HTTP/2.
    private var fallback: HTTP1Dialogue?
    /// How to ask on at another place, and how often that was done.
    private var redirected: ((RedirectTarget) -> HTTP1Dialogue)?
    private var redirects = 0
    private var path = ""
    private var halfway: TimerHandle?
    private var unsent: [UInt8] = []
    private var received = 0
    private var report: ((ProbeOutcome) -> Void)?

    /// A question that has not been asked.
    public init(_ context: ProbeContext) {
        self.context = context
        loop = context.loop
    }

    /// Asks. `report` is called once, perhaps before this returns, unless `cancel` comes first.
    ///
    /// - Parameter host: an IPv4 address of this machine, in host order; default 127.0.0.1.
    public func begin(
        _ asked: ProbeQuestion, host: UInt32 = 0x7F00_0001, port: UInt16, timeoutMilliseconds: UInt64,
        report: @escaping (ProbeOutcome) -> Void
    ) {
        assert(stage == .over && self.report == nil)
        self.report = report
        self.host = host
        self.port = port
        prepare(asked, timeoutMilliseconds)
        guard self.report != nil else { return }
        connect()
        guard stage != .over else { return }
        timer = loop.after(milliseconds: timeoutMilliseconds) { self.timeOut() }
        guard fallback != nil else { return }
        halfway = loop.after(milliseconds: max(1, timeoutMilliseconds / 2)) { self.halfTimePassed() }
    }

    /// Ends without a report.
    public func cancel() {
        report = nil
        close()
    }

    private func prepare(_ asked: ProbeQuestion, _ timeoutMilliseconds: UInt64) {
        let userAgent = context.userAgent
        switch asked {
        case .connect: break
        case .http1(let path, let headers):
            self.path = path
            let seeks = context.followsRedirects
            dialogue = HTTP1Dialogue(
                path: path, port: port, headers: headers, userAgent: userAgent, seeksLocation: seeks)
            guard seeks else { return }
            redirected = { target in
                HTTP1Dialogue(
                    path: target.path, port: target.port, headers: headers, userAgent: userAgent, seeksLocation: true)
            }
        case .http2(let path, let headers): question = .get(path: path, headers: headers)
        case .http2OrHTTP1(let path, let headers):
            fallback = HTTP1Dialogue(path: path, port: port, headers: headers, userAgent: userAgent)
            question = .get(path: path, headers: headers)
        case .https(let path, let headers):
            let inner = HTTP1Dialogue(path: path, port: port, headers: headers, userAgent: userAgent)
            switch context.security {
            case .success(let security): dialogue = SecureDialogue(inner, security)
            case .failure(let missing): return finish(.failed(missing.reason))
            }
            if dialogue == nil { finish(.failed("no memory for TLS")) }
        case .health(let service): question = .health(service: service, timeoutMilliseconds: timeoutMilliseconds)
        }
    }

    // MARK: Connections

    /// The port does not speak HTTP/2, though its name says so: its HTTP/1.1 answer counts, on another connection.
    private func fallBack() {
        guard let next = fallback else { return }
        fallback = nil
        closeConnection()
        dialogue = next
        unsent = []
        received = 0
        connect()
    }

    /// Most places that are asked one after the other, as Go's client.
    static let redirectLimit = 10

    /// The answer names another place: on this machine it is asked instead. False if the answer itself decides.
    private func redirect() -> Bool {
        guard let redirected, let location = (dialogue as? HTTP1Dialogue)?.location,
            let target = RedirectTarget(location, from: RedirectTarget(port: port, path: path))
        else { return false }
        redirects += 1
        guard redirects < Self.redirectLimit else {
            finish(.failed("stopped after \(Self.redirectLimit) redirects"))
            return true
        }
        closeConnection()
        (port, path) = (target.port, target.path)
        dialogue = redirected(target)
        unsent = []
        received = 0
        connect()
        return true
    }

    /// A server of HTTP/2 speaks at once. One that says nothing may be waiting for the rest of an HTTP/1.1 request.
    private func halfTimePassed() {
        halfway = nil
        if fallback != nil, stage == .talking, received == 0 { fallBack() }
    }

    private func connect() {
        switch Socket.connect(to: SocketAddress(ipv4: host, port: port)) {
        case .connected(let opened):
            socket = consume opened
            connected()
        case .pending(let opened):
            let isDecided = PortCheck.isDecided(opened)
            socket = consume opened
            stage = .connecting
            if isDecided { proceed() } else { observe(.writable) }
        case .failed(let code): finish(Self.outcome(of: code))
        }
    }

    private func observe(_ interest: Readiness) {
        guard let fd = socket?.fd else { return }
        if let watch {
            loop.rewatch(watch, interest)
        } else {
            watch = try? loop.watch(fd, interest) { _ in self.proceed() }
            if watch == nil { finish(.failed("cannot watch the connection")) }
        }
    }

    private func proceed() {
        switch stage {
        case .connecting:
            let code = socket?.pendingError ?? EBADF
            if code == 0 { connected() } else { finish(Self.outcome(of: code)) }
        case .talking: receive()
        case .over: break
        }
    }

    private func connected() {
        if let asked = question {
            question = nil
            dialogue = HTTP2Dialogue(
                asked, port: port, userAgent: context.userAgent, pool: context.pool, now: MonotonicClock.now())
            if dialogue == nil { return finish(.failed("no memory for an HTTP/2 session")) }
        }
        // A TCP probe closes at once: an application that serves one connection at a time must not wait for ours.
        guard dialogue != nil else { return finish(.passed) }
        stage = .talking
        goOn()
    }

    private func receive() {
        let result = withUnsafeTemporaryAllocation(byteCount: 4_096, alignment: 1) { memory in
            let result = socket?.receive(into: memory) ?? .failed(EBADF)
            if case .bytes(let count) = result {
                let bytes = ByteView(UnsafeRawBufferPointer(rebasing: memory[..<count]))
                dialogue?.receive(bytes, now: MonotonicClock.now())
            }
            return result
        }
        switch result {
        case .bytes(let count): received += count
        case .wouldBlock: break
        case .endOfStream: dialogue?.closed(nil, now: MonotonicClock.now())
        case .failed(let code): dialogue?.closed(Self.outcome(of: code), now: MonotonicClock.now())
        }
        goOn()
    }

    /// Reports what is known, says what is to be said, and ends when the dialogue does.
    private func goOn() {
        var isSent = send()
        if let verdict = dialogue?.verdict {
            if case .notHTTP2 = verdict, fallback != nil { return fallBack() }
            fallback = nil
            if redirect() { return }
            tell(verdict)
            guard stage == .talking else { return }  // who was told has cancelled it
            isSent = isSent && send()
        }
        if received >= Self.answerBytes, report != nil { return finish(.failed("the answer is too long")) }
        if dialogue?.isOver ?? true || received >= Self.answerBytes { return close() }
        observe(isSent ? .readable : [.readable, .writable])
    }

    /// Sends what the dialogue has to say. False if the socket takes no more now.
    private func send() -> Bool {
        while true {
            if unsent.isEmpty { fill() }
            guard !unsent.isEmpty else { return true }
            let result = unsent.withUnsafeBytes { socket?.send(ByteView($0)) ?? .failed(EBADF) }
            switch result {
            case .bytes(let count): unsent.removeFirst(count)
            case .wouldBlock: return false
            case .endOfStream, .failed:
                // It may have answered before it closed: what it said is still to be read, and then the end.
                unsent = []
                return true
            }
        }
    }

    private func fill() {
        let now = MonotonicClock.now()
        withUnsafeTemporaryAllocation(byteCount: Self.outboundBytes, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            dialogue?.transmit(into: &writer, now: now)
            for index in 0..<writer.count { unsent.append(writer.written[index]) }
        }
    }

    private static func outcome(of code: Int32) -> ProbeOutcome {
        code == ECONNREFUSED ? .refused : .failed(ChildProcess.text(of: code))
    }

    // MARK: The end

    private func timeOut() {
        timer = nil
        finish(.timedOut)
    }

    private func finish(_ outcome: ProbeOutcome) {
        close()
        tell(outcome)
    }

    private func tell(_ outcome: ProbeOutcome) {
        guard let report else { return }
        self.report = nil
        report(outcome)
    }

    private func close() {
        stage = .over
        if let timer { loop.cancel(timer) }
        if let halfway { loop.cancel(halfway) }
        (timer, halfway, fallback, question, dialogue, redirected) = (nil, nil, nil, nil, nil, nil)
        closeConnection()
    }

    private func closeConnection() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        socket = nil
    }
}
