import Testing

@testable import DataPlane

/// Listeners that lead to https (Knative: httpOption Redirected).
@Suite struct RedirectTests {
    @discardableResult
    private func withRedirect(port: UInt16, _ body: (ProxyHarness) throws -> Void) throws -> [String] {
        try withProxy {
            $0.listeners = [
                ListenerOptions(.loopback(port: 0), redirectPort: port), ListenerOptions(.loopback(port: 0)),
            ]
        } _: { proxy in
            try body(proxy)
        }
    }

    @Test(arguments: [
        ("/a/b?c=d&e", "hello.example.com", "/a/b?c=d&e"), ("/", "hello.example.com:8080", "/"),
        ("http://hello.example.com:81", "hello.example.com:81", "/"),
        ("http://HELLO.example.com/%20?x", "HELLO.example.com", "/%20?x"),
        ("http://hello.example.com?q", "hello.example.com", "/?q"),
    ]) func location(target: String, host: String, path: String) throws {
        for (port, shown) in [(UInt16(443), ""), (8443, ":8443")] {
            let log = try withRedirect(port: port) { proxy in
                let client = try proxy.client()
                for _ in 0..<2 {
                    try client.send("GET \(target) HTTP/1.1\r\nHost: \(host)\r\n\r\n")
                    let answer = try client.receiveMessage()
                    #expect(answer.startLine == "HTTP/1.1 301 Moved Permanently")
                    let name = target.contains("HELLO") ? "HELLO.example.com" : "hello.example.com"
                    #expect(answer.value("Location") == "https://\(name)\(shown)\(path)")
                    #expect(answer.value("Content-Length") == "0" && answer.value("Date") != nil)
                    #expect(answer.value("Connection") == "keep-alive")
                }
                #expect(!proxy.pods[0].isConnectionWaiting())
            }
            #expect(log.count == 2 && log.allSatisfy { $0.contains(" 301 ") && $0.contains(target) }, "\(log)")
        }
    }

    @Test func others() throws {
        try withRedirect(port: 443) { proxy in
            // `*` names no resource; a host without a route is not found, here as anywhere.
            let client = try proxy.client()
            try client.send("OPTIONS * HTTP/1.1\r\nHost: hello.example.com\r\n\r\n")
            #expect(try client.receiveMessage().value("Location") == "https://hello.example.com/")
            try client.send("HEAD /x HTTP/1.1\r\nHost: hello.example.com\r\n\r\n")
            #expect(try client.receiveMessage().value("Location") == "https://hello.example.com/x")
            try client.send("GET / HTTP/1.1\r\nHost: unknown\r\n\r\n")
            #expect(try client.receiveMessage().status == 404)
            // A body is not waited for.
            try client.send(ProxyHarness.post("body"))
            let answer = try client.receiveMessage()
            #expect(answer.status == 301 && answer.value("Connection") == "close")
            #expect(try client.receiveToEnd().isEmpty)
            // The other listener serves.
            let served = try proxy.client(listener: 1)
            try served.send(ProxyHarness.get())
            try proxy.accept().send(SecureRequestTests.ok)
            #expect(try served.receiveMessage().status == 200)
        }
    }
}
