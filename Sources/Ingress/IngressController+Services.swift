import Admission
import Balancing
import DataPlane
import Knative

/// What becomes of services and their endpoints.
extension IngressController {
    /// What goes when every worker has taken the new routes.
    struct Leaving {
        /// Services that no route leads to any more, or in another protocol.
        var backends: [Backend] = []
        /// Services without an endpoint.
        var emptied: Set<ServiceKey> = []
        /// Whether the workers' snapshot names a backend that is not the one of now.
        var mustPublish = false

        var isEmpty: Bool { backends.isEmpty && emptied.isEmpty }
    }

    /// Makes the backends of services that are new, drops those that are not asked for, and brings the endpoints of
    /// `changed` ones up to date; what would take the last endpoint away is returned, to be done later.
    func updateBackends(_ changed: Set<ObjectName>) -> Leaving {
        var leaving = Leaving()
        let wanted = wantedServices
        for (key, backend) in backends where !wanted.contains(key) {
            backends[key] = nil
            leaving.backends.append(backend)
        }
        for key in wanted.sorted() where backends[key] == nil || changed.contains(key.name) {
            update(key, &leaving)
        }
        return leaving
    }

    private func update(_ key: ServiceKey, _ leaving: inout Leaving) {
        let found = ServiceAddresses(endpoints[key.name], port: key.port, limit: options.limits.endpointsPerService)
        let old = backends[key]
        let spoken = found.upstreamProtocol ?? old?.upstreamProtocol ?? (key.port == 81 ? .h2c : .http1)
        let backend: Backend
        if let old, old.upstreamProtocol == spoken {
            backend = old
        } else {
            backend = Backend(key, spoken, queueLimit: options.limits.queueLimit, budget: budget)
            backends[key] = backend
            leaving.mustPublish = true
            if let old { leaving.backends.append(old) }
        }
        guard !found.addresses.isEmpty else {
            if !backend.endpoints.isEmpty { leaving.emptied.insert(key) }
            return
        }
        carryOut(backend.set(found.addresses) { numbers.take() }, of: backend)
    }

    /// Lets go what has left, unless it has come back meanwhile.
    func release(_ leaving: Leaving) {
        for backend in leaving.backends { carryOut(backend.close(), of: backend) }
        for key in leaving.emptied {
            guard let backend = backends[key] else { continue }
            let found = ServiceAddresses(endpoints[key.name], port: key.port, limit: options.limits.endpointsPerService)
            guard found.addresses.isEmpty else { continue }
            carryOut(backend.set([]) { numbers.take() }, of: backend)
        }
    }

    private func carryOut(_ change: Backend.Change, of backend: Backend) {
        if !change.grants.isEmpty {
            let target = bearer(of: backend)
            for grant in change.grants { deliver(grant, of: target) }
        }
        for waiter in change.refused { workers.post(.refuse(waiter), to: waiter.worker) }
        for endpoint in change.gone { forget(endpoint) }
        for endpoint in backend.finishing.values { finishing[ObjectIdentifier(endpoint)] = backend }
    }

    /// A target that leads to the gate of `backend`; a worker that gets a slot too late gives it back through it.
    private func bearer(of backend: Backend) -> RevisionTarget {
        RevisionTarget(
            id: 0, name: backend.service.name.name, namespace: backend.service.name.namespace, gate: backend.gate,
            timeouts: Self.noTimeouts, workerCount: workers.count, now: loop.now)
    }

    /// A worker says that an endpoint which has left answered its last request.
    func becameIdle(_ endpoint: Endpoint) {
        guard let backend = finishing[ObjectIdentifier(endpoint)], backend.finished(endpoint) else { return }
        forget(endpoint)
    }

    private func forget(_ endpoint: Endpoint) {
        finishing[ObjectIdentifier(endpoint)] = nil
        workers.post(.forget(endpoint))
        numbers.give(endpoint.id)
    }
}
