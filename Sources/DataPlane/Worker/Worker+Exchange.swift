import Admission
import Balancing
import EventLoop
import HTTP
import HTTP1
import HTTP2
import Primitives
import Telemetry

/// The life of a request: route, admission, dispatch, and its one end.
extension Worker {
    typealias ExchangePointer = UnsafeMutablePointer<Exchange>

    /// Starts the exchange of the head just parsed, which stands at the front of `bytes`.
    func beginExchange(_ connection: Downstream, _ bytes: ByteView) {
        connection.pointee.requestsBegun += 1
        if let desk, isQuestion(connection, RequestParts(requestHead, of: bytes), desk) { return }
        let found =
            isActivator
            ? revision(of: RequestParts(requestHead, of: bytes), requestHead.fields) : route(connection, bytes)
        guard let target = found else { return replyUnrouted(connection, RequestParts(requestHead, of: bytes)) }
        if connection.pointee.redirectPort != 0 {
            let parts = RequestParts(requestHead, of: bytes)
            if leadsToHTTPS(target, parts) { return redirect(connection, parts) }
        }
        let isProxied = isSidecar && isFromActivator(RequestParts(requestHead, of: bytes), requestHead.fields)
        let traits = RequestTraits(requestHead)
        guard let exchange = open(connection, .none, traits, consume target, isProxied: isProxied) else {
            return replyWithoutExchange(connection, .overloaded)
        }
        headOwner = exchange.pointee.token
        connection.pointee.exchange = exchange.pointee.token
        connection.pointee.phase = .exchange
        connection.pointee.deadline = .distantFuture
        if connection.pointee.requestsBegun >= limits.requestsPerConnection || isDraining {
            exchange.pointee.closesDownstream = true
        }
        if options.accessLog != .off { note(exchange, RequestParts(requestHead, of: bytes), requestHead.fields) }
        if let telemetry {
            let parts = RequestParts(requestHead, of: bytes)
            telemetryBegins(exchange, connection, parts, requestHead.fields, telemetry)
        }
        admit(exchange, connection)
    }

    /// Where the request just parsed goes.
    @inline(__always)
    private func route(_ connection: Downstream, _ bytes: ByteView) -> RevisionTarget? {
        guard isGateway else { return route(host: bytes[requestHead.host]) }
        return gatewayTarget(connection, RequestParts(requestHead, of: bytes), requestHead.fields)
    }

    /// The revision that serves a request for `host`; nil if no rule has it. A sidecar has one, whatever the host.
    func route(host: ByteView) -> RevisionTarget? {
        if isSidecar { return snapshot.targets.first }
        // The snapshot is replaced between two events only, never inside one.
        return Unmanaged.passUnretained(snapshot)._withUnsafeGuaranteedRef { $0.target(of: host) }
    }

    /// Calls `body` with the revision of `exchange`, without counting references: an exchange keeps its revision, and
    /// its own place to the end of the wake-up.
    @inline(__always)
    private func withTarget<Result>(of exchange: ExchangePointer, _ body: (RevisionTarget) -> Result) -> Result {
        Unmanaged.passUnretained(exchange.pointee.target)._withUnsafeGuaranteedRef(body)
    }

    /// Makes the exchange of a request, counted and with its time limit running. Nil at the limit of exchanges.
    func open(
        _ connection: Downstream, _ stream: HTTP2Stream, _ request: RequestTraits, _ target: consuming RevisionTarget,
        isProxied: Bool
    ) -> ExchangePointer? {
        guard let token = exchanges.vacancy() else { return nil }
        let exchange = exchanges.occupy(token)
        exchange.initialize(
            to: Exchange(
                token: token, downstream: connection.pointee.token, stream: stream, target: consume target,
                request: request, limits: limits.http, now: now))
        if exchange.pointee.isStream, !request.isGRPC, !request.wantsUpgrade { expectBody(exchange) }
        exchange.pointee.isProxied = isProxied
        withTarget(of: exchange) { count(arrivalAt: $0, proxied: isProxied) }
        armDeadline(exchange)
        return exchange
    }

    private func count(arrivalAt target: RevisionTarget, proxied isProxied: Bool) {
        let cell = target.cell(options.index)
        if !cell.pointee.isListed { list(target) }
        cell.pointee.stats.arrive(now: now, proxied: isProxied)
    }

    /// Requests of `target` are told with the next report. Its window begins with them, as with Knative's activator;
    /// that of a sidecar goes on all the time.
    private func list(_ target: RevisionTarget) {
        let cell = target.cell(options.index)
        cell.pointee.isListed = true
        // Nobody asks a gateway for statistics.
        guard !isGateway else { return }
        if !isSidecar { cell.pointee.stats.resume(now: now) }
        if isActivator, target.arrivals.note() { events.post(.arrived(target)) }
        listedTargets.append(target)
    }

    // MARK: Admission

    func admit(_ exchange: ExchangePointer, _ connection: Downstream) {
        withTarget(of: exchange) { target in
            let waiter = Waiter(worker: options.index, token: exchange.pointee.token.packed)
            let view = target.cell(options.index)
            settle(
                exchange, connection, target.gate.admit(waiter, view: &view.pointee.view, random: random.next()),
                of: target)
        }
    }

    /// Asks again for a request whose pod could not be reached; it keeps its age.
    func readmit(_ exchange: ExchangePointer, _ connection: Downstream, avoiding endpoint: Endpoint?) {
        let target = exchange.pointee.target
        let waiter = Waiter(worker: options.index, token: exchange.pointee.token.packed)
        settle(
            exchange, connection,
            target.gate.readmit(
                waiter, view: &target.cell(options.index).pointee.view, random: random.next(), avoiding: endpoint),
            of: target)
    }

    private func settle(
        _ exchange: ExchangePointer, _ connection: Downstream, _ outcome: consuming AdmissionOutcome,
        of target: RevisionTarget
    ) {
        switch consume outcome {
        case .admitted(let endpoint):
            exchange.pointee.endpoint = consume endpoint
            dispatch(exchange, connection)
        case .queued(let ticket):
            exchange.pointee.ticket = ticket
            exchange.pointee.stage = .waiting
            // Who scales wants to know of the first request after a wait; a sidecar has nobody to tell.
            exchange.pointee.waited = !isSidecar
            if isGateway {
                expectEndpoint(exchange)
            } else if target.cell(options.index).pointee.view.count == 0 {
                exchange.pointee.flags.insert(ResponseFlags(.coldStart))
            }
            if target.raiseDemand() { events.post(.demand(target)) }
            // A client that has gone already is noticed now; later its close is an edge of its own.
            if connection.pointee.peerHasClosed, !exchange.pointee.isStream {
                downstreamReady(connection.pointee.token, [])
            }
        case .refused(.closed): fail(exchange, .revisionGone)
        case .refused(.queueFull), .refused(.queueFullOverall): fail(exchange, .queueFull)
        }
    }

    /// A slot came for a waiting request. If the request has gone meanwhile, the slot goes on.
    func granted(_ grant: Grant, of target: RevisionTarget) {
        guard let exchange = exchanges[SlabToken(packed: grant.waiter.token)], exchange.pointee.stage == .waiting,
            let connection = downstreams[exchange.pointee.downstream]
        else { return release(grant.endpoint, of: target) }
        exchange.pointee.ticket = nil
        if isGateway { endpointCame(exchange) }
        exchange.pointee.endpoint = grant.endpoint
        exchange.pointee.grantedAt = now
        dispatch(exchange, connection)
    }

    func waiterRefused(_ token: SlabToken) {
        guard let exchange = exchanges[token], exchange.pointee.stage == .waiting else { return }
        exchange.pointee.ticket = nil
        fail(exchange, .revisionGone)
    }

    /// Gives a slot back; the oldest waiter gets it, on whichever worker it waits.
    private func release(_ endpoint: Endpoint, of target: RevisionTarget) {
        switch target.gate.release(endpoint) {
        case .done: break
        case .granted(let grant):
            if grant.waiter.worker == options.index {
                localGrants.append((target, grant))
            } else {
                peers[grant.waiter.worker].post(.grant(target, grant))
            }
        case .drained: events.post(.idle(endpoint))
        }
    }

    /// Gives back the slot of `exchange`, if it holds one.
    func releaseSlot(_ exchange: ExchangePointer) {
        guard let endpoint = exchange.pointee.endpoint.take() else { return }
        withTarget(of: exchange) { release(endpoint, of: $0) }
    }

    // MARK: Ends

    /// The one end of every exchange: its slot, its place in the queue, its count, its log line.
    func end(_ exchange: ExchangePointer) {
        guard exchange.pointee.stage != .ended else { return }
        if let ticket = exchange.pointee.ticket {
            exchange.pointee.ticket = nil
            // If a grant is on its way already, `granted` will find nobody and pass the slot on.
            _ = exchange.pointee.target.gate.abandon(ticket)
        }
        exchange.pointee.stage = .ended
        releaseSlot(exchange)
        withTarget(of: exchange) {
            $0.cell(options.index).pointee.stats.leave(now: now, proxied: exchange.pointee.isProxied)
        }
        if options.accessLog != .off { writeLog(exchange) }
        if let telemetry { telemetryEnds(exchange, telemetry) }
        buffers.release(&exchange.pointee.log.bytes)
        releaseBodies(exchange)
        if exchange.pointee.isStream { leaveStream(exchange) }
        endedExchanges.append(exchange.pointee.token)
    }

    /// The client has gone: nobody is to be answered.
    func clientGone(_ exchange: ExchangePointer) {
        guard exchange.pointee.stage != .ended else { return }
        if exchange.pointee.flags.isDisjoint(with: .failures) {
            exchange.pointee.flags.insert(ResponseFlags(.downstreamConnectionTermination))
        }
        abortUpstream(exchange)
        end(exchange)
    }

    /// Answers with an error of ours, or, if the response has begun, cuts it so that the client cannot take it for
    /// whole.
    func fail(_ exchange: ExchangePointer, _ refusal: Refusal) {
        guard exchange.pointee.stage != .ended else { return }
        guard let connection = downstreams[exchange.pointee.downstream] else { return clientGone(exchange) }
        let refusal = isActivator ? refusal.ofActivator : refusal
        if isActivator, refusal.isEndpointsFault { noteFailure(exchange) }
        exchange.pointee.flags.insert(ResponseFlags(refusal.flag))
        abortUpstream(exchange)
        if exchange.pointee.isStream {
            failStream(exchange, connection, refusal)
        } else if exchange.pointee.responseHasStarted {
            end(exchange)
            cut(connection)
        } else {
            exchange.pointee.status = refusal.status
            let keepsAlive = exchange.pointee.requestIsComplete && !exchange.pointee.closesDownstream
            // Where the request ends is known only if all of it has been read.
            let isBodyless = exchange.pointee.method == .head
            if !isBodyless { exchange.pointee.bytesSent = UInt64(refusal.text.utf8CodeUnitCount) }
            releaseSlot(exchange)
            reply(connection, refusal, keepsAlive: keepsAlive, withBody: !isBodyless)
            let consumed = exchange.pointee.consumed
            end(exchange)
            afterResponse(connection, consumed: consumed, keepsAlive: keepsAlive)
        }
    }

    /// Breaks a response off in a way that cannot be mistaken for its end.
    func cut(_ connection: Downstream) {
        connection.pointee.socket.resetOnClose()
        close(connection)
    }

    /// The response is out: on to the next request, or to the end of the connection.
    func afterResponse(_ connection: Downstream, consumed: Int, keepsAlive: Bool) {
        guard connection.pointee.phase != .closed else { return }
        connection.pointee.exchange = .none
        guard keepsAlive else { return beginLinger(connection) }
        connection.pointee.inbound.consume(min(consumed, connection.pointee.inbound.count))
        connection.pointee.phase = .idle
        connection.pointee.scanned = 0
        setDeadline(connection, now.adding(milliseconds: limits.keepAliveIdleMilliseconds))
        if connection.pointee.inbound.count == 0 { buffers.release(&connection.pointee.inbound) }
        // A pipelined request, or bytes that came meanwhile: at the end of the wake-up, not from inside this one.
        if connection.pointee.inbound.count > 0 || connection.pointee.isReadable { queueTurn(connection) }
    }

    // MARK: Time

    /// What a sidecar or an activator adds to a response that its limit cuts off (spec/dataplane 1.7, 3.2).
    var lateText: StaticString { isActivator ? Refusal.activatorTimeout.text : Refusal.responseTimeout.text }

    /// Sees to it that the timer of the exchange's place fires no later than its deadline. One armed for earlier stays,
    /// whoever had the place then: it finds out who has it now. So most requests arm nothing and cancel nothing.
    func armDeadline(_ exchange: ExchangePointer) {
        let deadline = exchange.pointee.deadline
        let place = Int(exchange.pointee.token.index)
        if place < exchangeTimers.count, exchangeTimers[place].instant <= deadline { return }
        guard deadline != .distantFuture else { return }
        while exchangeTimers.count <= place { exchangeTimers.append(ExchangeTimer()) }
        if exchangeTimers[place].instant != .distantFuture {
            timers.cancel(exchangeTimers[place].handle)
            armedExchangeTimers -= 1
        }
        let payload = TaggedToken(.exchange, SlabToken(index: UInt32(place), generation: 0)).packed
        exchangeTimers[place] = ExchangeTimer(instant: deadline, handle: timers.arm(deadline, payload: payload))
        armedExchangeTimers += 1
    }

    func exchangeTimerFired(_ place: UInt32) {
        exchangeTimers[Int(place)] = ExchangeTimer()
        armedExchangeTimers -= 1
        guard let token = exchanges.occupant(of: place), let exchange = exchanges[token],
            exchange.pointee.stage != .ended
        else { return }
        guard exchange.pointee.deadline <= now else { return armDeadline(exchange) }
        if isGateway, exchange.pointee.stage == .waiting { return fail(exchange, .noEndpoint) }
        if exchange.pointee.requestDeadline <= now {
            guard !isSilent(exchange) else { return fail(exchange, .bodyTimeout) }
            expectBody(exchange)
            guard exchange.pointee.deadline <= now else { return armDeadline(exchange) }
        }
        guard exchange.pointee.responseHasStarted else {
            // In a sidecar the same limit covers the queue and the container (spec/dataplane 1.7).
            let isQueued = exchange.pointee.stage == .waiting && !isSidecar
            return fail(exchange, isQueued ? .queueTimeout : .responseTimeout)
        }
        guard let connection = downstreams[exchange.pointee.downstream] else { return clientGone(exchange) }
        exchange.pointee.flags.insert(ResponseFlags(.upstreamTimeout))
        abortUpstream(exchange)
        guard !exchange.pointee.isStream else { return endStreamLate(exchange, connection) }
        // Knative ends such a response cleanly: a body that is complete as far as its framing can say so.
        let isTunnel = exchange.pointee.stage == .tunnel
        let endsCleanly = exchange.pointee.responseIsChunked  // whole chunks only are listed, so this fits behind
        if endsCleanly, isBehindIngress { exchange.pointee.bytesSent += UInt64(lateText.utf8CodeUnitCount) }
        end(exchange)
        guard endsCleanly || isTunnel else { return cut(connection) }
        output.clear()
        if endsCleanly, isBehindIngress {
            output.appendChunkHead(lateText.utf8CodeUnitCount)
            output.append(ByteView(lateText))
            output.append(ByteView("\r\n"))
        }
        if endsCleanly { output.append(ByteView("0\r\n\r\n")) }
        guard sendOutput(connection) else { return close(connection) }
        beginLinger(connection)
    }
}
