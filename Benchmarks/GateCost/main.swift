// What admitting a request costs when workers share a revision: pairs of `admit` and `release` by several threads.
//
//     martlet-gate-cost THREADS ENDPOINTS CONCURRENCY PAIRS [HELD]
//
// Prints nanoseconds a pair, the mean over the threads.
// THREADS at most as many as there are CPUs with nothing else to do; HELD slots are taken before and stay taken.
//
// Benchmarks/worker_scale.py asks it and says what follows for many workers.
import Admission
import Balancing
import EventLoop
import Glibc
import Synchronization

struct Shape: Sendable {
    let threads: Int
    let endpoints: Int
    let concurrency: Int
    let pairs: Int
    let held: Int
}

func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// One worker's share. Returns the nanoseconds it took.
func work(_ shape: Shape, _ gate: RevisionGate, worker: Int) -> UInt64 {
    var view = EndpointView()
    var random = UInt64(worker + 1)
    let begin = monotonicNanoseconds()
    for _ in 0..<shape.pairs {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let waiter = Waiter(worker: worker, token: 0)
        guard case .admitted(let endpoint) = gate.admit(waiter, view: &view, random: random) else {
            fatalError("refused: there must be a slot for every thread")
        }
        guard case .done = gate.release(endpoint) else { fatalError("nobody waits here") }
    }
    return monotonicNanoseconds() - begin
}

let numbers = CommandLine.arguments.dropFirst().compactMap(Int.init)
guard numbers.count == 4 || numbers.count == 5, numbers.allSatisfy({ $0 >= 0 }), numbers[0] > 0, numbers[1] > 0,
    numbers[3] > 0
else {
    print("usage: martlet-gate-cost THREADS ENDPOINTS CONCURRENCY PAIRS [HELD]")
    exit(2)
}
let shape = Shape(
    threads: numbers[0], endpoints: numbers[1], concurrency: numbers[2], pairs: numbers[3],
    held: numbers.count == 5 ? numbers[4] : 0)

guard shape.concurrency == 0 || shape.endpoints * shape.concurrency >= shape.threads + shape.held else {
    print("martlet-gate-cost: fewer slots than threads; nobody may wait here")
    exit(2)
}
let gate = RevisionGate(concurrency: shape.concurrency, budget: WaitBudget())
let list = (0..<shape.endpoints).map {
    Endpoint(
        id: $0, address: EndpointAddress(ipv4: 0x7F00_0001, port: UInt16($0 % 60_000)), concurrency: shape.concurrency)
}
_ = gate.setEndpoints(list)
var view = EndpointView()
for number in 0..<shape.held {
    guard case .admitted = gate.admit(Waiter(worker: 0, token: 0), view: &view, random: UInt64(number)) else {
        fatalError("refused: there must be a slot for every held one")
    }
}
let took = Mutex<UInt64>(0)
var threads: [WorkerThread] = []
for worker in 0..<shape.threads {
    threads.append(
        try WorkerThread(name: "worker \(worker)") { [shape] in
            let nanoseconds = work(shape, gate, worker: worker)
            took.withLock { $0 += nanoseconds }
        })
}
for thread in threads { thread.join() }
let total = Double(took.withLock { $0 })
print(total / Double(shape.threads * shape.pairs))
