import Primitives
import Testing

@Suite struct Base64Tests {
    /// RFC 4648 §10, and the last two characters of the alphabet.
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"), ("???>>>", "Pz8/Pj4+"),
    ]) func vectors(plain: String, expected: String) {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { place in
            var writer = ByteWriter(place)
            Array(plain.utf8).withUnsafeBytes { writer.append(base64: ByteView($0)) }
            #expect(writer.written.string == expected)
        }
    }
}
