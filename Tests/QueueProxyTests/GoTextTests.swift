import Testing

@testable import QueueProxy

@Suite struct GoTextTests {
    @Test(
        arguments: [
            ("0", 0), ("10", 10), ("+5", 5), ("-3", -3), ("007", 7), ("010", 8), ("0o17", 15), ("0O17", 15),
            ("0x1F", 31),
            ("0b101", 5), ("1_000", 1000), ("0x_f", 15), ("0_7", 7), ("9223372036854775807", Int64.max),
            ("-9223372036854775808", Int64.min),
        ] as [(String, Int64)])
    func integers(text: String, value: Int64) { #expect(GoText.integer(text) == value) }

    @Test(arguments: [
        "", " 1", "1 ", "+", "-", "1.0", "1e3", "08", "0x", "0b2", "_1", "1_", "1__0", "0x_", "٣", "one", "--1",
        "9223372036854775808", "-9223372036854775809", "99999999999999999999999",
    ])
    func noIntegers(text: String) { #expect(GoText.integer(text) == nil) }

    @Test func booleans() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] { #expect(GoText.boolean(text) == true) }
        for text in ["0", "f", "F", "false", "FALSE", "False"] { #expect(GoText.boolean(text) == false) }
        for text in ["", "tRUE", "yes", "on", " true", "2"] { #expect(GoText.boolean(text) == nil) }
    }

    @Test func ports() {
        #expect(GoText.port("8012") == 8012 && GoText.port("0") == 0 && GoText.port("65535") == 65535)
        for text in ["", "65536", "+80", "-1", "80 ", "http", "0x50"] { #expect(GoText.port(text) == nil, "\(text)") }
    }
}
