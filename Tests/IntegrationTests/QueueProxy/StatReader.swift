import Foundation
import Testing

/// The autoscaler's side of port 9090: one message a second (spec/dataplane 2.1).
struct PodStat: Equatable, Sendable {
    var podName = ""
    var average = 0.0
    var averageProxied = 0.0
    var count = 0.0
    var countProxied = 0.0
    var uptime = 0.0
    var timestamp: Int64 = 0
    /// Numbers of the fields that were there.
    var present: [Int] = []

    /// Reads the bytes strictly: fields of the table only, each once, zero values left out.
    init(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        func varint() throws -> UInt64 {
            var value: UInt64 = 0
            for shift in stride(from: UInt64(0), to: 70, by: 7) {
                guard let byte = rest.popFirst() else { throw Failure("cut off: \(bytes)") }
                value |= UInt64(byte & 0x7F) << shift
                if byte < 0x80 { return value }
            }
            throw Failure("a number without an end: \(bytes)")
        }
        func double() throws -> Double {
            guard rest.count >= 8 else { throw Failure("cut off: \(bytes)") }
            let bits = rest.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            rest = rest.dropFirst(8)
            guard bits != 0 else { throw Failure("a zero was written: \(bytes)") }
            return Double(bitPattern: bits)
        }
        while !rest.isEmpty {
            let key = try varint()
            let number = Int(key >> 3)
            guard !present.contains(number) else { throw Failure("field \(number) twice: \(bytes)") }
            present.append(number)
            switch (number, key & 7) {
            case (1, 2):
                let count = Int(try varint())
                guard rest.count >= count else { throw Failure("cut off: \(bytes)") }
                podName = String(decoding: rest.prefix(count), as: UTF8.self)
                rest = rest.dropFirst(count)
            case (2, 1): average = try double()
            case (3, 1): averageProxied = try double()
            case (4, 1): count = try double()
            case (5, 1): countProxied = try double()
            case (6, 1): uptime = try double()
            case (7, 0): timestamp = Int64(bitPattern: try varint())
            default: throw Failure("unknown field \(number) of type \(key & 7): \(bytes)")
            }
        }
    }
}

/// Asks for the message again and again, in a thread of its own, and keeps every second's once.
final class StatReader: @unchecked Sendable {  // guarded by `condition`
    private let condition = NSCondition()
    private var windows: [PodStat] = []
    private var failures: [String] = []
    private var isStopping = false
    private var isOver = false

    init(_ pod: ContractPod) throws {
        let port = try pod.port(.stat)
        Thread.detachNewThread { [self] in
            var client: Client?
            while !condition.withLock({ isStopping }) {
                do {
                    let connection = try client ?? Client(port: port)
                    client = connection
                    try connection.request("pod", "/metrics", fields: ["Accept: application/protobuf"])
                    let answer = try connection.readAnswer()
                    guard answer.status == 200 else { throw Failure("status \(answer.status)") }
                    let stat = try PodStat(answer.body)
                    condition.withLock { if windows.last != stat { windows.append(stat) } }
                } catch {
                    client = nil
                    condition.withLock { failures.append("\(error)") }
                }
                condition.withLock { condition.broadcast() }
                poll(nil, 0, 60)
            }
            condition.withLock {
                isOver = true
                condition.broadcast()
            }
        }
    }

    /// The seconds so far, oldest first. The first may be the message before the first second.
    var soFar: [PodStat] { condition.withLock { windows } }

    /// Waits until what was read satisfies `isEnough`.
    func waitFor(_ seconds: Double = patience, _ isEnough: ([PodStat]) -> Bool) -> Bool {
        let deadline = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while !isEnough(windows) { guard condition.wait(until: deadline) else { return isEnough(windows) } }
        return true
    }

    /// Waits until a whole second with nothing in it has been read after those that were read by now.
    func waitForRest() -> Bool {
        let before = soFar.count
        return waitFor { windows in windows.dropFirst(before + 1).contains { $0.average == 0 && $0.count == 0 } }
    }

    /// Ends reading. Every second from the first to the last; nil when one was missed, since this machine was too busy.
    func stop() throws -> [PodStat]? {
        let deadline = Date(timeIntervalSinceNow: patience)
        condition.lock()
        isStopping = true
        while !isOver, condition.wait(until: deadline) {}
        defer { condition.unlock() }
        guard failures.isEmpty else { throw Failure("reading statistics: \(failures)") }
        let uptimes = windows.map(\.uptime)
        let hasGap = zip(uptimes, uptimes.dropFirst()).contains { $1 - $0 > 1.5 }
        return hasGap ? nil : windows
    }
}
