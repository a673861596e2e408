import HTTP
import HTTP1
import HTTP2
import Primitives

/// Which revision a request is for that came to an activator, and what is said if there is none.
extension Worker {
    /// The revision that the fields name, or, without both, the host of its own service (spec/dataplane 3.3).
    func revision(of parts: RequestParts, _ fields: borrowing FieldTable) -> RevisionTarget? {
        let (name, namespace) = revisionNames(parts, fields)
        guard !name.isEmpty, !namespace.isEmpty else { return nil }
        // The snapshot is replaced between two events only, never inside one.
        return Unmanaged.passUnretained(snapshot)._withUnsafeGuaranteedRef {
            $0.revisions?.target(namespace: namespace, name: name)
        }
    }

    private func revisionNames(
        _ parts: RequestParts, _ fields: borrowing FieldTable
    ) -> (name: ByteView, namespace: ByteView) {
        let name = value(of: .knativeServingRevision, parts, fields)
        let namespace = value(of: .knativeServingNamespace, parts, fields)
        if !name.isEmpty, !namespace.isEmpty { return (name, namespace) }
        return snapshot.revisions?.names(inServiceHost: parts.host) ?? (name, namespace)
    }

    /// Nothing serves this request.
    func replyUnrouted(_ connection: Downstream, _ parts: RequestParts) {
        guard isActivator else { return replyWithoutExchange(connection, .noRoute) }
        if options.accessLog != .off { writeLog(.noRoute, connection, parts) }
        let name = revisionNames(parts, requestHead.fields).name
        send(ActivatorRule.unknownRevision(name, scratch: readPlace), connection, parts)
    }

    /// The same on a stream.
    func replyUnrouted(
        _ connection: Downstream, _ session: HTTP2Session, _ stream: HTTP2Stream, _ parts: RequestParts,
        _ fields: borrowing FieldTable
    ) {
        guard isActivator else { return refuse(connection, session, stream, parts, .noRoute) }
        if options.accessLog != .off { writeLog(.noRoute, connection, parts) }
        let name = revisionNames(parts, fields).name
        let reply = ActivatorRule.unknownRevision(name, scratch: readPlace)
        send(reply, session, stream, isHead: parts.method == .head)
        touch(connection)
    }
}
