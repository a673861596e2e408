import EventLoop
import Glibc
import Primitives
import Testing

@testable import DataPlane

/// Bodies larger than any buffer, slow peers, and early ends.
@Suite struct StreamingTests {
    /// A slow client: little is held, the pod is held back, nothing is lost.
    @Test(arguments: [false, true]) func slowClient(isChunked: Bool) throws {
        try withProxy { proxy in
            let client = try proxy.client(receiveBuffer: 16_384)
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            let size = 32 << 20
            let framing = isChunked ? "Transfer-Encoding: chunked" : "Content-Length: \(size)"
            try pod.send("HTTP/1.1 200 OK\r\n\(framing)\r\n\r\n" + (isChunked ? "\(String(size, radix: 16))\r\n" : ""))
            let sent = try pod.sendUntilBlocked(7, atMost: size, silence: 200)
            #expect(sent < size, "the pod should have been held back")
            // The body's part and the noted parts of the request for its log line.
            #expect(try proxy.total().lentBytes <= 65_536 + 8_192 + 4_096)
            #expect(try client.receiveHead().status == 200)
            if isChunked {
                var received = 0
                while received < sent {
                    let line = try client.receive(through: "\r\n")
                    let count = try #require(Int(line.dropLast(1), radix: 16))
                    #expect(try client.receive(count).allSatisfy { $0 == 7 })
                    try client.expect("\r\n")
                    received += count
                }
                #expect(received == sent)
            } else {
                try client.discard(sent)
            }
            pod.close()
            _ = try client.waitForBreak()
        }
    }

    /// A slow pod: little is held, the client is held back, nothing is lost.
    @Test func slowPod() throws {
        try withProxy {
            $0.podReceiveBuffer = 16_384
        } _: { proxy in
            let client = try proxy.client()
            let size = 32 << 20
            try client.send("POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: \(size)\r\n\r\n")
            let pod = try proxy.accept()
            let sent = try client.sendUntilBlocked(7, atMost: size, silence: 200)
            #expect(sent < size, "the client should have been held back")
            #expect(try proxy.total().lentBytes <= 65_536 + 8_192 + 4_096)
            _ = try pod.receiveHead()
            try pod.discard(sent)
            let rest = [UInt8](repeating: 8, count: 100_000)
            try client.send(rest)
            #expect(try pod.receive(rest.count) == rest)
            pod.close()
            #expect(try client.receiveMessage().status == 502)
        }
    }

    /// A client that sends all before it reads anything, while the pod answers before it has read all.
    @Test func bothDirectionsAreIndependent() throws {
        try withProxy { proxy in
            let client = try proxy.client(receiveBuffer: 16_384)
            let size = 8 << 20
            try client.send("POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: \(size)\r\n\r\n")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            let answer = 48 << 20
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: \(answer)\r\n\r\n")
            let sent = try pod.sendUntilBlocked(1, atMost: answer, silence: 200)
            // The response is stuck; the request still goes through.
            var left = size
            while left > 0 {
                let count = min(left, 65_536)
                try client.send([UInt8](repeating: 2, count: count))
                try pod.discard(count)
                left -= count
            }
            _ = try client.receiveHead()
            try client.discard(sent)
            let rest = answer - sent
            let sender = try Background {
                for _ in 0..<rest / 65_536 { try pod.send([UInt8](repeating: 1, count: 65_536)) }
            }
            try client.discard(rest / 65_536 * 65_536)
            try sender.join()
        }
    }

    /// 100 MiB each way at once, over two workers.
    @Test func hundredMebibytesBothWays() throws {
        try withProxy {
            $0.workers = 2
        } _: { proxy in
            let size = 100 << 20
            let client = try proxy.client()
            try client.send("POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: \(size)\r\n\r\n")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            let block = [UInt8](repeating: 5, count: 1 << 20)
            let upload = try Background { for _ in 0..<100 { try client.send(block) } }
            let reading = try Background { try pod.discard(size) }
            let download = try Background {
                for _ in 0..<100 { try pod.send(Array("100000\r\n".utf8) + block + Array("\r\n".utf8)) }
                // A response that ends before the request would end both.
                try reading.join()
                try pod.send("0\r\n\r\n")
            }
            _ = try client.receiveHead()
            var received = 0
            while true {
                let line = try client.receive(through: "\r\n")
                let count = try #require(Int(line.dropLast(1), radix: 16))
                try client.discard(count)
                try client.expect("\r\n")
                if count == 0 { break }
                received += count
            }
            #expect(received == size)
            for thread in [upload, download] { try thread.join() }
            try proxy.until("at rest") { $0.exchanges == 0 && $0.pooledUpstreams == 1 }
        }
    }

    /// The pod answers before it has read the body: the client gets the answer, and then the end.
    @Test(arguments: [true, false]) func earlyResponse(clientGoesOn: Bool) throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send("POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: 100000\r\n\r\nbeginning")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
            if clientGoesOn { try client.send([UInt8](repeating: 1, count: 50_000)) }
            let message = try client.receiveMessage()
            #expect(message.status == 413 && message.body == "big")
            try client.expectClosed()
            _ = try pod.waitForBreak()
            #expect(try proxy.total().pooledUpstreams == 0)
        }
    }

    /// The same with a pod that closes at once, so that sending the body breaks its connection.
    @Test func earlyResponseAndClose() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send("POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: 1000000\r\n\r\n")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
            pod.close()
            try? client.send([UInt8](repeating: 1, count: 200_000))
            #expect(try client.receiveMessage().body == "no")
        }
    }

    // MARK: The client goes

    @Test(arguments: [true, false]) func clientGoneMidResponse(resets: Bool) throws {
        let log = try withProxy { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbeginning")
            _ = try client.receive(through: "beginning")
            if resets { client.reset() } else { client.close() }
            _ = try pod.waitForBreak()
            try proxy.until("given up") { $0.exchanges == 0 && $0.upstreams == 0 }
            #expect(proxy.gate.inFlight == 0)
        }
        #expect(log.first?.contains(" 200 DC ") == true, "\(log)")
    }

    @Test func clientGoneBeforeTheResponse() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            client.close()
            try pod.expectClosed()
            try proxy.until("given up") { $0.exchanges == 0 }
        }
    }

    @Test func clientGoneMidRequest() throws {
        try withProxy { proxy in
            let client = try proxy.client()
            try client.send("POST / HTTP/1.1\r\nHost: hello.example.com\r\nContent-Length: 100\r\n\r\npart")
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.expect("part")
            client.close()
            try pod.expectClosed()
            try proxy.until("given up") { $0.exchanges == 0 }
        }
    }

    /// At the limit of memory new requests are refused; when some is free they are served.
    @Test func memoryLimit() throws {
        try withProxy {
            $0.limits.bufferedBytes = 40_960
        } _: { proxy in
            // Each half head holds 4 KiB.
            let holders = try (0..<10).map { _ in try proxy.client() }
            for holder in holders { try holder.send("GET / HT") }
            try proxy.until("full") { $0.lentBytes == 40_960 }
            let client = try proxy.client()
            try client.send(ProxyHarness.get())
            #expect(try client.receiveMessage().status == 503)
            for holder in holders { holder.close() }
            try proxy.until("free") { $0.lentBytes == 0 }
            let next = try proxy.client()
            try next.send(ProxyHarness.get())
            let pod = try proxy.accept()
            _ = try pod.receiveHead()
            try pod.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            #expect(try next.receiveMessage().status == 200)
        }
    }
}

/// A thread of a test; `join` throws what it threw.
final class Background: @unchecked Sendable {
    private var thread: WorkerThread?
    private var failure: (any Error)?  // written by the thread, read after join

    init(_ body: @escaping () throws -> Void) throws {
        let box = UncheckedBody(body: body)
        thread = try WorkerThread(name: "test") { [unowned self] in
            do { try box.body() } catch { self.failure = error }
        }
    }

    func join() throws {
        thread?.join()
        thread = nil
        if let failure { throw failure }
    }

    private struct UncheckedBody: @unchecked Sendable {
        let body: () throws -> Void
    }
}
