import Primitives
import Testing

@testable import Telemetry

/// A message of Protocol Buffers taken apart, for the tests: fields in order, messages not opened.
private func fields(_ bytes: [UInt8]) throws -> [(number: Int, bits: UInt64, bytes: [UInt8])] {
    try bytes.withUnsafeBytes { raw in
        var reader = ProtobufReader(ByteView(raw))
        var all: [(number: Int, bits: UInt64, bytes: [UInt8])] = []
        while let field = try reader.next() {
            let content = Array(UnsafeBufferPointer(start: field.bytes.base, count: field.bytes.count))
            all.append((field.number, field.bits, content))
        }
        return all
    }
}

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// `name=value` for each attribute of field `number`.
private func attributes(_ message: [UInt8], field number: Int) throws -> [String] {
    try fields(message).filter { $0.number == number }.map { attribute in
        let parts = try fields(attribute.bytes)
        let value = try #require(try fields(parts[1].bytes).first)
        return "\(text(parts[0].bytes))=\(value.number == 1 ? text(value.bytes) : String(value.bits))"
    }
}

private func traceparent(_ context: TraceContext) -> String {
    withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { memory in
        var writer = ByteWriter(memory)
        context.write(to: &writer)
        return writer.written.string
    }
}

@Suite struct TraceContextTests {
    static let valid: StaticString = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    @Test func traceparents() {
        let rows: [(StaticString, String?)] = [
            (TraceContextTests.valid, "\(TraceContextTests.valid)"),
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
            ),
            // Unknown flags are dropped, the one for random ids is kept.
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"
            ),
            // Later versions: what is known of them.
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "\(TraceContextTests.valid)"),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what", "\(TraceContextTests.valid)"),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what", nil),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what", nil),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", nil),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", nil),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", nil),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", nil),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011", nil),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", nil), ("", nil), ("00", nil),
            ("00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01", nil),
            ("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", nil),
            (" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1", nil),
        ]
        for (value, expected) in rows {
            #expect(TraceContext(traceparent: ByteView(value)).map(traceparent) == expected, "\(value)")
        }
    }

    @Test func b3() {
        let rows: [(StaticString, String?)] = [
            (
                "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
                "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-01"
            ),
            (
                "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0",
                "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-00"
            ),
            ("64FE8B2A57D3EFF7-e457b5a2e4d86bd1", "00-000000000000000064fe8b2a57d3eff7-e457b5a2e4d86bd1-01"),
            (
                "64fe8b2a57d3eff7-e457b5a2e4d86bd1-d-05e3ac9a4f6e3b90",
                "00-000000000000000064fe8b2a57d3eff7-e457b5a2e4d86bd1-01"
            ),
            ("0", nil), ("d", nil), ("", nil), ("-", nil), ("64fe8b2a57d3eff7-", nil),
            ("64fe8b2a57d3eff7-e457b5a2e4d86bd1-x", nil),
            ("64fe8b2a57d3eff7-e457b5a2e4d86bd1-1-5", nil), ("0000000000000000-e457b5a2e4d86bd1-1", nil),
            ("64fe8b2a57d3eff7-0000000000000000-1", nil), ("64fe8b2a57d3eff-e457b5a2e4d86bd1-1", nil),
        ]
        for (value, expected) in rows {
            #expect(TraceContext(b3: ByteView(value)).map(traceparent) == expected, "\(value)")
        }
        let trace = ByteView("64fe8b2a57d3eff7"), span = ByteView("e457b5a2e4d86bd1")
        let states: [(StaticString, StaticString, UInt8?)] = [
            ("1", "", 1), ("0", "", 0), ("true", "", 1), ("False", "", 0), ("", "", 1), ("0", "1", 1), ("2", "", nil),
        ]
        for (sampled, flags, expected) in states {
            let context = TraceContext(
                b3TraceID: trace, spanID: span, sampled: ByteView(sampled), flags: ByteView(flags))
            #expect(context?.flags == expected, "\(sampled) \(flags)")
        }
    }

    @Test func fuzz() {
        let alphabet = Array("0123456789abcdefABCDEF--- g".utf8)
        for seed in UInt64(0)..<4096 {
            var random = SeededRandom(seed: seed)
            var bytes = Array("\(TraceContextTests.valid)".utf8)
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                let byte = alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
                if Bool.random(using: &random) { bytes[place] = byte } else { bytes.insert(byte, at: place) }
            }
            if random.next() % 4 == 0 { bytes.removeLast(Int.random(in: 1...5, using: &random)) }
            bytes.withUnsafeBytes { raw in
                _ = TraceContext(b3: ByteView(raw))
                guard let context = TraceContext(traceparent: ByteView(raw)) else { return }
                let again = Array(traceparent(context).utf8).withUnsafeBytes { TraceContext(traceparent: ByteView($0)) }
                #expect(again == context, "seed \(seed)")
            }
        }
    }

    @Test func childrenAndSampling() throws {
        var random = SeededRandom(seed: 7)
        let parent = try #require(TraceContext(traceparent: ByteView(TraceContextTests.valid)))
        let child = parent.child(isSampled: false, random: &random)
        #expect(child.traceHigh == parent.traceHigh && child.traceLow == parent.traceLow)
        #expect(child.spanID != parent.spanID && !child.isSampled)
        let all = TraceSampler(rate: 1), none = TraceSampler(rate: 0), tenth = TraceSampler(rate: 0.1)
        #expect(all.samples(child, hasParent: true) && !none.samples(parent, hasParent: true))
        #expect(tenth.samples(parent, hasParent: true) && !tenth.samples(child, hasParent: true))
        #expect(!TraceSampler(rate: .nan).samples(parent, hasParent: true))
        var sampled = 0
        for _ in 0..<10_000 {
            let root = TraceContext.root(isSampled: false, random: &random)
            #expect(root.traceHigh | root.traceLow != 0 && root.spanID != 0)
            if tenth.samples(root, hasParent: false) { sampled += 1 }
        }
        #expect(sampled > 850 && sampled < 1150)
    }
}

@Suite struct SpanBatchTests {
    private func server() throws -> RequestSpan {
        let context = try #require(TraceContext(traceparent: ByteView(TraceContextTests.valid)))
        var span = RequestSpan(.server, context: context)
        (span.parentSpanID, span.isParentRemote) = (0x0102_0304_0506_0708, true)
        (span.startUnixNanoseconds, span.endUnixNanoseconds) = (1_770_091_506_000_000_000, 1_770_091_506_012_345_678)
        span.traceState = ByteView("a=b")
        span.method = ByteView("GET")
        span.host = ByteView("hello.example:8080")
        span.target = ByteView("/p?q")
        span.protocolVersion = ByteView("1.1")
        span.status = 503
        span.peer = ByteView("[::1]:4711")
        span.userAgent = ByteView("curl")
        span.forwardedFor = ByteView("203.0.113.7, 10.0.0.1")
        span.routeTag = ByteView("kn:disabled")
        (span.requestBytes, span.responseBytes) = (5, 0)
        return span
    }

    private func export(_ batch: inout SpanBatch, capacity: Int = 65_536) -> [UInt8]? {
        let resource = TraceResource(attributes: [("service.name", "hello"), ("none", "")])
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 8)
        defer { memory.deallocate() }
        var writer = ByteWriter(memory)
        guard batch.write(resource: resource, to: &writer) else {
            #expect(writer.count == 0)
            return nil
        }
        return Array(UnsafeBufferPointer(start: writer.base, count: writer.count))
    }

    @Test func twoSpans() throws {
        var batch = SpanBatch()
        let none = export(&batch)
        #expect(none == nil)
        batch.append(try server())
        var client = RequestSpan(.client, context: try server().context)
        client.host = ByteView("127.0.0.1:8080")
        client.target = ByteView("/p?q")
        client.method = ByteView("BREW")
        client.protocolVersion = ByteView("2.0")
        client.status = 404
        batch.append(client)
        let exported = export(&batch)
        let request = try fields(try #require(exported))
        #expect(request.count == 1 && request[0].number == 1)
        let resourceSpans = try fields(request[0].bytes)
        #expect(resourceSpans.map(\.number) == [1, 2])
        #expect(try attributes(resourceSpans[0].bytes, field: 1) == ["service.name=hello"])
        let scopeSpans = try fields(resourceSpans[1].bytes)
        #expect(scopeSpans.map(\.number) == [1, 2, 2])
        try checkServer(scopeSpans[1].bytes)
        try checkClient(scopeSpans[2].bytes)
        let (left, more) = (batch.count, export(&batch))
        #expect(left == 0 && more == nil)
    }

    private func checkServer(_ span: [UInt8]) throws {
        let parts = try fields(span)
        #expect(
            parts.first { $0.number == 1 }?.bytes.first == 0x4b && parts.first { $0.number == 1 }?.bytes.count == 16)
        #expect(parts.first { $0.number == 2 }?.bytes == [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])
        #expect(parts.first { $0.number == 3 }.map { text($0.bytes) } == "a=b")
        #expect(parts.first { $0.number == 4 }?.bytes == [1, 2, 3, 4, 5, 6, 7, 8])
        #expect(parts.first { $0.number == 5 }.map { text($0.bytes) } == "GET")
        #expect(parts.first { $0.number == 6 }?.bits == 2 && parts.first { $0.number == 16 }?.bits == 0x301)
        #expect(parts.first { $0.number == 7 }?.bits == 1_770_091_506_000_000_000)
        #expect(parts.first { $0.number == 15 }?.bytes == [0x18, 2])
        let expected = [
            "server.address=hello.example", "http.request.method=GET", "url.scheme=http", "server.port=8080",
            "network.peer.address=::1", "network.peer.port=4711", "user_agent.original=curl",
            "client.address=203.0.113.7",
            "url.path=/p", "network.protocol.version=1.1", "kn.route.tag=kn:disabled", "http.request.body.size=5",
            "http.response.status_code=503",
        ]
        #expect(try attributes(span, field: 9) == expected)
    }

    private func checkClient(_ span: [UInt8]) throws {
        let parts = try fields(span)
        #expect(parts.first { $0.number == 5 }.map { text($0.bytes) } == "HTTP ")
        #expect(parts.first { $0.number == 6 }?.bits == 3 && !parts.contains { $0.number == 4 })
        #expect(parts.first { $0.number == 15 }?.bytes == [0x18, 2])
        let expected = [
            "http.request.method=_OTHER", "http.request.method_original=BREW", "url.full=http://127.0.0.1:8080/p?q",
            "server.address=127.0.0.1", "server.port=8080", "network.protocol.version=2.0",
            "http.response.status_code=404", "error.type=404",
        ]
        #expect(try attributes(span, field: 9) == expected)
    }

    /// Full batches drop and count; a message is written whole or not at all; long texts are cut at a character.
    @Test func bounded() throws {
        var batch = SpanBatch(capacity: 2000)
        var taken = 0
        for _ in 0..<20 where batch.append(try server()) { taken += 1 }
        let (count, dropped) = (batch.count, batch.dropped)
        #expect(taken > 2 && count == taken && dropped == UInt64(20 - taken))
        let tooSmall = export(&batch, capacity: 1000)
        let kept = batch.count
        #expect(tooSmall == nil && kept == taken)
        let whole = export(&batch)
        #expect(whole != nil)
        var wide = SpanBatch()
        let long = Array(repeating: "ü", count: 3000).joined()
        try Array(long.utf8).withUnsafeBytes { bytes in
            var span = try server()
            span.userAgent = ByteView(bytes)
            span.host = ByteView(bytes)[1..<4]
            span.traceState = ByteView(bytes)[1..<2]
            let isTaken = wide.append(span)
            #expect(isTaken)
        }
        let exported = export(&wide)
        let body = try #require(exported)
        #expect(body.count < 2000)
        // Bytes that are no character are replaced: one half before a whole one.
        let replaced = Array("\u{FFFD}ü".utf8)
        #expect(body.indices.dropLast(5).filter { Array(body[$0..<$0 + 5]) == replaced }.count == 1)
        for _ in 0..<SpanBatch.spanLimit + 5 { wide.append(try server()) }
        let (most, lost) = (wide.count, wide.dropped)
        #expect(most == SpanBatch.spanLimit && lost == 5)
    }

    @Test func addresses() {
        let rows: [(StaticString, String, UInt64)] = [
            ("h", "h", 0), ("h:1", "h", 1), ("[::1]:65535", "::1", 65535), ("[::1]", "::1", 0), ("h:65536", "h", 0),
            ("::1", "", 0), ("[::1", "", 0), ("", "", 0), (":80", "", 80), ("h:x", "h", 0), ("h:", "h", 0),
        ]
        for (address, host, port) in rows {
            let parsed = HostAndPort(ByteView(address))
            #expect(parsed.host.string == host && parsed.port == port, "\(address)")
        }
    }
}
