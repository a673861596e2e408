import Testing

@testable import Knative

@Suite struct IngressVersionTests {
    /// FIPS 180-4's own examples, and the edges of a block.
    static let digests: [(String, String)] = [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            String(repeating: "a", count: 1_000_000),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        ),
    ]

    @Test(arguments: digests) func digest(text: String, expected: String) {
        #expect(SHA256.hexDigest(Array(text.utf8)) == expected)
    }

    private func example(_ appended: [String: String]) -> ClusterIngress {
        let service = ObjectName(namespace: "", name: "blah")
        let split = ClusterIngress.Split(service: service, port: 0, percent: 0, appendHeaders: appended)
        let rule = ClusterIngress.Rule(hosts: ["example.com"], paths: [.init(splits: [split])])
        return ClusterIngress(name: ObjectName(namespace: "", name: ""), rules: [rule])
    }

    /// The vectors of Knative's own test (spec/dataplane 5.4).
    @Test func vectorsOfKnative() {
        #expect(
            example([:]).version(withDefaults: false)
                == "a25000a350642c8abef53078b329bd043e18758f6063c1172d53b04e14fcf5c1")
        #expect(
            example(["Foo": "bar"]).version(withDefaults: false)
                == "6b652c7abed871354affd4a9cb699d33816f24541fac942149b91ad872fe63ca")
    }

    /// Everything that makes a difference makes one.
    @Test func eachPartCounts() {
        var seen: Set<String> = [example([:]).version]
        func differs(_ change: (inout ClusterIngress) -> Void, _ what: String) {
            var ingress = example([:])
            change(&ingress)
            #expect(seen.insert(ingress.version).inserted, "\(what)")
        }
        differs({ $0.rules[0].hosts.append("b") }, "hosts")
        differs({ $0.rules[0].isClusterLocal = true }, "visibility")
        differs({ $0.rules[0].paths[0].path = "/<&>" }, "path")
        differs({ $0.rules[0].paths[0].headers = ["a": "b", "A": "b"] }, "headers")
        differs({ $0.rules[0].paths[0].rewriteHost = "c" }, "rewriteHost")
        differs({ $0.rules[0].paths[0].appendHeaders = ["a": "b"] }, "appendHeaders")
        differs({ $0.rules[0].paths[0].splits[0].port = 81 }, "port")
        differs({ $0.httpOption = .redirected }, "httpOption")
        differs({ $0.tls = [.init(hosts: ["example.com"], secretName: "s")] }, "tls")
        var same = example([:])
        same.rules[0].paths[0].splits[0].percent = 100
        #expect(same.version == example([:]).version, "a single split has all")
        same.createdAt = 7
        #expect(same.version == example([:]).version, "age is no part of the spec")
    }
}
