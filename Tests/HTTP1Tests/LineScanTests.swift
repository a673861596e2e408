import Primitives
import Testing

@testable import HTTP
@testable import HTTP1

/// The searches by words against the same searches byte by byte.
@Suite struct LineScanTests {
    @Test func wordsAgreeWithBytes() {
        let memory = GuardedMemory(room: 4096)
        // Bytes on both sides of every boundary of a class, and the plain ones that let a search run on.
        let edges: [UInt8] = [
            0, 8, 9, 10, 13, 31, 32, 33, 34, 35, 36, 45, 46, 47, 48, 57, 58, 64, 65, 90, 91, 94, 95, 96, 97, 122, 123,
            126, 127, 128, 129, 0xAD, 0xAE, 0xE1, 0xFE, 255,
        ]
        for seed in UInt64(0)..<4_000 {
            var random = SeededRandom(seed: seed)
            let plainness = Int.random(in: 0...24, using: &random)
            let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                Int.random(in: 0...plainness, using: &random) > 0
                    ? UInt8(ascii: "a") : edges[Int.random(in: 0..<edges.count, using: &random)]
            }
            let view = memory.view(bytes[...])
            let start = Int.random(in: 0...bytes.count, using: &random)
            func naive(_ start: Int, _ belongs: (UInt8) -> Bool) -> Int {
                bytes[start...].firstIndex { !belongs($0) } ?? bytes.count
            }
            let isTarget: (UInt8) -> Bool = { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "#") }
            let agree =
                LineScan.endOfText(view, from: start) == naive(start, ByteClass.isFieldValue)
                && LineScan.endOfTarget(view, from: start) == naive(start, isTarget)
                && LineScan.endOfToken(view, from: start) == naive(start, ByteClass.isToken)
                && Authority.endOfHostName(view) == naive(0, ByteClass.isHostName)
            if !agree { Issue.record("seed \(seed): \(bytes) from \(start)") }
        }
    }
}
