// What admitting a request costs when workers share a revision: pairs of `admit` and `release` by several threads.
//
//     martlet-gate-cost THREADS ENDPOINTS CONCURRENCY PAIRS [HELD [CHANGING]]
//
// Prints nanoseconds a pair, the mean over the threads.
// THREADS at most as many as there are CPUs with nothing else to do; HELD slots are taken before and stay taken.
// CHANGING slots more are taken before, by the threads in equal parts: a pair then ends one of the thread's own by lot
// and admits another in its place, as requests of uneven length do.
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
    let changing: Int
}

func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Admits one request, which must not have to wait.
func admit(_ gate: RevisionGate, _ view: inout EndpointView, worker: Int, random: UInt64) -> Endpoint {
    guard case .admitted(let endpoint) = gate.admit(Waiter(worker: worker, token: 0), view: &view, random: random)
    else { fatalError("refused: there must be a slot for every request") }
    return endpoint
}

/// Ends one request.
func end(_ gate: RevisionGate, _ endpoint: Endpoint) {
    guard case .done = gate.release(endpoint) else { fatalError("nobody waits here") }
}

/// One worker's share. Returns the nanoseconds it took.
func work(_ shape: Shape, _ gate: RevisionGate, worker: Int) -> UInt64 {
    var view = EndpointView()
    var random = UInt64(worker + 1)
    var own = (0..<shape.changing / shape.threads).map { _ in admit(gate, &view, worker: worker, random: random) }
    let begin = monotonicNanoseconds()
    for _ in 0..<shape.pairs {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        if own.isEmpty {
            end(gate, admit(gate, &view, worker: worker, random: random))
        } else {
            let place = Int(random >> 33) % own.count
            end(gate, own[place])
            own[place] = admit(gate, &view, worker: worker, random: random)
        }
    }
    return monotonicNanoseconds() - begin
}

let numbers = CommandLine.arguments.dropFirst().compactMap(Int.init)
guard (4...6).contains(numbers.count), numbers.allSatisfy({ $0 >= 0 }), numbers[0] > 0, numbers[1] > 0,
    numbers[3] > 0
else {
    print("usage: martlet-gate-cost THREADS ENDPOINTS CONCURRENCY PAIRS [HELD [CHANGING]]")
    exit(2)
}
let shape = Shape(
    threads: numbers[0], endpoints: numbers[1], concurrency: numbers[2], pairs: numbers[3],
    held: numbers.count > 4 ? numbers[4] : 0, changing: numbers.count > 5 ? numbers[5] : 0)

guard shape.concurrency == 0 || shape.endpoints * shape.concurrency >= shape.threads + shape.held + shape.changing
else {
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
    _ = admit(gate, &view, worker: 0, random: UInt64(number))
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
