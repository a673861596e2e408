import Foundation
import Testing

/// What a person, or a program, sees.
@Suite struct LogTests {
    @Test func accessLogInJSON() throws {
        let manifest = Manifest()
        try Martlet.serving(manifest, ["--access-log", "json", "--log", "json"]) { martlet throws in
            let sent = "0af7651916cd43dd8448eb211c80319c"
            let fields = [
                "X-Request-Id: from-outside", "traceparent: 00-\(sent)-b7ad6b7169203331-01", "User-Agent: test",
            ]
            let head = try martlet.get(manifest.host, "/headers?first", fields: fields).text
            let second = try martlet.get(manifest.host, "/headers?second").text
            #expect(martlet.waitForLog(of: 1) { $0.contains("?first") && $0.contains("?second") })
            // Each worker writes its own lines, so their order is not fixed.
            let lines = try martlet.out.split(separator: "\n").filter { $0.hasPrefix("{") }.map {
                try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any] ?? [:]
            }
            .sorted { "\($0["path"] ?? "")" < "\($1["path"] ?? "")" }
            try #require(lines.count == 2, "\(martlet.out)")
            #expect(lines[0]["status"] as? Int == 200)
            #expect(lines[0]["path"] as? String == "/headers?first")
            #expect(lines[0]["revision"] as? String == "app-00001")
            #expect((lines[0]["endpoint"] as? String)?.hasPrefix("127.0.0.1:") == true, "\(lines[0])")
            #expect(lines[0]["trace_id"] as? String == sent)
            // The id of the log is the one the application got.
            for (line, head) in zip(lines, [head, second]) {
                let id = try #require(line["request_id"] as? String, "\(line)")
                #expect(head.contains("X-Request-Id: \(id)\r\n"), "\(id) in \(head)")
            }
            for line in martlet.log.split(separator: "\n") {
                let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
                #expect(object?["message"] is String && object?["level"] is String, "\(line)")
            }
        }
    }

    /// The URL is there, in one piece to click on, and nothing is said twice.
    @Test func startUp() throws {
        let manifest = Manifest()
        try Martlet.serving(manifest) { martlet throws in
            martlet.expectLog("serving")
            #expect(martlet.log.contains("url=http://\(manifest.host):\(try martlet.port())/"))
            let messages = martlet.log.split(separator: "\n").map {
                $0.split(separator: " ").dropFirst().joined(separator: " ")
            }
            #expect(Set(messages).count == messages.count, "\(martlet.log)")
        }
    }

    /// With everything at zero nothing wakes: no thread runs, and nothing is logged.
    @Test(.tags(.long)) func atRest() throws {
        let manifest = ColdStartTests.sleeping()
        try Martlet.serving(manifest, ColdStartTests.flags) { martlet throws in
            #expect(try martlet.get(manifest.host).status == 200)
            #expect(wait(25) { martlet.pods().isEmpty }, "\(martlet.tail)")
            // Connections to the process are closed with it; whatever else is due passes in this second.
            let settled = Date(timeIntervalSinceNow: 1)
            _ = wait(2) { Date() > settled }
            let log = martlet.log, before = switches(martlet.pid)
            let end = Date(timeIntervalSinceNow: 6)
            _ = wait(7) { Date() > end }
            #expect(martlet.log == log)
            // Long timers cost a look now and then; a clock of any kind would cost far more.
            #expect(switches(martlet.pid) - before <= 5, "\(switches(martlet.pid) - before) wake-ups in 6 s at rest")
        }
    }

    /// How often threads of a process went to wait.
    private func switches(_ pid: pid_t) -> Int {
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? []
        return tasks.reduce(0) { sum, task in
            let text = FileManager.default.contents(atPath: "/proc/\(pid)/task/\(task)/status") ?? Data()
            let match = String(decoding: text, as: UTF8.self).firstMatch(of: /\nvoluntary_ctxt_switches:\t(\d+)/)
            return sum + (match.flatMap { Int($0.1) } ?? 0)
        }
    }
}
