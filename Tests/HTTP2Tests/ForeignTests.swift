import Glibc
import HTTP
import Primitives
import TestProcess
import Testing

@testable import HTTP2

/// nghttp, a client that others wrote, against a server's session behind one blocking socket.
@Suite struct ForeignTests {
    private static let tool = "/usr/bin/nghttp"

    /// A listening socket on a free port of the loopback.
    private func listen() -> (file: Int32, port: UInt16)? {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var count = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { place in
            place.withMemoryRebound(to: sockaddr.self, capacity: 1) { general in
                bind(file, general, count) == 0 && Glibc.listen(file, 4) == 0 && getsockname(file, general, &count) == 0
            }
        }
        // A tool that does not come must not hold the test.
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        return isBound ? (file, UInt16(bigEndian: address.sin_port)) : nil
    }

    /// Serves one connection until either side has done.
    private func serve(_ file: Int32, _ side: Side) {
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while !side.session.isFinished {
            let out = side.transmit()
            guard out.isEmpty || send(file, out, out.count, Int32(MSG_NOSIGNAL)) == out.count else { return }
            guard !side.session.isFinished else { return }
            let count = recv(file, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            side.receive(Array(buffer[..<count]))
        }
    }

    @Test(.enabled(if: access(tool, X_OK) == 0, "nghttp is not installed"))
    func nghttpIsServed() throws {
        guard let (listener, port) = listen() else { return #expect(Bool(false), "no port") }
        defer { close(listener) }
        let address = "http://127.0.0.1:\(port)"
        let child = try TestProcess(
            [Self.tool, "-m", "5", "--timeout=10s", "\(address)/a", "\(address)/b?c=d"])
        let file = accept(listener, nil, nil)
        guard file >= 0 else { return #expect(Bool(false), "nghttp did not come") }
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(file, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let side = Side(.server)
        side.onEvent = { event, side in
            guard case .end(let stream) = event else { return }
            side.respond(stream, fields: [("content-type", "text/plain")], body: true)
            side.write(stream, [UInt8](repeating: 0x61, count: 50_000))
            side.sendTrailers(stream, [("x-sum", "1")])
        }
        serve(file, side)
        close(file)
        let status = child.waitForEnd()
        #expect(status == 0, "nghttp ended with \(status)")
        #expect(side.log.filter { $0.hasPrefix("finished") }.count == 10, "\(side.log)")
        #expect(side.session.failure == nil)
    }
}
