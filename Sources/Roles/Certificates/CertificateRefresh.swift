import TLS

/// Decides what becomes of each reading of a certificate folder: what is whole is served at once, what is broken keeps
/// what it served before, and what may be half written is read once more first.
///
/// Pure: it is handed readings and the time, and returns what to do.
struct CertificateRefresh {
    /// Why the folder was read.
    enum Cause: String, Sendable, CaseIterable {
        /// A file changed.
        case changed = "files changed"
        /// A moment has passed since a reading that was not whole.
        case settled = "files changed, read again"
        /// Somebody asked: SIGHUP. Everything is said again.
        case asked = "SIGHUP"
        /// Time has passed: a certificate may have become valid, or a change gone unseen.
        case clock
    }

    /// What to tell the operator.
    enum Notice: Equatable, Sendable {
        /// A pair, or the folder, cannot be used; if it served before, the old one goes on.
        case refused(CertificateProblem)
        /// Both files of a pair are gone.
        case removed(file: String)
        /// What is served now.
        case serving(pairs: Int)
    }

    /// What to do.
    enum Action {
        /// Nothing.
        case none
        /// Read again, as `settled`, after a moment.
        case readAgain(milliseconds: UInt64)
        /// Serve this (nil: as before) and say so.
        case use(CertificateSet?, [Notice])
    }

    /// How long a reading that is not whole has to become so, in milliseconds: somebody may be copying the files.
    static let settleMilliseconds: UInt64 = 1_000

    /// What is served.
    private(set) var set: CertificateSet
    private var sources: [CertificateSource]
    private var told: [CertificateProblem] = []
    private var isSettling = false

    /// Begins with what the start has loaded without a problem.
    init(_ set: CertificateSet, sources: [CertificateSource]) {
        self.set = set
        self.sources = sources
    }

    /// Takes a reading. `now` is seconds since 1970.
    mutating func take(_ reading: CertificateFolder.Reading, cause: Cause, now: Int64) -> Action {
        let loaded = CertificateSet.load(reading.sources ?? [], previous: set, now: now)
        let problems = reading.problems + loaded.problems
        let changed = (reading.sources ?? []).filter { source in !sources.contains { Self.areSame($0, source) } }
        let changedFiles = Set(changed.flatMap { [$0.certificateFile, $0.keyFile] })
        let wanted = Set((reading.sources ?? []).map(\.certificateFile))
        let lost = reading.sources == nil ? [] : set.served.map(\.file).filter { !wanted.contains($0) }
        let news = problems.filter { cause == .asked || !told.contains($0) || changedFiles.contains($0.file) }
        if cause == .changed, !news.isEmpty || !lost.isEmpty {
            defer { isSettling = true }
            return isSettling ? .none : .readAgain(milliseconds: Self.settleMilliseconds)
        }
        if cause == .settled { isSettling = false }
        let isNews = problems != told
        told = problems
        var notices: [Notice] = news.map { .refused($0) }
        // Never left with nothing: the old set serves until there is something new.
        guard let new = reading.sources, !loaded.set.isEmpty else {
            return notices.isEmpty ? .none : .use(nil, notices)
        }
        let broken = Set(problems.map(\.file))
        let isRenewed = changed.contains { !broken.contains($0.certificateFile) && !broken.contains($0.keyFile) }
        let isRecovered = isNews && news.isEmpty && lost.isEmpty
        notices += lost.map { .removed(file: $0) }
        if isRenewed || isRecovered || cause == .asked {
            notices.append(.serving(pairs: loaded.set.served.count))
        }
        sources = new
        guard isRenewed || isRecovered || !lost.isEmpty else { return notices.isEmpty ? .none : .use(nil, notices) }
        set = loaded.set
        return .use(set, notices)
    }

    private static func areSame(_ left: CertificateSource, _ right: CertificateSource) -> Bool {
        left.certificateFile == right.certificateFile && left.certificate == right.certificate
            && left.key == right.key && left.problems == right.problems
    }
}
