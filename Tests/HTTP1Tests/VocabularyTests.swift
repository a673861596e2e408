import HTTP
import Primitives
import Testing

@Suite struct VocabularyTests {
    private func classify(_ name: String) -> KnownField {
        let memory = GuardedMemory(room: 4096)
        return KnownField.classify(memory.view(name.latinBytes[...]))
    }

    @Test func everyKnownFieldIsFoundInAnyCase() {
        #expect(KnownField.allCases.count < 64 && KnownField.other.rawValue == 0)
        for field in KnownField.allCases where field != .other {
            let name = field.name.description
            #expect(classify(name) == field && classify(name.lowercased()) == field, "\(name)")
            #expect(classify(name.uppercased()) == field, "\(name)")
        }
    }

    /// One byte more, less or other: never the same field. A flipped 0x20 in a letter is the other case.
    @Test func nearMissesAreOther() {
        for field in KnownField.allCases where field != .other {
            let name = field.name.description.lowercased()
            #expect(classify(name + "x") != field && classify(String(name.dropLast())) != field)
            var bytes = name.latinBytes
            for index in bytes.indices {
                let kept = bytes[index]
                for other in UInt8.min...UInt8.max where ASCII.lowercased(other) != kept {
                    bytes[index] = other
                    let found = bytes.withUnsafeBytes { KnownField.classify(ByteView($0)) }
                    if found == field { Issue.record("\(name) with \(other) at \(index)") }
                }
                bytes[index] = kept
            }
        }
        #expect(
            classify("") == .other && classify("x") == .other && classify(String(repeating: "x", count: 80)) == .other)
    }

    @Test func sets() {
        var set = KnownFieldSet(.host, .te)
        #expect(set.contains(.host) && set.contains(.te) && !set.contains(.via) && !set.contains(.other))
        set.insert(.via)
        #expect(set.contains(.via) && set == KnownFieldSet(.via, .te, .host))
        #expect(set.isDisjoint(with: KnownFieldSet(.setCookie)))
        #expect(KnownFieldSet.hopByHop.isDisjoint(with: .undroppable))
    }

    @Test func methods() {
        for method in Method.allCases where method != .other { #expect(Method(ByteView(method.name)) == method) }
        for text: StaticString in ["get", "GETS", "GE", "", "FOO", "CONNECt", "PROPFIND"] {
            #expect(Method(ByteView(text)) == .other)
        }
        #expect(Method.allCases.filter(\.isSafe) == [.get, .head, .options, .trace])
        #expect(Method.allCases.filter(\.isIdempotent) == [.get, .head, .put, .delete, .options, .trace])
        #expect(HTTPVersion.http10 < .http11)
    }

    /// The classes of RFC 9110 §5.6.2 and §5.5, spelt out a second time.
    @Test func byteClasses() {
        let letters = "abcdefghijklmnopqrstuvwxyz"
        let alphanumeric = Set((letters + letters.uppercased() + "0123456789").utf8)
        for byte in UInt8.min...UInt8.max {
            #expect(ByteClass.isToken(byte) == alphanumeric.union("!#$%&'*+-.^_`|~".utf8).contains(byte), "\(byte)")
            #expect(ByteClass.isHostName(byte) == alphanumeric.union("-._".utf8).contains(byte), "\(byte)")
            #expect(ByteClass.isFieldValue(byte) == (byte == 9 || (byte >= 32 && byte != 127)), "\(byte)")
        }
        #expect(!ByteClass.isToken(.empty) && ByteClass.isToken(ByteView("a")) && !ByteClass.isToken(ByteView("a b")))
    }

    @Test func lists() {
        let rows: [(StaticString, [String])] = [
            ("", []), (",", []), (" a ", ["a"]), ("a,b", ["a", "b"]), (", a ,\t,b c,", ["a", "b c"]),
        ]
        for (text, expected) in rows {
            var elements = ListElements(ByteView(text))
            var found: [String] = []
            while let element = elements.next() { found.append(element.string) }
            #expect(found == expected)
        }
    }

    @Test func fieldTableFillsAndEmpties() {
        var table = FieldTable(capacity: 2)
        let host = FieldLine(
            nameStart: 0, valueStart: 6, valueLength: 1, nameLength: 4, known: .host, isHopByHop: false, isPlain: true)
        let other = FieldLine(
            nameStart: 9, valueStart: 14, valueLength: 0, nameLength: 3, known: .other, isHopByHop: true, isPlain: false
        )
        #expect(MemoryLayout<FieldLine>.size == 16)
        #expect(host.isPlain && !host.isHopByHop && !other.isPlain && other.isHopByHop)
        let bytes = ByteView("Host: h\r\nXyz: \r\n")
        let (first, second, third) = (table.append(host), table.append(other), table.append(host))
        #expect(first && second && !third)
        #expect(table.count == 2)
        #expect(table.firstIndex(of: .host) == 0)
        #expect(table.firstIndex(of: .other) == 1)
        #expect(table.firstIndex(of: .via) == nil)
        #expect(table.nextIndex(of: .host, from: 1) == nil)
        #expect(table.firstIndex(named: "xyz", in: bytes) == 1)
        #expect(table.value(0, in: bytes).string == "h")
        #expect(table.name(1, in: bytes).string == "Xyz")
        #expect(table.repeated.isEmpty)
        table.removeAll()
        let again = table.append(host) && table.append(host)
        #expect(again)
        #expect(table.repeated == KnownFieldSet(.host))
        #expect(table.present == KnownFieldSet(.host))
    }
}
