/// The fewest decimal digits that tell a float from its neighbours, without a String in between.
///
/// Swift's own description has these digits; this takes them out of it, since Go lays them out differently.
struct ShortestDigits: TextOutputStream {
    /// Digits of the longest shortest form are 17; a description has at most a sign, a point and an exponent more.
    private var bytes = InlineArray<32, UInt8>(repeating: 0)
    private(set) var count = 0
    /// Where the decimal point stands: after that many digits; negative if zeros come first.
    private(set) var point = 0

    subscript(index: Int) -> UInt8 { bytes[index] }

    mutating func write(_ string: String) {
        for byte in string.utf8 { take(byte) }
    }

    /// The standard library hands over the characters of a number here, before it would make a String of them.
    mutating func _writeASCII(_ buffer: UnsafeBufferPointer<UInt8>) {
        for byte in buffer { take(byte) }
    }

    private mutating func take(_ byte: UInt8) {
        guard count < 32 else { return }
        bytes[count] = byte
        count += 1
    }

    /// Turns `12.5`, `1.25e-05` into digits and point. Zero must not come here.
    mutating func finish() {
        var (digits, seenPoint, exponent, exponentSign, inExponent) = (0, false, 0, 1, false)
        point = 0
        for index in 0..<count {
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "."): seenPoint = true
            case UInt8(ascii: "e"): inExponent = true
            case UInt8(ascii: "-"): exponentSign = -1
            case UInt8(ascii: "+"): continue
            case _ where inExponent: exponent = exponent * 10 + Int(byte) - 0x30
            case _:
                if !seenPoint { point += 1 }
                bytes[digits] = byte
                digits += 1
            }
        }
        point += exponent * exponentSign
        dropZeros(of: digits)
    }

    /// Leaves out zeros before the first digit, which move the point, and after the last one, which do not.
    private mutating func dropZeros(of digits: Int) {
        var leading = 0
        while leading < digits - 1, bytes[leading] == UInt8(ascii: "0") { leading += 1 }
        for index in leading..<digits { bytes[index - leading] = bytes[index] }
        point -= leading
        count = digits - leading
        while count > 1, bytes[count - 1] == UInt8(ascii: "0") { count -= 1 }
    }
}
