import Glibc
import Primitives
import Testing

@testable import EventLoop

@Suite struct LoopTests {
    @Test func timersFireInOrderAndOnce() throws {
        let loop = try Loop()
        var fired: [Int] = []
        let cancelled = loop.after(milliseconds: 1) { fired.append(99) }
        loop.after(milliseconds: 20) {
            fired.append(2)
            loop.stop()
        }
        loop.after(milliseconds: 2) { fired.append(1) }
        loop.cancel(cancelled)
        loop.run()
        #expect(fired == [1, 2])
    }

    @Test func mailboxWakesItsOwner() throws {
        let loop = try Loop()
        let mailbox = try Mailbox<Int>()
        var received: [Int] = []
        _ = try loop.watch(mailbox.fd, .readable) { _ in
            received += mailbox.takeAll()
            if received.count == 4_000 { loop.stop() }
        }
        let threads = try (0..<4).map { number in
            try WorkerThread(name: "sender \(number)") {
                for index in 0..<1_000 { mailbox.post(number * 1_000 + index) }
            }
        }
        loop.run()
        for thread in threads { thread.join() }
        for number in 0..<4 {
            let own = received.filter { $0 / 1_000 == number }
            #expect(own == Array(number * 1_000..<(number + 1) * 1_000), "order of one sender is kept")
        }
    }

    @Test func acceptsAndConnects() throws {
        let loop = try Loop()
        let listener = try Listener(.loopback(port: 0), sharesPort: false)
        let bound = listener.address
        let address = try #require(bound)
        #expect(address.port != 0)
        let client: Socket
        switch Socket.connect(to: address) {
        case .connected(let socket): client = socket
        case .pending(let socket): client = socket
        case .failed(let code): throw SystemError(call: "connect", code: code)
        }
        var (keepsAlive, length): (Int32, socklen_t) = (0, 4)
        let outcome = getsockopt(client.fd, SOL_SOCKET, SO_KEEPALIVE, &keepsAlive, &length)
        #expect(outcome == 0 && keepsAlive == 1)
        var peerPort: UInt16 = 0
        _ = try loop.watch(listener.fd, .readable) { _ in
            if case .connection(let socket, let peer) = listener.accept() {
                peerPort = peer.port
                #expect(peer.host == "127.0.0.1")
                let sent = socket.send(ByteView("hi"))
                #expect(sent == .bytes(2))
            }
            loop.stop()
        }
        loop.run()
        let port = client.localAddress()?.port
        #expect(peerPort == port)
    }
}

@Suite struct SocketAddressTests {
    @Test(arguments: [
        ("127.0.0.1:80", "127.0.0.1:80"), (":8080", "0.0.0.0:8080"), ("8080", "127.0.0.1:8080"),
        ("localhost:1", "127.0.0.1:1"), ("[::1]:443", "[::1]:443"), ("[::]:0", "[::]:0"),
    ]) func reads(text: String, expected: String) {
        #expect(SocketAddress(text)?.description == expected)
    }

    @Test(arguments: ["", "a", "1.2.3:80", "1.2.3.4:", "1.2.3.4:65536", "[::1]", "::1:80", "host:80", "1.2.3.4:+8"])
    func refuses(text: String) { #expect(SocketAddress(text) == nil) }
}
