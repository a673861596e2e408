import Testing

/// Imports go one way. The build checks that a module imports only what Package.swift gives it; these tests check that
/// Package.swift keeps to the levels of Sources/README.md, and what pure modules may know of the system.
@Suite struct ModuleTests {
    @Test func theMapIsRead() {
        #expect(ModuleMap.modules.count >= 16)
        #expect(ModuleMap.byName["Primitives"]?.level == 1)
        #expect(ModuleMap.byName["HTTP1"]?.imports == ["HTTP", "Primitives"])
        #expect(ModuleMap.byName["Knative"]?.isPure == true && ModuleMap.byName["EventLoop"]?.isPure == false)
        #expect(ModuleMap.byName["martlet"]?.level == 7)
        #expect(ModuleMap.byName["Simulation"] != nil && ModuleMap.byName["Simulation"]?.level == nil)
    }

    /// Nothing imports from above; within a level SwiftPM already forbids circles.
    @Test func nothingImportsFromAbove() {
        for module in ModuleMap.modules {
            guard let level = module.level else { continue }
            for name in module.imports {
                guard let imported = ModuleMap.byName[name] else { continue }
                let isLower = imported.level.map { $0 <= level } ?? false
                #expect(isLower, "\(module.name) (level \(level)) imports \(name), which stands above it")
            }
        }
    }

    /// Simulation, which has no level, drives what it likes.
    @Test func pureModulesImportPureOnes() {
        for module in ModuleMap.modules where module.isPure && module.level != nil {
            for name in module.imports {
                let isPure = ModuleMap.byName[name]?.isPure ?? true
                #expect(isPure, "\(module.name) is pure and imports \(name), which is not")
            }
        }
    }

    @Test func everyImportIsDeclaredOrOfTheSystem() {
        for file in Repository.sources {
            guard let module = file.module.flatMap({ ModuleMap.byName[$0] }) else {
                Issue.record("\(file.path): its module has no entry in Package.swift")
                continue
            }
            for (index, line) in file.code.enumerated() {
                guard let name = imported(line), !module.imports.contains(name) else { continue }
                #expect(
                    systemModules(for: module).contains(name), "\(file.place(index)): \(module.name) imports \(name)")
            }
        }
    }

    /// What comes with the toolchain. The C library is for memory and arithmetic in pure modules, see below.
    private func systemModules(for module: Module) -> Set<String> {
        let foundation: Set<String> = ["Foundation", "FoundationEssentials"]
        let always: Set<String> = ["Synchronization", "Glibc", "Musl"]
        return (module.level ?? 0) >= 5 ? always.union(foundation) : always
    }

    /// A pure module takes time and chance as arguments and touches neither descriptor nor thread. Simulation, which
    /// has no level, is for tests: it reads its seed and starts threads to disturb the rest.
    @Test func pureModulesAreBlind() {
        let banned: Set<Substring> = [
            "clock_gettime", "gettimeofday", "ContinuousClock", "SuspendingClock", "timerfd_create", "nanosleep",
            "random", "rand", "srand", "arc4random_buf", "getrandom", "SystemRandomNumberGenerator", "shuffle",
            "shuffled", "randomElement", "socket", "recv", "recvmsg", "sendmsg", "accept4", "epoll_create1",
            "epoll_ctl",
            "epoll_wait", "eventfd", "fopen", "pthread_create", "getenv", "getpid", "posix_spawn",
        ]
        for file in Repository.sources {
            guard let module = file.module.flatMap({ ModuleMap.byName[$0] }), module.isPure, module.level != nil else {
                continue
            }
            for (index, line) in file.code.enumerated() where !line.contains("using:") {
                let used = banned.intersection(calls(in: line)).sorted()
                #expect(used.isEmpty, "\(file.place(index)): \(used) in the pure module \(module.name)")
            }
        }
    }

    /// Words followed by an opening parenthesis, declarations aside.
    private func calls(in line: String) -> [Substring] {
        let pieces = line.split(separator: "(", omittingEmptySubsequences: false).dropLast()
        return pieces.compactMap { piece in
            let words = piece.split { !($0.isLetter || $0.isNumber || $0 == "_") }
            return words.dropLast().last == "func" ? nil : words.last
        }
    }

    /// The module that a line imports.
    private func imported(_ line: String) -> String? {
        let words = line.split(separator: " ")
        guard let at = words.firstIndex(of: "import"), words[..<at].allSatisfy({ isModifier($0) }) else { return nil }
        let kinds: Set<Substring> = ["struct", "class", "enum", "func", "var", "let", "protocol", "typealias"]
        let rest = words[(at + 1)...].drop { kinds.contains($0) }
        return rest.first.map { String($0.prefix { $0 != "." && $0 != ";" }) }
    }

    private func isModifier(_ word: Substring) -> Bool {
        word.hasPrefix("@") || ["public", "package", "internal", "private", "fileprivate"].contains(word)
    }
}
