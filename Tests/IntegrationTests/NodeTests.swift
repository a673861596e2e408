import Foundation
import Testing

/// Node's http2, as client and as pod.
@Suite struct NodeTests {
    static let app = Foreign.service(["node", Foreign.folder + "/node_app.js"], portName: "h2c")

    static let pods = [("node_app.js", app), ("pod.py", Foreign.reporter())]

    @Test(arguments: [0, 1], [false, true]) func clients(pod: Int, isEncrypted: Bool) throws {
        let manifest = Self.pods[pod].1
        let certificates = isEncrypted ? try ForeignCertificates() : nil
        try Martlet.serving(manifest, certificates?.flags ?? []) { martlet throws in
            let port = try isEncrypted ? martlet.securePort() : martlet.port()
            let arguments = [Foreign.folder + "/node_client.js", "\(port)", manifest.host]
            try martlet.expectCases("node", arguments + (certificates.map { [$0.authority] } ?? []))
        }
    }

    /// HTTP/1.1 clients of a pod that knows HTTP/2 only.
    @Test func http1Client() throws {
        try Martlet.serving(Self.app) { martlet throws in
            let client = try martlet.connect()
            for _ in 0..<3 {
                try client.request(Self.app.host, "/bytes/100000")
                let answer = try client.readAnswer()
                #expect(answer.status == 200 && answer.body.count == 100_000)
            }
            try client.request(Self.app.host, "/trailers", fields: ["TE: trailers", "Connection: TE"])
            let answer = try client.readAnswer()
            #expect(answer.status == 200 && answer.text == "body\n", "\(answer)")
        }
    }
}
