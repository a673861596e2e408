import EventLoop
import HTTP
import Primitives

/// Bytes between a connection and its socket. What is above here sees what the peers say, not how it travels.
extension Worker {
    // MARK: In

    /// Reads from the client. `isReadable` afterwards says whether another call may find more.
    @inline(__always)
    func receive(_ connection: Downstream, into place: UnsafeMutableRawBufferPointer) -> TransferResult {
        if let tls = connection.pointee.tls { return receive(connection, through: tls, into: place) }
        let result = connection.pointee.socket.receive(into: place)
        switch result {
        case .bytes(let count):
            // A short read has drained the socket; the next edge tells of more. After a close, read on to the end.
            if count < place.count, !connection.pointee.peerHasClosed { connection.pointee.isReadable = false }
            connection.pointee.lastProgress = now
        case .wouldBlock: connection.pointee.isReadable = false
        case .endOfStream, .failed: connection.pointee.peerHasClosed = true
        }
        return result
    }

    /// Reads from the pod. `isReadable` afterwards says whether another call may find more.
    @inline(__always)
    func receive(_ upstream: Upstream, into place: UnsafeMutableRawBufferPointer) -> TransferResult {
        if let tls = upstream.pointee.tls { return receive(upstream, through: tls, into: place) }
        let result = upstream.pointee.socket.receive(into: place)
        switch result {
        case .bytes(let count):
            if count < place.count, !upstream.pointee.peerHasClosed { upstream.pointee.isReadable = false }
        case .wouldBlock, .failed: upstream.pointee.isReadable = false
        case .endOfStream: upstream.pointee.peerHasClosed = true
        }
        return result
    }

    /// Whether the client has ended its side and everything before the end was read.
    func isAtEnd(_ connection: Downstream) -> Bool {
        if connection.pointee.tls != nil { return isAtEndSecurely(connection) }
        return connection.pointee.socket.peek() == .endOfStream
    }

    /// Whether bytes of the client wait to be read.
    func hasBytes(_ connection: Downstream) -> Bool {
        if connection.pointee.tls != nil { return hasBytesSecurely(connection) }
        return if case .bytes = connection.pointee.socket.peek() { true } else { false }
    }

    /// Whether bytes of the pod wait to be read.
    func hasBytes(_ upstream: Upstream) -> Bool {
        if let tls = upstream.pointee.tls { return hasBytes(upstream, through: tls) }
        return if case .bytes = upstream.pointee.socket.peek() { true } else { false }
    }

    /// Whether nothing of the pod waits to be read: no bytes, no end.
    func isSilent(_ upstream: Upstream) -> Bool {
        if let tls = upstream.pointee.tls { return isSilent(upstream, through: tls) }
        return upstream.pointee.socket.peek() == .wouldBlock
    }

    // MARK: Out, to the client

    /// Sends the output list to the client; what the kernel does not take is kept, and the upstream waits. False if the
    /// connection broke.
    func sendOutput(_ connection: Downstream) -> Bool {
        guard output.bytes > 0 else { return true }
        if let tls = connection.pointee.tls { return sendOutput(connection, through: tls) }
        var sent = 0
        if connection.pointee.outbound.count == 0 {
            switch output.send(on: connection.pointee.socket) {
            case .bytes(let count): sent = count
            case .wouldBlock: break
            case .endOfStream, .failed: return false
            }
            // Only an attempt that fell short brings a new edge.
            if sent < output.bytes { connection.pointee.isWritable = false }
            connection.pointee.lastProgress = now
            connection.pointee.lastTaken = now
        }
        if sent == output.bytes { return true }
        guard park(in: &connection.pointee.outbound, from: sent) else { return false }
        armStallTimer(connection)
        return true
    }

    /// Sends what waits. True if nothing waits any more and the connection is still there.
    func flush(_ connection: Downstream) -> Bool {
        while connection.pointee.outbound.count > 0 {
            switch connection.pointee.socket.send(connection.pointee.outbound.bytes) {
            case .bytes(let count):
                connection.pointee.outbound.consume(count)
                connection.pointee.lastProgress = now
                connection.pointee.lastTaken = now
            case .wouldBlock:
                connection.pointee.isWritable = false
                return false
            case .endOfStream, .failed:
                downstreamBroke(connection)
                return false
            }
        }
        buffers.release(&connection.pointee.outbound)
        if connection.pointee.closesAfterFlush {
            beginLinger(connection)
            return false
        }
        return true
    }

    /// Says that we send no more; reading goes on.
    func shutdownWrite(_ connection: Downstream) {
        sayGoodbye(connection)
        // A goodbye that waits is said before the end that `close` brings.
        if connection.pointee.tls == nil || connection.pointee.outbound.count == 0 {
            connection.pointee.socket.shutdownWrite()
        }
    }

    /// Sends bytes of HTTP to the client that stand in no output list; what the kernel does not take is kept. False if
    /// the connection broke.
    func sendBytes(_ connection: Downstream, _ bytes: ByteView) -> Bool {
        guard !bytes.isEmpty else { return true }
        if let tls = connection.pointee.tls { return sendBytes(connection, through: tls, bytes) }
        guard sendWire(connection, bytes) else { return false }
        if connection.pointee.outbound.count > 0 { armStallTimer(connection) }
        return true
    }

    /// Sends bytes as they shall stand on the wire; what the kernel does not take is kept. False if it broke.
    func sendWire(_ connection: Downstream, _ bytes: ByteView) -> Bool {
        var rest = bytes
        if connection.pointee.outbound.count == 0 {
            switch connection.pointee.socket.send(bytes) {
            case .bytes(let count): rest = bytes.dropping(first: count)
            case .wouldBlock: break
            case .endOfStream, .failed: return false
            }
            // Only an attempt that fell short brings a new edge.
            if !rest.isEmpty { connection.pointee.isWritable = false }
            connection.pointee.lastProgress = now
            connection.pointee.lastTaken = now
        }
        return keep(rest, in: &connection.pointee.outbound)
    }

    // MARK: Out, to the pod

    /// What became of the output list.
    enum SendOutcome {
        /// Sent, or kept until the peer takes it.
        case taken
        /// The connection is broken.
        case broken
        /// There is no memory to keep what the kernel did not take.
        case noMemory
    }

    /// Sends the output list to the pod; what the kernel does not take is kept, and the client is not read until it has
    /// left.
    func sendOutput(_ upstream: Upstream) -> SendOutcome {
        guard output.bytes > 0 else { return .taken }
        if let tls = upstream.pointee.tls { return sendOutput(upstream, through: tls) }
        var sent = 0
        if upstream.pointee.outbound.count == 0 {
            switch output.send(on: upstream.pointee.socket) {
            case .bytes(let count): sent = count
            case .wouldBlock: break
            case .endOfStream, .failed: return .broken
            }
            // Only an attempt that fell short brings a new edge.
            if sent < output.bytes { upstream.pointee.isWritable = false }
        }
        upstream.pointee.bytesSent += UInt64(sent)
        if sent == output.bytes { return .taken }
        return park(in: &upstream.pointee.outbound, from: sent) ? .taken : .noMemory
    }

    /// How much of what waited has left.
    enum FlushOutcome {
        case all
        case some
        /// The connection is broken.
        case broken
    }

    /// Sends what waits for the pod.
    func flush(_ upstream: Upstream) -> FlushOutcome {
        while upstream.pointee.outbound.count > 0 {
            guard upstream.pointee.isWritable else { return .some }
            switch upstream.pointee.socket.send(upstream.pointee.outbound.bytes) {
            case .bytes(let count):
                upstream.pointee.outbound.consume(count)
                upstream.pointee.bytesSent += UInt64(count)
            case .wouldBlock: upstream.pointee.isWritable = false
            case .endOfStream, .failed: return .broken
            }
        }
        buffers.release(&upstream.pointee.outbound)
        return .all
    }

    /// Says that we send no more; reading goes on.
    func shutdownWrite(_ upstream: Upstream) {
        sayGoodbye(upstream)
        // A goodbye that waits is said before the end that `close` brings.
        if upstream.pointee.tls == nil || upstream.pointee.outbound.count == 0 {
            upstream.pointee.socket.shutdownWrite()
        }
    }

    /// Sends bytes of HTTP to the pod that stand in no output list; what the kernel does not take is kept.
    func sendBytes(_ upstream: Upstream, _ bytes: ByteView) -> SendOutcome {
        guard !bytes.isEmpty else { return .taken }
        if let tls = upstream.pointee.tls { return sendBytes(upstream, through: tls, bytes) }
        return sendWire(upstream, bytes)
    }

    /// Sends bytes as they shall stand on the wire; what the kernel does not take is kept.
    func sendWire(_ upstream: Upstream, _ bytes: ByteView) -> SendOutcome {
        var rest = bytes
        if upstream.pointee.outbound.count == 0 {
            switch upstream.pointee.socket.send(bytes) {
            case .bytes(let count): rest = bytes.dropping(first: count)
            case .wouldBlock: break
            case .endOfStream, .failed: return .broken
            }
            // Only an attempt that fell short brings a new edge.
            if !rest.isEmpty { upstream.pointee.isWritable = false }
        }
        upstream.pointee.bytesSent += UInt64(bytes.count - rest.count)
        return keep(rest, in: &upstream.pointee.outbound) ? .taken : .noMemory
    }

    // MARK: What waits

    /// Keeps `bytes` behind what waits in `buffer`. False if there is no memory for it.
    func keep(_ bytes: ByteView, in buffer: inout Buffer) -> Bool {
        guard !bytes.isEmpty else { return true }
        return buffers.provide(buffer.count + bytes.count, in: &buffer) && buffer.append(bytes)
    }

    /// Keeps the output list from byte `sent` on in `buffer`. False if there is no memory for it.
    func park(in buffer: inout Buffer, from sent: Int) -> Bool {
        guard buffers.provide(buffer.count + output.bytes - sent, in: &buffer) else { return false }
        var skip = sent
        for index in 0..<output.count {
            let piece = output.piece(index)
            let skipped = min(skip, piece.count)
            skip -= skipped
            guard buffer.append(piece.dropping(first: skipped)) else { return false }
        }
        return true
    }
}
