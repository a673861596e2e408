import EventLoop
import Logging
import Primitives
import TLS

/// Keeps the certificates of a run fresh: watches their folder or has new ones signed, rotates the keys of session
/// tickets, and says in time that something ends.
///
/// Lives on the control thread. It gives workers immutable snapshots and never touches a connection.
final class CertificateKeeper {
    /// How often the folder is looked at and expiry is thought of without a reason, in milliseconds: an hour. It also
    /// finds what inotify does not tell, as changes on network file systems.
    static let roundMilliseconds: UInt64 = 3_600_000
    /// How long until a folder that is not there is looked for again, in milliseconds.
    static let missingMilliseconds: UInt64 = 5_000
    /// Most hosts named in one line of the log.
    static let hostsNamed = 10

    /// What is served.
    private(set) var set: CertificateSet
    /// The keys of session tickets, shared by the workers.
    let tickets: TicketKeyRing

    private let loop: Loop
    private let logger: Logger
    private var kind: OpenedCertificates.Kind
    private var publish: (CertificateSet) -> Void = { _ in }
    private var watch: FileWatch?
    private var watched: Set<CertificateFolder.Watched> = []
    private var retry: TimerHandle = .none
    private var reminder = ExpiryReminder()
    /// Public hosts of now, by namespace.
    private var hosts: [String: [String]] = [:]
    private var uncovered: Set<String> = []
    private let wallSeconds: () -> Int64

    /// Takes over what was opened. Call `start` before the loop runs.
    ///
    /// - Parameter wallSeconds: the wall clock, in seconds since 1970.
    init(
        _ opened: OpenedCertificates, tickets: TicketKeyRing, loop: Loop, logger: Logger,
        wallSeconds: @escaping () -> Int64 = MonotonicClock.wallSeconds
    ) {
        kind = opened.kind
        set = opened.set
        self.tickets = tickets
        self.loop = loop
        self.logger = logger
        self.wallSeconds = wallSeconds
    }

    /// Takes over what was opened, with new keys of session tickets.
    convenience init(_ opened: OpenedCertificates, loop: Loop, logger: Logger) throws(TLSSetupFailure) {
        self.init(opened, tickets: try TicketKeyRing(now: loop.now), loop: loop, logger: logger)
    }

    /// Begins to watch; `publish` gets every new snapshot from now on.
    func start(publish: @escaping (CertificateSet) -> Void) {
        self.publish = publish
        switch kind {
        case .folder:
            watchFolders()
            // What changed between the first reading and the watch.
            read(.changed)
        case .authority(let store, _, let isNew):
            logger.log(
                level: isNew ? .notice : .info, isNew ? "local authority made" : "local authority used",
                metadata: ["ca": "\(store.folder)/ca.crt", "hint": "martlet cert tells how to trust it"])
        }
        remind()
        armRound()
        tickets.renew(on: loop) { [logger] problem in
            logger.error("session ticket key not rotated; trying again", metadata: ["problem": "\(problem)"])
        }
    }

    /// Reads or signs anew, on SIGHUP.
    func reload() {
        switch kind {
        case .folder: read(.asked)
        case .authority: sign()
        }
    }

    /// Tells which hosts people use now, by namespace.
    func use(hosts: [String: [String]]) {
        self.hosts = hosts
        switch kind {
        case .folder: tellUncovered()
        case .authority: sign()
        }
    }

    private func armRound() {
        loop.after(milliseconds: Self.roundMilliseconds) { [weak self] in
            guard let self else { return }
            switch kind {
            case .folder: read(.clock)
            case .authority: sign()
            }
            remind()
            armRound()
        }
    }

    private func use(_ new: CertificateSet) {
        set = new
        publish(new)
        remind()
        tellUncovered()
    }

    // MARK: Signing

    private func sign() {
        guard case .authority(let store, var certificates, let isNew) = kind else { return }
        do throws(LocalAuthority.Failure) {
            let new = try certificates.update(hosts: hosts, now: wallSeconds())
            kind = .authority(store, certificates, isNew: isNew)
            if let new { use(new) }
        } catch {
            logger.error("certificates cannot be signed; the old ones stay", metadata: ["problem": "\(error)"])
        }
    }

    // MARK: Reading

    private func read(_ cause: CertificateRefresh.Cause) {
        guard case .folder(let folder, var refresh) = kind else { return }
        // First the watch, then the reading: a change between the two is seen again.
        watchFolders()
        let action = refresh.take(folder.read(), cause: cause, now: wallSeconds())
        kind = .folder(folder, refresh)
        switch action {
        case .none: break
        case .readAgain(let milliseconds):
            loop.after(milliseconds: milliseconds) { [weak self] in self?.read(.settled) }
        case .use(let new, let notices):
            for notice in notices { tell(notice, cause, of: folder.path) }
            if let new { use(new) }
        }
    }

    private func tell(_ notice: CertificateRefresh.Notice, _ cause: CertificateRefresh.Cause, of path: String) {
        switch notice {
        case .refused(let problem):
            // Both files of a pair differ in their endings only.
            let isServed = set.served.contains { $0.file.dropLast(4) == problem.file.dropLast(4) }
            let kept = problem.file == path ? "the old ones" : isServed ? "the old one" : "none"
            logger.error(
                "certificate refused",
                metadata: ["file": "\(problem.file)", "problem": "\(problem.text)", "served": "\(kept)"])
        case .removed(let file): logger.warning("certificate removed", metadata: ["file": "\(file)"])
        case .serving(let pairs):
            logger.info("certificates reloaded", metadata: ["pairs": "\(pairs)", "cause": "\(cause.rawValue)"])
        }
    }

    /// Watches the folders that matter now; a new watch when one of them was replaced.
    private func watchFolders() {
        guard case .folder(let folder, _) = kind else { return }
        let wanted = folder.watched()
        let isThere = wanted.contains { $0.path == folder.path }
        if !isThere {
            loop.cancel(retry)
            retry = loop.after(milliseconds: Self.missingMilliseconds) { [weak self] in self?.read(.changed) }
        }
        guard wanted != watched || watch == nil else { return }
        do {
            let new = try FileWatch(loop: loop) { [weak self] in self?.read(.changed) }
            for place in wanted { try new.add(folder: place.path) }
            (watch, watched) = (new, wanted)
        } catch {
            (watch, watched) = (nil, [])
            logger.warning(
                "certificates are not watched; send SIGHUP after a change", metadata: ["error": "\(error)"])
        }
    }

    // MARK: Saying

    private func remind() {
        for item in reminder.due(set.served, now: wallSeconds()) {
            let fields: Logger.Metadata = ["file": "\(item.file)", "expires": "\(utcText(item.expiresAt))"]
            if let days = item.daysLeft {
                logger.warning(
                    "certificate ends soon; renew it", metadata: fields.merging(["days_left": "\(days)"]) { $1 })
            } else {
                logger.error("certificate has ended; clients refuse it; renew it", metadata: fields)
            }
        }
    }

    /// Says once which hosts no certificate names: clients that check will refuse them.
    private func tellUncovered() {
        guard case .folder = kind else { return }
        let all = Set(hosts.values.joined().filter { !set.hasName(for: $0) })
        let news = all.subtracting(uncovered).sorted()
        uncovered = all
        guard !news.isEmpty else { return }
        var text = news.prefix(Self.hostsNamed).joined(separator: ", ")
        if news.count > Self.hostsNamed { text += " and \(news.count - Self.hostsNamed) more" }
        logger.warning("no certificate names these hosts", metadata: ["hosts": "\(text)"])
    }
}
