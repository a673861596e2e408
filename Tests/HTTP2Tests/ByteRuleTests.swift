import HTTP
import HTTP2Wire
import Primitives
import Testing

@testable import HTTP2

/// What is checked by words must be what is said byte by byte: every byte at every place, in views of every length up
/// to three words, alone and beside bytes that carry or borrow.
@Suite struct ByteRuleTests {
    /// Rules over a view, and over one of its bytes.
    struct Rule: CustomStringConvertible, Sendable {
        let description: String
        let ofView: @Sendable (ByteView) -> Bool
        let ofByte: @Sendable (UInt8) -> Bool
        /// Allowed bytes to stand around the one in question.
        let fillers: [UInt8]
        let allowsEmpty: Bool
    }

    static let rules = [
        Rule(
            description: "field value", ofView: { ByteClass.isFieldValue($0) },
            ofByte: { $0 == 9 || ($0 >= 0x20 && $0 != 0x7F) }, fillers: [0x20, 0x21, 0x7E, 0x80, 0xFF, 9],
            allowsEmpty: true),
        Rule(
            description: "name", ofView: { ByteClass.isLowercaseToken($0) },
            ofByte: { byte in
                let others = Array("!#$%&'*+-.^_`|~0123456789".utf8)
                return (0x61...0x7A).contains(byte) || others.contains(byte)
            }, fillers: [0x61, 0x7A, 0x2D, 0x7E, 0x30], allowsEmpty: false),
        Rule(
            description: "target", ofView: { ByteClass.isTarget($0) },
            ofByte: { $0 > 0x20 && $0 < 0x7F && $0 != 0x23 }, fillers: [0x21, 0x22, 0x24, 0x7E, 0x2F],
            allowsEmpty: true),
    ]

    @Test(arguments: rules) func everyByteAtEveryPlace(_ rule: Rule) {
        withView([]) { #expect(rule.ofView($0) == rule.allowsEmpty) }
        for filler in rule.fillers {
            for count in 1...24 {
                var bytes = [UInt8](repeating: filler, count: count)
                withView(bytes) { #expect(rule.ofView($0), "\(count) of \(filler)") }
                for place in 0..<count {
                    for byte in UInt8.min...UInt8.max {
                        bytes[place] = byte
                        let found = withView(bytes) { rule.ofView($0) }
                        if found != rule.ofByte(byte) {
                            Issue.record("\(byte) at \(place) of \(count) among \(filler): \(found)")
                        }
                    }
                    bytes[place] = filler
                }
            }
        }
    }

    @Test(arguments: rules) func arbitraryBytes(_ rule: Rule) {
        var random = SeededRandom(seed: 0x77_6F_72_64)
        for _ in 0..<50_000 {
            let count = Int(random.next() % 20) + 1
            // Mostly allowed ones, so that all lengths come out both ways.
            let bytes = (0..<count).map { _ in
                random.next() % 16 == 0
                    ? UInt8(truncatingIfNeeded: random.next())
                    : rule.fillers[Int(random.next() % UInt64(rule.fillers.count))]
            }
            let expected = bytes.allSatisfy(rule.ofByte)
            let found = withView(bytes) { rule.ofView($0) }
            if found != expected { Issue.record("\(bytes): \(found)") }
        }
    }

    @Test func headersOfFramesInAnyPieces() {
        let frames: [UInt8] =
            Make.frame(1, 4, 1, [1, 2, 3]) + Make.frame(0, 1, 0x7FFF_FFFF)
            + Make.frame(6, 0, 0, [UInt8](repeating: 7, count: 8))
        let whole = headers(frames, cutAt: [])
        #expect(whole.map(\.length) == [3, 0, 8])
        #expect(whole.map(\.type) == [1, 0, 6])
        #expect(whole.map(\.flags) == [4, 1, 0])
        #expect(whole.map(\.stream) == [1, 0x7FFF_FFFF, 0])
        for first in 0...frames.count {
            for second in first...frames.count {
                #expect(headers(frames, cutAt: [first, second]) == whole, "cut at \(first) and \(second)")
            }
        }
    }

    private func headers(_ bytes: [UInt8], cutAt cuts: [Int]) -> [FrameHeader] {
        var scanner = FrameScanner(expectsPreface: false)
        var found: [FrameHeader] = []
        var start = 0
        for end in cuts + [bytes.count] {
            withView(Array(bytes[start..<end])) { view in
                var cursor = 0
                while cursor < view.count {
                    let piece = scanner.next(view, from: cursor)
                    if let header = piece.header { found.append(header) }
                    cursor = piece.end
                }
            }
            start = end
        }
        #expect(scanner.isBetweenFrames)
        return found
    }
}
