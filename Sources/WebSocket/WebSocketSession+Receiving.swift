import CWslay
import Primitives

extension WebSocketSession {
    /// Takes bytes of the peer and returns how many: fewer than all when an event must be taken first. Call `nextEvent`
    /// until nil, then hand in the rest.
    ///
    /// After the connection is over everything is taken and dropped.
    public func receive(_ bytes: ByteView, now: Instant) -> Int {
        assert(event == nil, "events must be taken before more is received")
        var cursor = 0
        while event == nil, state != .over {
            switch scanner.next(bytes, &cursor) {
            case .needMore: return cursor
            case .broken(let failure): fail(failure)
            case .control: takeControl(now: now)
            case .head: takeHead(now: now)
            case .payload(let range): feed(bytes[range], isData: true)
            }
        }
        return state == .over ? bytes.count : cursor
    }

    private func takeHead(now: Instant) {
        guard isBorne(now: now) else { return }
        if scanner.head.opcode != FrameHead.continuation {
            message.removeAll(keepingCapacity: true)
            isGathering = true
        }
        feedHeld(isData: true)
    }

    private func takeControl(now: Instant) {
        // By hand: wslay knows no close code above 1011.
        if scanner.head.opcode == FrameHead.close { return peerCloses(scanner.controlPayload) }
        guard isBorne(now: now) else { return }
        let answersWait =
            wslay_event_get_queued_msg_count(context) >= limits.outboundMessages
            || waitingBytes + Int(scanner.head.payloadBytes) > limits.outboundBytes
        if scanner.head.opcode == FrameHead.ping, state == .open, answersWait { return fail(.peerDoesNotRead) }
        feedHeld(isData: false)
    }

    private func isBorne(now: Instant) -> Bool {
        guard scanner.head.isIdle, !idleFrames.take(limits.idleFrames, now: now) else { return true }
        fail(.tooManyIdleFrames)
        return false
    }

    /// The peer's Close frame: after ours it ends the connection, else its code goes back (RFC 6455 §5.5.1).
    private func peerCloses(_ payload: [UInt8]) {
        guard payload.count >= 2 else {
            end(nil, reason: "")
            event = .closed(nil, reason: "")
            return
        }
        let code = WebSocketCloseCode(rawValue: UInt16(payload[0]) << 8 | UInt16(payload[1]))
        guard code.isValidOnWire else { return fail(.invalidCloseCode(code.rawValue)) }
        guard let reason = String(validating: payload[2...], as: UTF8.self) else { return fail(.invalidText) }
        end(code, reason: "")
        event = .closed(code, reason: reason)
    }

    private func feedHeld(isData: Bool) {
        let held = scanner.held
        held.withUnsafeBytes { feed(ByteView($0), isData: isData) }
    }

    /// Hands bytes of one frame to wslay.
    private func feed(_ bytes: ByteView, isData: Bool) {
        isFeedingData = isData
        input = bytes
        let result = wslay_event_recv(context)
        let isTaken = input.isEmpty
        input = .empty
        guard result == 0 else { return fail(.internalError) }
        guard wslay_event_get_read_enabled(context) == 0 else { return assert(isTaken, "wslay takes all it is given") }
        // The scanner has checked all else that wslay refuses. Its own Close frame, 1007, waits already.
        fail(.invalidText)
    }

    /// A message or a control frame is complete. From wslay.
    func received(_ opcode: UInt8) {
        assert(event == nil, "a frame makes one event at most")
        switch UInt32(opcode) {
        case WSLAY_TEXT_FRAME.rawValue: event = .text
        case WSLAY_BINARY_FRAME.rawValue: event = .binary
        case WSLAY_PING.rawValue: event = .ping
        case WSLAY_PONG.rawValue: event = .pong
        default: assertionFailure("Close frames are not fed to wslay")
        }
        if isFeedingData { isGathering = false }
    }
}
