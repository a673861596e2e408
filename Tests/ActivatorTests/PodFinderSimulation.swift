import Balancing
import Primitives
import Testing

@testable import Activator

/// Pods that come, become ready, vanish and come back at old addresses, with endpoints told late and questions answered
/// late: no pod that was delisted is used, none that is ready and listed is left out for long, and no wake-up is
/// missed.
@Suite struct PodFinderSimulation {
    struct World {
        struct Pod {
            var isRunning = false
            var isReady = false
            var isListed = false
            var isListedReady = false
        }

        var random: SeededRandom
        var now = Instant(nanoseconds: 1)
        var pods = [Pod](repeating: Pod(), count: 6)
        var finder: PodFinder
        /// Questions on their way, and when they are answered at the latest; nil: held until the pod is ready.
        var questions: [PodFinder.Question: Instant?] = [:]
        var used: [EndpointAddress] = []
        var suspended: Set<EndpointAddress> = []
        /// Those of them that were for what they answered.
        var setAside: Set<EndpointAddress> = []
        var asked = 0

        init(seed: UInt64) {
            random = SeededRandom(seed: seed)
            var settings = PodFinder.Settings()
            settings.allowsEarlyPods = random.next() & 3 != 0
            settings.doubtAnswerMilliseconds = 20
            settings.doubtPauseMilliseconds = 5
            settings.longestDoubtPauseMilliseconds = 40
            finder = PodFinder(settings)
        }

        func address(_ index: Int) -> EndpointAddress { EndpointAddress(ipv4: 0x0A00_0001 + UInt32(index), port: 8012) }
        func index(_ address: EndpointAddress) -> Int { Int(address.ipv4 - 0x0A00_0001) }
        mutating func below(_ bound: Int) -> Int { Int(random.next() >> 33) % bound }

        mutating func perform(_ actions: [PodFinder.Action]) {
            for action in actions {
                switch action {
                case .ask(let question):
                    asked += 1
                    #expect(questions.keys.allSatisfy { $0.address != question.address }, "asked twice at a time")
                    questions[question] = .some(answerTime(question))
                case .cancel(let question): questions.removeValue(forKey: question)
                case .update(.pods(let next)):
                    used = next
                    suspended.formIntersection(next)
                case .update(.cluster): Issue.record("there is no service")
                case .resume(let address):
                    #expect(used.contains(address))
                    suspended.remove(address)
                    setAside.remove(address)
                case .suspend(let address):
                    #expect(used.contains(address) && suspended.insert(address).inserted, "set aside twice")
                    setAside.insert(address)
                case .trust(let address, _, _): #expect(used.contains(address))
                }
            }
            setAside.formIntersection(suspended)
            #expect(setAside.count * 2 <= used.count, "too many are set aside")
        }

        mutating func answerTime(_ question: PodFinder.Question) -> Instant? {
            let pod = pods[index(question.address)]
            // Our queue-proxy holds the question; a foreign one answers; a pod that is not there refuses.
            if pod.isRunning, !pod.isReady, below(2) == 0 { return nil }
            return now.adding(nanoseconds: UInt64(below(3_000_000)))
        }

        mutating func answer(_ question: PodFinder.Question) {
            guard questions.removeValue(forKey: question) != nil else { return }
            let pod = pods[index(question.address)]
            let outcome: PodFinder.Outcome =
                pod.isRunning && pod.isReady ? .ready : below(2) == 0 ? .unready : .unreachable
            perform(finder.probed(question, outcome, now: now))
        }

        mutating func tellEndpoints() {
            let listed = pods.indices.filter { pods[$0].isListed }.map { (address($0), pods[$0].isListedReady) }
            perform(finder.list(listed, cluster: nil, now: now))
            for address in used { #expect(pods[index(address)].isListed, "a delisted pod is used") }
        }

        mutating func change() {
            let number = below(pods.count)
            switch below(9) {
            case 0: pods[number].isRunning = true
            case 1: if pods[number].isRunning { pods[number].isReady = true }
            case 2: (pods[number].isRunning, pods[number].isReady) = (false, false)
            case 3: (pods[number].isListed, pods[number].isListedReady) = (true, pods[number].isReady)
            case 4: (pods[number].isListed, pods[number].isListedReady) = (false, false)
            case 5:
                // A worker meets a refused connection.
                let pod = address(number)
                if !pods[number].isRunning, used.contains(pod), suspended.insert(pod).inserted {
                    perform(finder.suspect(pod, now: now))
                }
            case 6:
                // Answers of a pod raise a doubt, with reason or without.
                if used.contains(address(number)) { perform(finder.doubt(address(number), now: now)) }
            default: break
            }
            // What Kubernetes knows of readiness comes late, and may be told in the wrong order.
            if below(3) == 0, pods[number].isListed { pods[number].isListedReady = below(2) == 0 }
            if below(2) == 0 { tellEndpoints() }
        }

        mutating func step() {
            now = now.adding(nanoseconds: UInt64(below(4_000_000)))
            perform(finder.timeout(now: now))
            for (question, time) in questions.sorted(by: { $0.key.number < $1.key.number }) {
                let pod = pods[index(question.address)]
                let isHeld = time == nil && pod.isRunning && !pod.isReady
                if !isHeld, time.map({ $0 <= now }) ?? true { answer(question) }
            }
            change()
        }

        /// The world stands still for a second; then everything that can be used is used, and nothing else.
        mutating func settle() {
            tellEndpoints()
            for _ in 0..<2_000 {
                for index in pods.indices where used.contains(address(index)) && !pods[index].isRunning {
                    if suspended.insert(address(index)).inserted { perform(finder.suspect(address(index), now: now)) }
                }
                now = now.adding(nanoseconds: 500_000)
                perform(finder.timeout(now: now))
                for question in questions.keys.sorted(by: { $0.number < $1.number }) {
                    let pod = pods[index(question.address)]
                    if !(pod.isRunning && !pod.isReady) { answer(question) }
                }
            }
            for index in pods.indices {
                let pod = pods[index]
                let isUsable =
                    pod.isRunning && pod.isReady && pod.isListed
                    && (pod.isListedReady || finder.settings.allowsEarlyPods)
                let isServing = used.contains(address(index)) && !suspended.contains(address(index))
                if isUsable { #expect(isServing, "pod \(index) is ready and left out") }
                if !pod.isListed { #expect(!used.contains(address(index)), "pod \(index) has gone and is used") }
                if !pod.isRunning { #expect(!isServing, "pod \(index) is dead and used") }
            }
        }
    }

    @Test func seeds() {
        for seed in 0..<256 as Range<UInt64> {
            var world = World(seed: seed)
            for round in 0..<8 {
                for _ in 0..<60 { world.step() }
                world.settle()
                // A bounded effort: nobody is asked without end.
                #expect(world.asked < 40_000, "seed \(seed), round \(round)")
            }
        }
    }
}
