import Testing

/// Words that must not appear, and where.
@Suite struct WordTests {
    /// Below level 5 nothing may print, crash on purpose, or leave its thread. (`!` is swift-format's to find.)
    @Test func hotPathAvoidsBannedCalls() {
        let banned: Set<Substring> = ["print", "debugPrint", "fatalError", "DispatchQueue", "Task", "Thread"]
        for file in Repository.sources where isBelow(level: 5, file) {
            for (index, line) in file.code.enumerated() {
                let used = banned.intersection(words(line))
                #expect(used.isEmpty, "\(file.place(index)): \(used.sorted().joined(separator: ", "))")
                #expect(!line.contains("try!"), "\(file.place(index)): try!")
            }
        }
    }

    /// A test waits for what it waits for, with a deadline, and never for a time.
    @Test func testsDoNotSleep() {
        let banned: Set<Substring> = ["sleep", "usleep", "nanosleep", "sleepForTimeInterval", "sleep_ms"]
        for file in Repository.tests {
            for (index, line) in file.code.enumerated() {
                #expect(banned.isDisjoint(with: words(line)), "\(file.place(index)): a sleeping test")
            }
        }
    }

    /// Work that is left names its issue: the word, then "(#number):".
    @Test func leftWorkNamesItsIssue() {
        for file in Repository.files where !file.isProse && !file.path.hasPrefix("Tests/TidyTests/") {
            for (index, line) in file.lines.enumerated() {
                let found = words(line)
                let rest = line.split(separator: "TODO", maxSplits: 1, omittingEmptySubsequences: false).dropFirst()
                    .first
                let isNamed = rest.map { $0.hasPrefix("(#") && $0.contains("):") } ?? true
                #expect(
                    !found.contains("FIXME") && !found.contains("XXX"), "\(file.place(index)): work without an issue")
                #expect(!found.contains("TODO") || isNamed, "\(file.place(index)): work without an issue")
            }
        }
    }

    /// A placeholder goes when the first real file comes.
    @Test func noPlaceholderBesideRealFiles() {
        for file in Repository.swift where file.name == "Placeholder.swift" {
            let count = Repository.swift.count { $0.path.hasPrefix(file.folder + "/") }
            #expect(count == 1, "\(file.path): no longer needed")
        }
    }

    /// A file says what it is before it does anything.
    @Test func sourcesBeginWithWordsOrImports() {
        for file in Repository.sources {
            let first = file.lines.first { !$0.isEmpty } ?? ""
            let isAspect = file.name.contains("+") && first.hasPrefix("extension ")  // Type+Aspect.swift says it
            let isFine =
                isAspect
                || ["//", "import ", "public import ", "@_exported import ", "@preconcurrency import ", "#if "]
                    .contains { first.hasPrefix($0) }
            #expect(isFine, "\(file.path) begins with: \(first)")
        }
    }

    /// Nothing depends on, or tells of, the machine it was written on.
    @Test func noPathsOfOneMachine() {
        let places = ["work/", "root/", "home/", "Users/"].map { "/" + $0 }
        for file in Repository.files {
            for (index, line) in file.lines.enumerated() {
                for place in places where holds(line, place) {
                    Issue.record("\(file.place(index)): \(place)")
                }
            }
        }
    }

    /// The comparison ignores comments and strings, and only those.
    @Test func blanksCommentsAndStrings() {
        let text = """
            let a = "print(1)" // print(2)
            /* print(3) /* nested */ print(4) */ print(5)
            let b = #"a "quoted" print"# + "\\" print"
            """
        let code = String(decoding: CodeOnly.blanked([UInt8](text.utf8)), as: UTF8.self)
        #expect(words(code).filter { $0 == "print" }.count == 1)
        #expect(code.split(separator: "\n").count == 3)
    }

    private func isBelow(level: Int, _ file: TextFile) -> Bool {
        guard let module = file.module.flatMap({ ModuleMap.byName[$0] }) else { return true }
        return (module.level ?? 0) < level
    }

    private func words(_ line: String) -> [Substring] {
        line.split { !($0.isLetter || $0.isNumber || $0 == "_") }
    }

    /// As a path from the root, not as the middle of a longer one or of a host name.
    private func holds(_ line: String, _ place: String) -> Bool {
        var rest = Substring(line), before: Character?
        while let found = rest.firstRange(of: place) {
            before = found.lowerBound > rest.startIndex ? rest[rest.index(before: found.lowerBound)] : before
            if before.map({ !($0.isLetter || $0.isNumber || ".-_}*/)".contains($0)) }) ?? true { return true }
            before = "/"
            rest = rest[found.upperBound...]
        }
        return false
    }
}
