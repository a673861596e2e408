import Primitives
import Testing

@testable import Telemetry

/// What lines of a program about itself are made of.
@Suite struct LogTextTests {
    @Test func quotedText() {
        let rows: [(String, String)] = [
            ("", #""""#), ("plain é€😀", "\"plain é€😀\""), (#"a"b\c"#, #""a\"b\\c""#),
            ("\n\r\t", #""\n\r\t""#), ("\u{0}\u{8}\u{1B}\u{7F}", #""\u0000\u0008\u001b\u007f""#),
            ("<&>\u{2028}", "\"<&>\u{2028}\""),
        ]
        for (text, expected) in rows { #expect(LogText.quoted(text) == expected, "\(text.debugDescription)") }
    }

    @Test func timestamps() {
        let rows: [(UInt64, Int, String)] = [
            (0, 3, "1970-01-01T00:00:00.000Z"), (0, 9, "1970-01-01T00:00:00.000000000Z"),
            (1_767_323_045_000_000_006, 9, "2026-01-02T03:04:05.000000006Z"),
            (1_767_323_045_006_999_999, 3, "2026-01-02T03:04:05.006Z"),
            (951_868_799_999_999_999, 3, "2000-02-29T23:59:59.999Z"),
        ]
        for (time, digits, expected) in rows { #expect(LogText.timestamp(time, digits: digits) == expected) }
    }

    /// A line of the control side and one about a request tell the same moment alike.
    @Test func timestampsAgreeWithAccessLog() {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 1)
        defer { memory.deallocate() }
        for step in 0..<2_000 as Range<UInt64> {
            let time = step &* 1_234_567_890_123_457 % 4_000_000_000_000_000_000
            var writer = ByteWriter(memory)
            writer.append(timestamp: time)
            #expect(LogText.timestamp(time, digits: 3) == writer.written.string)
        }
    }
}
