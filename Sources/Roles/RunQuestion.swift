import ClusterLink
import EventLoop
import Glibc
import Knative
import Logging
import Primitives

/// Questions of the command line to a running `martlet run`.
public enum RunQuestion {
    /// Why there is no answer.
    public struct Failure: Error, Sendable, CustomStringConvertible {
        /// For a person.
        public let description: String
    }

    /// How long an answer is waited for, in milliseconds.
    static let answerMilliseconds = 5_000

    /// Why `revision` (`name`, `namespace/name`, or empty for all) has the scale it has, in lines.
    /// - Parameter run: the socket, or the directory it is in; nil: the usual one.
    /// - Throws: if no run answers, or it knows no such revision; with the names it knows.
    public static func explain(_ revision: String, run: String?) throws(Failure) -> [String] {
        let path = try socket(run)
        guard let loop = try? Loop(), case .connected(let socket) = Socket.connect(toUnixPath: path),
            let question = LinkQuestion(socket, loop: loop)
        else { throw Failure(description: "\(path): nobody answers there") }
        switch question.ask(revision, withinMilliseconds: answerMilliseconds) {
        case .lines(let lines): return lines
        case .refused(let reason): throw Failure(description: reason)
        case nil: throw Failure(description: "\(path): no answer within \(answerMilliseconds / 1_000) s")
        }
    }

    private static func socket(_ run: String?) throws(Failure) -> String {
        guard let folder = run ?? RunSocket.directory else {
            throw Failure(description: "no directory of runs; give --run PATH")
        }
        var status = stat()
        if stat(folder, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK { return folder }
        let living = RunSocket.living(in: folder)
        guard let first = living.first else {
            throw Failure(description: "\(folder): no run of martlet there; give --run PATH")
        }
        guard living.count == 1 else {
            let list = living.joined(separator: ", ")
            throw Failure(description: "several runs: \(list); say which with --run")
        }
        return first
    }
}
