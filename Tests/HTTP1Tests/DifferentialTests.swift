import Glibc
import HTTP
import Primitives
import Testing

@testable import HTTP1

/// Our parsers against llhttp (strict mode) on seeded mutations: what we accept means the same to it. We refuse more.
@Suite struct DifferentialTests {
    static let seeds: Range<UInt64> = 0..<12_000

    /// Rules that llhttp 8.1 does not have, or has only in part: it accepts what we refuse for these reasons.
    /// Any other reason for which only we refuse is news and fails the test.
    static let stricter: Set<ParseFailure.Reason> = [
        // It ends first lines and heads with a line feed alone, and skips any number of empty lines.
        .bareLF, .bareCR, .tooManyEmptyLines,
        // It checks the characters of targets, not their form; several spaces separate; it knows HTTP/0.9 and 2.0.
        .emptyTarget, .invalidTarget, .fragmentInTarget, .unsupportedScheme, .invalidVersion, .unsupportedVersion,
        .connectUnsupported,
        // Host and Expect are no concern of its.
        .missingHost, .severalHosts, .emptyHost, .invalidHost, .hostMismatch, .unknownExpectation,
        // Transfer codings in HTTP/1.0, in several fields, others before chunked, and any in responses.
        .transferEncodingInHTTP10, .severalTransferEncodings, .unknownTransferCoding, .invalidTransferEncoding,
        .chunkedNotFinal,
        // An empty Transfer-Encoding beside Content-Length counts for nothing.
        .lengthWithTransferEncoding,
        // It unfolds lines, takes empty names, and quoted extension values that go on unquoted.
        .foldedLine, .emptyFieldName, .invalidChunkExtension,
        // Responses: control bytes in phrases, statuses of any number of digits.
        .invalidReasonPhrase, .invalidStatus,
    ]

    /// Whether llhttp is known to refuse what is right: minor versions above 1, a tab behind the value of a field that
    /// it reads itself, a second extension of a chunk after an unquoted value, escaped characters in a quoted one.
    static func isBeyondLlhttp(_ bytes: [UInt8], headLength: Int) -> Bool {
        let head = String(decoding: bytes[..<headLength], as: UTF8.self)
        let isNewerMinor = (2...9).contains { head.contains("HTTP/1.\($0)") }
        let body = bytes[headLength...]
        return isNewerMinor || head.contains("\t\r\n") || body.contains(UInt8(ascii: "\\"))
            || body.count { $0 == UInt8(ascii: ";") } > 1
    }

    @Test func requests() throws {
        let llhttp = try Llhttp()
        let bench = Bench()
        var tally = Tally()
        for seed in Self.seeds {
            var random = SeededRandom(seed: seed)
            let bytes = Corpus.mutated(Corpus.requests, &random)
            let theirs = llhttp.judge(bytes, isResponse: false)
            let outcome = bench.request(bytes)
            if let reason = outcome.reason { tally.refused(reason, theirs, seed, bytes) }
            // A method that llhttp does not list is right all the same.
            guard let head = outcome.head, head.method != .other else { continue }
            var ours = Meaning(method: head.methodText, target: head.target)
            ours.fields = head.fields.map(\.bare)
            let body = bench.body(Array(bytes[head.length...]), head.framing)
            tally.add(&ours, head.length, body, head.keepsAlive, theirs, seed, bytes)
        }
        tally.conclude(Self.seeds.count)
    }

    @Test func responses() throws {
        let llhttp = try Llhttp()
        let bench = Bench()
        var tally = Tally()
        for seed in Self.seeds {
            var random = SeededRandom(seed: seed)
            let bytes = Corpus.mutated(Corpus.responses, &random)
            let answersHead = seed % 5 == 0
            let theirs = llhttp.judge(bytes, isResponse: true, answersHead: answersHead)
            let outcome = bench.response(bytes, to: answersHead ? .head : .get)
            if let reason = outcome.reason { tally.refused(reason, theirs, seed, bytes) }
            guard let head = outcome.head else { continue }
            var ours = Meaning(status: head.status)
            ours.fields = head.fields.map(\.bare)
            let body = bench.body(Array(bytes[head.length...]), head.framing, closes: true)
            tally.add(&ours, head.length, body, head.keepsAlive, theirs, seed, bytes)
        }
        tally.conclude(Self.seeds.count)
    }
}

extension Field {
    /// The field without our opinion of it.
    var bare: Field { Field(name: name, value: value, isHopByHop: false) }
}

/// Counts verdicts and records disagreements, the first few with their message.
struct Tally {
    private var agreed = 0
    private var disagreed = 0
    private var onlyWeRefuse: [ParseFailure.Reason: Int] = [:]

    /// A message whose head we accepted: looks at body and trailers, then compares.
    mutating func add(
        _ ours: inout Meaning, _ headLength: Int, _ body: BodyOutcome, _ keepsAlive: Bool, _ theirs: Llhttp.Verdict,
        _ seed: UInt64, _ bytes: [UInt8]
    ) {
        if let failure = body.failure { return refused(failure.reason, theirs, seed, bytes) }
        guard let end = body.end else { return }
        (ours.body, ours.end) = (body.body, headLength + end)
        switch Self.trailers(body.trailers ?? []) {
        case .failure(let failure): return refused(failure.reason, theirs, seed, bytes)
        case .success(let fields):
            // llhttp obeys framing and connection fields in trailers; we drop them unread.
            if fields.contains(where: \.isHopByHop) { return }
            ours.trailers = fields.map(\.bare)
        }
        let isBeyond = DifferentialTests.isBeyondLlhttp(bytes, headLength: headLength)
        if theirs.error == 0, theirs.meaning == ours, theirs.keepsAlive || !keepsAlive || isBeyond {
            agreed += 1
        } else if theirs.error == 0 || !isBeyond {
            report("llhttp \(theirs.error): \(theirs.meaning) but ours: \(ours)", seed, bytes)
        }
    }

    private static func trailers(_ block: [UInt8]) -> Result<[Field], ParseFailure> {
        var table = FieldTable(capacity: 100)
        return block.withUnsafeBytes { memory in
            let view = ByteView(memory)
            do throws(ParseFailure) {
                try parseTrailers(view, into: &table, limits: HTTPLimits())
                return .success(copyFields(table, view))
            } catch {
                return .failure(error)
            }
        }
    }

    mutating func refused(
        _ reason: ParseFailure.Reason, _ theirs: Llhttp.Verdict, _ seed: UInt64, _ bytes: [UInt8]
    ) {
        guard theirs.error == 0, theirs.meaning.end != nil else { return }
        onlyWeRefuse[reason, default: 0] += 1
        if !DifferentialTests.stricter.contains(reason) {
            report("only we refuse, for \(reason); llhttp reads \(theirs.meaning)", seed, bytes)
        }
    }

    private mutating func report(_ text: String, _ seed: UInt64, _ bytes: [UInt8]) {
        disagreed += 1
        let message = String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) })).debugDescription
        if disagreed <= 10 { Issue.record("seed \(seed): \(text)\n\(message)") }
    }

    func conclude(_ count: Int) {
        if getenv("SHOW_TALLY") != nil { puts("agreed \(agreed), only we refuse: \(onlyWeRefuse)") }
        #expect(disagreed == 0, "\(disagreed) disagreements")
        #expect(agreed > count / 8, "only \(agreed) messages compared")
        #expect(onlyWeRefuse.count > 5, "the mutations do not reach our rules: \(onlyWeRefuse)")
    }
}
