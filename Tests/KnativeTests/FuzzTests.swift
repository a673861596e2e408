import Primitives
import Testing

@testable import Knative

/// Mutated documents: whatever comes in, loading and applying end with values, not with a trap.
@Suite struct FuzzTests {
    static let corpus = [
        LoaderTests.hello,
        manifest(
            "env: [{name: A, value: $(B)}, {name: B, valueFrom: {}}]\nreadinessProbe: {httpGet: {path: /x, port: 1}}"),
        manifest("annotations: {autoscaling.knative.dev/min-scale: \"1\"}", at: .templateMetadata),
        manifest("volumes: [{name: v, secret: {}}]", at: .revisionSpec),
        manifest("traffic: [{percent: 90}, {percent: 10, tag: a, revisionName: hello-00001}]", at: .spec),
        "base: &b {x: 1}\nlist: [*b, *b]\nown: {<<: *b, y: 3}\n",
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: serving.knative.dev/v1, kind: Service}]\n",
    ].map { Array($0.utf8) }

    static let tokens = [
        "&a ", "*a", "<<: ", "!!int ", "? ", ": ", "- ", "---\n", "{", "}", "[", "]", "\"", "'", "|\n", ">-\n", "\t",
        "#",
        "-9223372036854775808", "1e999", "\u{0}", "\u{FEFF}", "\u{2028}", "~", "0x", "99999999999999999999", "null",
        "\n",
    ].map { Array($0.utf8) }

    /// Changes letters and digits only: many results are still valid and reach the later stages.
    static func mutateGently(_ input: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
        var bytes = input + Array("---\n".utf8) + corpus[Int(random.next() % 5)]
        for _ in 0...(random.next() % 2) {
            let place = Int(random.next() % UInt64(bytes.count))
            guard ASCII.hexValue(bytes[place]) != nil else { continue }
            bytes[place] = Array("0123456789abcdef-".utf8)[Int(random.next() % 17)]
        }
        return bytes
    }

    static func mutate(_ input: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
        var bytes = input
        for _ in 0...(random.next() % 6) {
            let place = Int(random.next() % UInt64(bytes.count + 1))
            switch random.next() % 5 {
            case 0: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
            case 1: bytes.insert(contentsOf: tokens[Int(random.next() % UInt64(tokens.count))], at: place)
            case 2 where place < bytes.count: bytes[place] = UInt8(truncatingIfNeeded: random.next())
            case 3: bytes.removeSubrange(place..<min(bytes.count, place + Int(random.next() % 20)))
            default:
                let other = corpus[Int(random.next() % UInt64(corpus.count))]
                bytes.insert(contentsOf: other.prefix(Int(random.next() % UInt64(other.count))), at: place)
            }
        }
        return bytes
    }

    @Test func mutatedDocumentsNeverTrap() {
        var options = LoadOptions()
        options.images["ghcr.io/knative/helloworld-go"] = ["hello"]
        var loaded = 0
        for seed in UInt64(0)..<3000 {
            var random = SeededRandom(seed: seed)
            let document = Self.corpus[Int(seed) % Self.corpus.count]
            let text = seed % 4 == 0 ? Self.mutateGently(document, &random) : Self.mutate(document, &random)
            let result = ManifestLoader.load(sources: [("fuzz", text)], options: options)
            let places = result.diagnostics.filter { $0.file == "fuzz" }.map {
                YAMLMark(line: $0.line, column: $0.column)
            }
            #expect(places == places.sorted(), "seed \(seed)")
            let nowhere = places.filter { $0.line < 1 || $0.column < 1 }
            #expect(nowhere.isEmpty, "seed \(seed)")
            let unprintable = result.diagnostics.filter { $0.description.utf8.contains { $0 < 0x20 } }
            #expect(unprintable.isEmpty, "seed \(seed)")
            var store = ServiceStore()
            _ = store.apply(result.services, removing: true)
            for service in store.services {
                loaded += 1
                let traffic = store.resolveTraffic(
                    of: service.serviceName, isReady: { _ in true }, isFailed: { _ in false },
                    now: Instant(nanoseconds: seed))
                let sum = traffic.main.reduce(0) { $0 + $1.percent }
                #expect(sum == (traffic.isCurrent ? 100 : 0), "seed \(seed)")
                #expect(!service.template.container.processCommand(platform: []).arguments.isEmpty, "seed \(seed)")
            }
        }
        #expect(loaded > 100, "the mutations must leave enough documents valid to reach the store")
    }

    /// The image argument and the expansion of references take any text.
    @Test func argumentsNeverTrap() {
        let alphabet = Array("$()=ab'\"\\ :/@.\u{0}ä")
        for seed in UInt64(0)..<2000 {
            var random = SeededRandom(seed: seed)
            let text = String(
                (0..<random.next() % 24).map { _ in alphabet[Int(random.next() % UInt64(alphabet.count))] })
            if let mapping = try? ImageMapping.parse(text) { #expect(!mapping.command.isEmpty, "seed \(seed)") }
            #expect(expandReferences(text, ["a": "b"]) != nil, "seed \(seed)")
            _ = GoDuration.nanoseconds(text)
            _ = YAMLScalar.typed(text)
        }
    }
}
