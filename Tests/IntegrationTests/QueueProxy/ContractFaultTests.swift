import Foundation
import Testing

/// What must not hurt: containers that die or stall, and bodies larger than memory (spec/dataplane 1.8).
@Suite struct ContractFaultTests {
    /// Kilobytes of a line in /proc/PID/status.
    static func kibibytes(_ name: String, of pid: pid_t) -> Int {
        let text = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix("\(name):") }
        return line.flatMap { Int($0.split(whereSeparator: { !$0.isNumber }).first ?? "") } ?? -1
    }

    /// Bodies of 256 MiB there and back cost a bounded amount of memory. Benchmarks/queue_load.py takes 1 GiB.
    @Test func largeBodies() throws {
        let bytes = 256 << 20
        try ContractPod.running { pod throws in
            #expect(try pod.get("/bytes/100000").body.count == 100_000)
            let before = Self.kibibytes("VmHWM", of: pod.sidecar.pid)
            let file = pod.scratch.path + "/zeros"
            _ = FileManager.default.createFile(atPath: file, contents: nil)
            #expect(truncate(file, off_t(bytes)) == 0)
            let place = "http://127.0.0.1:\(try pod.port())"
            let print = ["-sS", "--max-time", "60", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"]
            let down = Later { try Foreign.run("curl", print + ["\(place)/bytes/\(bytes)"]) }
            let echo = ["-sS", "--max-time", "60", "-H", "Expect:", "-T", file]
            let up = try Foreign.run("curl", echo + ["\(place)/upload"])
            #expect(up.out.contains("\"bytes\":\(bytes)"), "\(up)")
            #expect(try down.value(60).out == "200 \(bytes)")
            let after = Self.kibibytes("VmHWM", of: pod.sidecar.pid)
            note("resident at most: \(before) KiB before, \(after) KiB after 256 MiB each way")
            #expect(after - before < 8 * 1_024, "\(before) KiB before, \(after) KiB after")
        }
    }

    /// A client that does not read, and a container that does not: what is held is bounded, others are served.
    @Test func stalledPeers() throws {
        let container = try PlayedContainer { request in
            if request.path == "/stall" {
                poll(nil, 0, 1_500)  // its body stays unread
                request.drop()
            } else {
                try request.answer(200, "ok")
            }
        }
        try ContractPod.running([:], .played(container)) { pod throws in
            #expect(try pod.get("/other").text == "ok")
            let before = Self.kibibytes("VmRSS", of: pod.sidecar.pid)
            let writing = Later { () -> Int in
                let client = try pod.connect()
                try client.request(ContractPod.host, "/stall", method: "POST", fields: ["Content-Length: 900000000"])
                var sent = 0
                let piece = [UInt8](repeating: 7, count: 65_536)
                while sent < 900_000_000, (try? client.send(piece)) != nil { sent += piece.count }
                return sent
            }
            #expect(try pod.get("/other").text == "ok")
            let sent = try writing.value()
            let after = Self.kibibytes("VmRSS", of: pod.sidecar.pid)
            #expect(sent < 100_000_000, "\(sent) bytes went to a container that reads nothing")
            #expect(after - before < 8 * 1_024, "\(before) KiB before, \(after) KiB after")
        }
        try ContractPod.running { pod throws in
            #expect(try pod.get("/bytes/1000").body.count == 1_000)
            let before = Self.kibibytes("VmRSS", of: pod.sidecar.pid)
            let client = try pod.connect()
            try client.request(ContractPod.host, "/bytes/900000000")
            #expect(try client.readHead().status == 200)
            for _ in 0..<20 { #expect(try pod.get("/bytes/10").body.count == 10) }
            let after = Self.kibibytes("VmRSS", of: pod.sidecar.pid)
            #expect(after - before < 8 * 1_024, "\(before) KiB before, \(after) KiB after")
        }
    }

    /// A container that is killed under load and comes back at the same port: 502 meanwhile, then all is well; nothing
    /// is left in flight.
    @Test func killedContainer() throws {
        let port = try ContractPod.freePort()
        let scratch = Scratch()
        func start() throws -> Martlet {
            let process = try Martlet(["PORT=\(port)", Place.server], scratch: scratch, program: "/usr/bin/env")
            _ = try process.announcedPort()
            return process
        }
        let first = try start()
        defer { for process in scratch.processes { kill(process.pid, SIGKILL) } }
        try ContractPod.running(["CONTAINER_CONCURRENCY": "2"], .none(port)) { pod throws in
            let reader = try StatReader(pod)
            #expect(try pod.get("/bytes/1").status == 200)
            let hanging = try (0..<6).map { _ in try pod.connect() }
            for client in hanging { try client.request(ContractPod.host, "/hang") }
            poll(nil, 0, 100)
            first.signal(SIGKILL)
            _ = first.waitForEnd()
            for client in hanging { #expect(try client.readAnswer().status == 502) }
            #expect(try pod.get("/bytes/1").status == 502)
            _ = try start()
            #expect(try pod.get("/bytes/1").status == 200)
            #expect(reader.waitForRest(), "something stays in flight: \(reader.soFar)")
            _ = try reader.stop()
        }
    }

    /// A container that has stopped (SIGSTOP) costs nobody but those who ask it; it goes on where it was.
    @Test func stoppedContainer() throws {
        try ContractPod.running(["REVISION_TIMEOUT_SECONDS": "1"]) { pod throws in
            let container = try #require(pod.container)
            #expect(try pod.get("/bytes/1").status == 200)
            container.signal(SIGSTOP)
            let answers = (0..<5).map { _ in Later { try pod.get("/bytes/1").status } }
            #expect(try pod.probe().status == 200)
            for answer in answers { #expect(try answer.value() == 504) }
            container.signal(SIGCONT)
            #expect(try pod.get("/bytes/1").status == 200)
        }
    }

    /// A container that closes kept connections at its own pace: no request fails.
    @Test func impatientContainer() throws {
        let port = try ContractPod.freePort(), scratch = Scratch()
        let server = try Martlet(
            ["PORT=\(port)", "IDLE_MS=20", Place.server], scratch: scratch, program: "/usr/bin/env")
        defer { for process in scratch.processes { kill(process.pid, SIGKILL) } }
        _ = try server.announcedPort()
        try ContractPod.running([:], .none(port)) { pod throws in
            concurrently(Array(0..<4), name: { "client \($0)" }) { number in
                let client = try pod.connect()
                for round in 0..<40 {
                    try client.request(ContractPod.host, "/upload", method: "POST", fields: ["Content-Length: 5"])
                    try client.send("hello")
                    try demandEqual(try client.readAnswer().status, 200, "round \(round)")
                    poll(nil, 0, Int32(15 + (round + number) % 10))
                }
            }
        }
    }
}
