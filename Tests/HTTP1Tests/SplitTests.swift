import HTTP
import Primitives
import Testing

@testable import HTTP1

/// However a message is cut, it means the same. `Bench` reads another request between the pieces with the same parser,
/// so a parser that kept something of its own from piece to piece would be found too.
@Suite struct SplitTests {
    @Test func requestsCutInTwoAndThree() {
        let bench = Bench()
        for text in Corpus.requests {
            let bytes = text.latinBytes
            let whole = bench.request(bytes)
            #expect(whole.head != nil, "\(text.debugDescription)")
            for first in 0..<bytes.count {
                if bench.request(bytes, cuts: [first]) != whole { Issue.record("\(text.debugDescription) at \(first)") }
                let second = min(bytes.count, first + 1 + first % 5)
                if bench.request(bytes, cuts: [first, second]) != whole {
                    Issue.record("\(text.debugDescription) at \(first), \(second)")
                }
            }
            #expect(bench.request(bytes, cuts: Array(0..<bytes.count)) == whole, "\(text.debugDescription) bytewise")
        }
    }

    @Test func responsesCutInTwo() {
        let bench = Bench()
        for text in Corpus.responses {
            let bytes = text.latinBytes
            let whole = bench.response(bytes)
            #expect(whole.head != nil, "\(text.debugDescription)")
            for cut in 0..<bytes.count where bench.response(bytes, cuts: [cut]) != whole {
                Issue.record("\(text.debugDescription) at \(cut)")
            }
            #expect(bench.response(bytes, cuts: Array(0..<bytes.count)) == whole, "\(text.debugDescription) bytewise")
        }
    }

    /// A message with one fault is refused for that fault at that byte, however it is cut.
    @Test func refusalsCutInTwo() {
        let bench = Bench()
        for refusal in Refusal.all where refusal.text.utf8.count < 400 {
            let bytes = refusal.text.latinBytes
            let whole = bench.request(bytes)
            for cut in 0..<bytes.count where bench.request(bytes, cuts: [cut]) != whole {
                Issue.record("\(refusal) at \(cut)")
            }
            let bytewise = bench.request(bytes, cuts: Array(0..<bytes.count))
            #expect(bytewise == whole, "\(refusal) bytewise")
        }
        for (text, reason) in ResponseHeadTests.refusals where text.utf8.count < 400 {
            let bytes = (text + "\r\n").latinBytes
            for cut in 0..<bytes.count {
                #expect(bench.response(bytes, cuts: [cut]).reason == reason, "\(text.debugDescription) at \(cut)")
            }
        }
    }

    /// The long ones, cut at places spread over their length.
    @Test func limitsCutInTwo() {
        let bench = Bench()
        for refusal in Refusal.all where refusal.text.utf8.count >= 400 {
            let bytes = refusal.text.latinBytes
            for cut in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 16)) {
                #expect(bench.request(bytes, cuts: [cut]).reason == refusal.reason, "\(refusal) at \(cut)")
            }
        }
    }

    /// A long head in single bytes costs one search of each byte, not one of all bytes for each.
    @Test func searchesEachByteOnce() throws {
        let memory = GuardedMemory()
        let bytes = ("GET / HTTP/1.1\r\nHost: h\r\n" + Refusal.repeated("A: bcdef\r\n", 90) + "\r\n").latinBytes
        var head = RequestHead(limits: HTTPLimits())
        var scanned = 0
        for end in 0..<bytes.count {
            let before = scanned
            let isComplete = try head.parse(memory.view(bytes[..<end]), scanned: &scanned)
            #expect(!isComplete && scanned >= before)
            if end > 40 { #expect(end - scanned <= 3, "at \(end) the search would begin again at \(scanned)") }
        }
    }
}
