import HTTP
import HTTP1
import Primitives
import Testing

@testable import DataPlane

/// What `write` appends, as text.
private func written(_ write: (inout ByteWriter) -> Void) -> String {
    withUnsafeTemporaryAllocation(byteCount: 4_096, alignment: 1) { memory in
        var writer = ByteWriter(memory)
        write(&writer)
        return writer.written.string
    }
}

/// A view on a copy of `text` that is never freed.
private func view(_ text: String) -> ByteView {
    let bytes = Array(text.utf8)
    let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, bytes.count))
    _ = memory.initialize(fromContentsOf: bytes)
    return ByteView(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[..<bytes.count]))
}

@Suite struct HTTPDateTests {
    @Test(
        arguments: [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"), (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"), (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"), (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] as [(UInt64, String)]) func known(seconds: UInt64, text: String)
    {
        var date = HTTPDate()
        date.update(unixSeconds: seconds &- 1)
        date.update(unixSeconds: seconds)
        date.update(unixSeconds: seconds)
        #expect(written { date.append(to: &$0) } == text)
    }
}

@Suite struct ForwardedTests {
    /// Knative's vectors, and the corners of them.
    @Test(arguments: [
        ("127.0.0.1", "h", "p", "for=127.0.0.1;host=h;proto=p"),
        ("127.0.0.1, ::1", "h", "p", "for=127.0.0.1;host=h;proto=p, for=\"[::1]\""),
        ("127.0.0.1, ::1", "", "p", "for=127.0.0.1;proto=p, for=\"[::1]\""),
        ("::1", "", "", "for=\"[::1]\""),
        (",,,", "", "", "for=, for=, for="),
        ("", "h", "", "host=h"),
        ("", "h", "p", "host=h;proto=p"),
        ("", "", "p", "proto=p"),
        ("", "", "", ""),
        ("a,b", "", "", "for=a, for=b"),
    ]) func vectors(list: String, host: String, proto: String, expected: String) {
        #expect(written { Forwarded.write(for: view(list), host: view(host), proto: view(proto), to: &$0) } == expected)
    }
}

@Suite struct SendListTests {
    private func text(_ list: borrowing SendList) -> String {
        (0..<list.count).map { list.piece($0).string }.joined()
    }

    /// Pieces and framing leave in the order in which they were listed.
    @Test func order() {
        var list = SendList()
        list.append(view("one "))
        list.writer.append("two ")
        list.appendWritten()
        let place = list.reservePiece()
        list.append(view("four"))
        list.writer.append("three ")
        list.fillReserved(place)
        let (all, bytes) = (text(list), list.bytes)
        #expect(all == "one two three four" && bytes == 18)
        list.clear()
        let isEmpty = list.count == 0 && list.bytes == 0 && list.writer.count == 0
        #expect(isEmpty)
    }

    /// Views that touch are one piece.
    @Test func merging() {
        var list = SendList()
        let whole = view("abcdef")
        list.append(whole[0..<2])
        list.append(whole[2..<4])
        list.append(ByteView.empty)
        list.append(whole[5..<6])
        let (count, all) = (list.count, text(list))
        #expect(count == 2 && all == "abcdf")
    }

    /// A body in any number of chunks leaves whole, however often the list is full, and ends once.
    @Test(arguments: [0, 1, 57, 58, 59, 60, 500], [true, false]) func manyChunks(count: Int, chunked: Bool) throws {
        let body = String(repeating: "1\r\nx\r\n", count: count) + "0\r\nT: 1\r\n\r\n"
        let input = view(body + "next")
        var decoder = BodyDecoder(.chunked, limits: HTTPLimits())
        var trailers = FieldTable(capacity: 10)
        var list = SendList()
        var (cursor, sent, total) = (0, "", 0)
        var progress = BodyProgress.listFull
        while progress == .listFull {
            list.clear()
            let part = try list.appendBody(
                &decoder, input, &cursor, chunked: chunked, trailers: &trailers, limits: HTTPLimits())
            progress = part.0
            total += part.bytes
            sent += text(list)
            let fits = list.count <= SendList.pieceLimit
            #expect(fits)
        }
        #expect(progress == .ended && total == count && cursor == body.utf8.count)
        guard chunked else {
            #expect(sent == String(repeating: "x", count: count))
            return
        }
        // Read by the same decoder, it is the same body.
        let again = view(sent)
        var reader = BodyDecoder(.chunked, limits: HTTPLimits())
        var (place, received, sawTrailers, hasEnded) = (0, "", false, false)
        while !hasEnded {
            switch try reader.next(again, &place) {
            case .body(let range): received += again[range].string
            case .trailers(let range): sawTrailers = again[range].string == "T: 1\r\n"
            case .end: hasEnded = true
            case .needMore: throw PeerFailure(description: "cut off: \(sent)")
            }
        }
        #expect(received == String(repeating: "x", count: count) && sawTrailers && place == again.count)
    }

    /// Body that came so far is passed on though its chunk has not ended.
    @Test func unfinishedChunk() throws {
        var decoder = BodyDecoder(.chunked, limits: HTTPLimits())
        var trailers = FieldTable(capacity: 10)
        var list = SendList()
        var cursor = 0
        let part = try list.appendBody(
            &decoder, view("10\r\nabc"), &cursor, chunked: true, trailers: &trailers, limits: HTTPLimits())
        let all = text(list)
        #expect(part.0 == .needMore && all == "3\r\nabc\r\n")
    }
}

@Suite struct UpstreamPoolTests {
    private func token(_ index: UInt32) -> SlabToken { SlabToken(index: index, generation: 1) }

    @Test func lastInFirstOut() {
        var pool = UpstreamPool()
        for index in 0..<3 as Range<UInt32> {
            let isKept = pool.push(token(index), endpoint: 5, limit: 10)
            #expect(isKept)
        }
        var popped: [UInt32] = []
        while let next = pool.pop(endpoint: 5) { popped.append(next.index) }
        let count = pool.count
        #expect(popped == [2, 1, 0] && count == 0)
    }

    @Test func limitIsPerEndpoint() {
        var pool = UpstreamPool()
        let kept = [
            pool.push(token(0), endpoint: 0, limit: 1), pool.push(token(1), endpoint: 0, limit: 1),
            pool.push(token(2), endpoint: 1, limit: 1),
        ]
        let count = pool.count
        #expect(kept == [true, false, true] && count == 2)
        let (unknown, other) = (pool.pop(endpoint: 9), pool.pop(endpoint: 1))
        #expect(unknown == nil && other?.index == 2)
    }

    @Test func sweepAndTakeAll() {
        var pool = UpstreamPool()
        for index in 0..<10 as Range<UInt32> { _ = pool.push(token(index), endpoint: Int(index % 2), limit: 10) }
        pool.sweep { $0.index >= 4 }
        let (swept, odd) = (pool.count, pool.takeAll(endpoint: 1).map(\.index))
        #expect(swept == 6 && odd == [5, 7, 9])
        let (left, none) = (pool.count, pool.takeAll(endpoint: 1))
        #expect(left == 3 && none.isEmpty)
    }
}

@Suite struct TokenTests {
    /// Kind, place and generation survive the packing.
    @Test func packing() {
        let kinds: [TokenKind] = [.downstream, .upstream, .exchange, .listener, .mailbox, .sweep, .resumeAccept, .wake]
        for kind in kinds {
            for index in [0, 1, UInt32(TaggedToken.placeLimit) - 1] {
                let token = SlabToken(index: index, generation: .max)
                let again = TaggedToken(packed: TaggedToken(kind, token).packed)
                #expect(again.kind == kind && again.token == token)
            }
        }
    }
}
