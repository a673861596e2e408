import Foundation
import Testing

/// The end of an activator, as clients of three kinds see it (spec/dataplane 3.10).
@Suite struct ActivatorEndTests {
    /// A case of activator_client.py; afterwards the activator has ended by itself, with status 0.
    private func ends(_ name: String, _ command: [String]) throws {
        let quiet = 400
        try ActivatorStage.running(["MARTLET_DRAIN_MILLISECONDS": "\(quiet)"], ends: false) { stage in
            stage.pods([try stage.pod(command)])
        } _: { stage throws in
            let words = Foreign.python("activator_client.py")
            let arguments = [
                "--port", "\(try stage.port())", "--host", ActivatorStage.host, "--pid", "\(stage.activator.pid)",
                "--set", "quiet=\(quiet)", name,
            ]
            try stage.activator.expectCases(words[0], Array(words.dropFirst()) + arguments)
            #expect(stage.activator.waitForEnd() == 0, "\(stage.activator.tail)")
        }
    }

    @Test func goaway() throws { try ends("goaway", Foreign.python("pod.py")) }
    @Test func keptConnections() throws { try ends("http1", [Place.server]) }
    @Test func webSocket() throws { try ends("websocket", Foreign.python("ws_app.py")) }

    /// What is left at the limit of the drain is cut, and the activator ends all the same.
    @Test func limit() throws {
        let limits = ["MARTLET_DRAIN_MILLISECONDS": "50", "MARTLET_DRAIN_LIMIT_MILLISECONDS": "400"]
        try ActivatorStage.running(limits, ends: false) { stage in
            stage.pods([try stage.pod()])
        } _: { stage throws in
            let client = try Client(port: stage.port())
            try client.request(ActivatorStage.host, "/slow?ms=20000", fields: ActivatorStage.names)
            #expect(wait { (try? stage.get("/stats"))?.text.contains("\"in_flight\":2") == true })
            stage.activator.signal(SIGTERM)
            #expect(stage.activator.waitForEnd(10) == 0, "\(stage.activator.tail)")
            #expect(stage.activator.log.contains("requests are still under way at the limit of the drain"))
        }
    }
}
