import EventLoop
import Glibc
import HTTP
import HTTP1
import Primitives

/// A small HTTP/1.1 server of pages made when they are asked for: metrics and health. GET and HEAD only, one request a
/// connection. Owned by the thread of its loop.
public final class PageServer {
    /// A page to answer with.
    public struct Page {
        /// 100...999.
        public var status: Int
        /// `Content-Type`.
        public var type: String
        /// The body.
        public var body: [UInt8]

        /// A page.
        public init(status: Int = 200, type: String = "text/plain; charset=utf-8", body: [UInt8]) {
            self.status = status
            self.type = type
            self.body = body
        }
    }

    /// Connections at a time. At the limit: the newest is closed.
    public static let connectionLimit = 64
    /// From the connection to the last byte of the answer, in milliseconds. At the limit: cut.
    public static let timeoutMilliseconds: UInt64 = 10_000
    private static let acceptsPerWakeup = 16

    fileprivate static let limits: HTTPLimits = {
        var limits = HTTPLimits()
        limits.headBytes = 8 << 10
        return limits
    }()

    private let loop: Loop
    private let listener: Listener
    private let page: (String) -> Page?
    private var watch: Loop.WatchToken?
    private var connections: [ObjectIdentifier: PageConnection] = [:]

    /// Listens at `address`.
    ///
    /// - Parameter page: the page of a path, without its query; nil: 404.
    public init(loop: Loop, address: SocketAddress, page: @escaping (String) -> Page?) throws(SystemError) {
        self.loop = loop
        self.page = page
        listener = try Listener(address, sharesPort: false)
        watch = try loop.watch(listener.fd, .readable) { [weak self] _ in self?.accept() }
    }

    /// Where it listens, with the port that the kernel chose for 0.
    public var address: SocketAddress? { listener.address }

    /// Listens no more and cuts what is under way.
    public func close() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        for connection in connections.values { connection.close() }
        connections = [:]
    }

    private func accept() {
        for _ in 0..<Self.acceptsPerWakeup {
            switch listener.accept() {
            case .connection(let socket, _):
                guard connections.count < Self.connectionLimit else { continue }
                let connection = PageConnection(consume socket, loop: loop, answer: { [page] in page($0) })
                connections[ObjectIdentifier(connection)] = connection
                connection.begin { [weak self] ended in self?.connections[ObjectIdentifier(ended)] = nil }
            case .nobody: return
            case .failed: return pause()
            }
        }
    }

    /// Descriptors have run out: to try again at once would spin.
    private func pause() {
        guard let watch else { return }
        loop.rewatch(watch, [])
        loop.after(milliseconds: 100) { [weak self] in
            guard let self, let watch = self.watch else { return }
            loop.rewatch(watch, .readable)
        }
    }
}

/// One connection of a `PageServer`: a head in, a page out, closed.
private final class PageConnection {
    private let loop: Loop
    private let answer: (String) -> PageServer.Page?
    private var socket: Socket?
    private var watch: Loop.WatchToken?
    private var timer = TimerHandle.none
    private var inbound: [UInt8] = []
    private var head = RequestHead(limits: PageServer.limits)
    private var scanned = 0
    private var outbound: [UInt8] = []
    private var sent = 0
    private var isAnswered = false
    private var ended: ((PageConnection) -> Void)?

    init(_ socket: consuming Socket, loop: Loop, answer: @escaping (String) -> PageServer.Page?) {
        self.socket = consume socket
        self.loop = loop
        self.answer = answer
    }

    func begin(_ ended: @escaping (PageConnection) -> Void) {
        self.ended = ended
        timer = loop.after(milliseconds: PageServer.timeoutMilliseconds) { [weak self] in self?.close() }
        guard let fd = socket?.fd else { return }
        watch = try? loop.watch(fd, .readable) { [weak self] in self?.ready($0) }
        if watch == nil { close() }
    }

    func close() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        loop.cancel(timer)
        socket = nil
        let ended = ended
        self.ended = nil
        ended?(self)
    }

    private func ready(_ readiness: Readiness) {
        if isAnswered { return flush() }
        let result = withUnsafeTemporaryAllocation(byteCount: 4 << 10, alignment: 16) { place in
            let result = socket?.receive(into: place) ?? .failed(EBADF)
            if case .bytes(let count) = result { inbound += place[..<count] }
            return result
        }
        switch result {
        case .bytes: take()
        case .wouldBlock: break
        case .endOfStream, .failed: close()
        }
    }

    private func take() {
        let isWhole = inbound.withUnsafeBytes { bytes -> Bool? in
            do throws(ParseFailure) { return try head.parse(ByteView(bytes), scanned: &scanned) } catch { return nil }
        }
        switch isWhole {
        case false: return
        case nil: reply(PageServer.Page(status: 400, body: Array("bad request\n".utf8)), hasBody: true)
        case true: reply(page(), hasBody: head.method != .head)
        }
    }

    private func page() -> PageServer.Page {
        guard head.method == .get || head.method == .head else {
            return PageServer.Page(status: 405, body: Array("only GET\n".utf8))
        }
        let target = inbound[head.pathAndQuery].prefix { $0 != UInt8(ascii: "?") }
        let path = "\(head.targetPrefix)" + String(decoding: target, as: UTF8.self)
        return answer(path) ?? PageServer.Page(status: 404, body: Array("not found\n".utf8))
    }

    private func reply(_ page: PageServer.Page, hasBody: Bool) {
        let text =
            "HTTP/1.1 \(page.status) \(StatusText.phrase(page.status))\r\nContent-Type: \(page.type)\r\n"
            + "Content-Length: \(page.body.count)\r\nConnection: close\r\n\r\n"
        outbound = Array(text.utf8) + (hasBody ? page.body : [])
        isAnswered = true
        flush()
    }

    private func flush() {
        while sent < outbound.count {
            let result = outbound.withUnsafeBytes { bytes -> TransferResult in
                socket?.send(ByteView(UnsafeRawBufferPointer(rebasing: bytes[sent...]))) ?? .failed(EBADF)
            }
            switch result {
            case .bytes(let count): sent += count
            case .wouldBlock:
                if let watch { loop.rewatch(watch, .writable) }
                return
            case .endOfStream, .failed: return close()
            }
        }
        close()
    }
}
