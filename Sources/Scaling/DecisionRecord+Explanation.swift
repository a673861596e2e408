extension DecisionRecord {
    /// Why the number is what it is, in one sentence for a person. Made when asked for: it allocates.
    public var explanation: String {
        "\(pods(desired)) (\(rule.rawValue)): \(reason)."
    }

    private var reason: String {
        switch rule {
        case .noData, .unknown, .stable, .panic, .panicHold, .maxScaleUpRate, .maxScaleDownRate, .activationScale,
            .scaleDownDelay:
            formulaReason
        case .minScale, .initialScale, .maxScale: boundReason
        case .scaleToZeroDisabled, .stillActivating, .activationTimedOut, .activeTooShort, .becomesInactive,
            .activatorNotInPath, .podRetention, .gracePeriod, .graceOver, .activatorLongInPath:
            zeroReason
        case .demandFromZero, .demandQueue, .demandHold: demandReason
        }
    }

    private var formulaReason: String {
        switch rule {
        case .noData: "no traffic data or pod count to decide by, so nothing changes"
        case .unknown: "no decision has been made for this revision yet, so nothing changes"
        case .panic: "in panic, \(panicAverage)"
        case .panicHold:
            "in panic no pod goes, and up to \(verdict?.desired ?? desired) were wanted; now \(panicAverage)"
        case .maxScaleUpRate:
            "\(ready) ready times max-scale-up-rate \(short(spec.maxScaleUpRate)) is the most at once; \(stableAverage)"
        case .maxScaleDownRate:
            "\(ready) ready by max-scale-down-rate \(short(spec.maxScaleDownRate)) is the fewest at once; "
                + stableAverage
        case .activationScale:
            "activation-scale \(spec.activationScale) holds while there is any need; \(stableAverage)"
        case .scaleDownDelay:
            "\(verdict?.desired ?? desired) were wanted within the scale-down-delay of "
                + "\(spec.scaleDownDelaySeconds) s; now \(stableAverage)"
        case _: stableAverage
        }
    }

    private var boundReason: String {
        switch rule {
        case .minScale: "min-scale is \(spec.minScale); \(wishText)"
        case .initialScale: "a new revision starts with initial-scale \(spec.initialScale); \(wishText)"
        case _: "max-scale is \(spec.maxScale); \(wishText)"
        }
    }

    private var zeroReason: String {
        let elapsed = short(Double(activityBefore.nanoseconds(at: time)) / 1e9)
        return switch rule {
        case .scaleToZeroDisabled: "no traffic, but enable-scale-to-zero is false"
        case .stillActivating where !isInitialized:
            "a new revision starts with initial-scale \(spec.initialScale), and none is ready yet"
        case .stillActivating:
            "no traffic, but pods have been starting for \(elapsed) s and may take \(spec.progressDeadline) and 30 s"
        case .activationTimedOut:
            "not ready after \(elapsed) s, longer than the progress-deadline \(spec.progressDeadline) and 30 s"
        case .activeTooShort:
            "no traffic, but active for only \(elapsed) s of the \(spec.stableWindowSeconds) s window"
        case .becomesInactive: "no traffic in the \(spec.stableWindowSeconds) s window, so the revision is now inactive"
        case .activatorNotInPath: "no traffic, but the activator did not answer for the revision yet"
        case .podRetention: "no traffic for \(elapsed) s, and the last pod is retained for \(spec.podRetentionPeriod)"
        case .gracePeriod: "no traffic, and the activator is in the path for less than \(spec.gracePeriod)"
        case .graceOver: "inactive for \(elapsed) s, past the grace period \(spec.gracePeriod)"
        case _: "no traffic in the \(spec.stableWindowSeconds) s window, and requests that come are held"
        }
    }

    private var demandReason: String {
        guard let demand else {
            return "\(pods(demandedPods)) started for waiting requests are kept for \(spec.panicWindowSeconds) s; "
                + wishText
        }
        let load =
            "\(demand.inFlight) requests in flight and \(demand.queued) waiting, \(short(spec.podCapacity)) a pod"
        return rule == .demandFromZero
            ? "a request met no pods; \(load)" : "more requests wait than \(pods(previous)) can take; \(load)"
    }

    private var wishText: String { wish < 0 ? "no need is known yet" : "the traffic needs \(pods(wish))" }

    private var stableAverage: String {
        average(averages?.stable, seconds: spec.stableWindowSeconds, need: verdict?.stableNeed)
    }

    private var panicAverage: String {
        average(averages?.panic, seconds: spec.panicWindowSeconds, need: verdict?.panicNeed)
    }

    private func average(_ value: Double?, seconds: Int, need: Int?) -> String {
        guard let value, let need else { return "no average is known" }
        let unit = spec.metric == .concurrency ? "requests in flight" : "requests a second"
        return "\(short(value)) \(unit) over \(seconds) s at \(short(spec.target.value)) a pod need \(pods(need))"
    }

    private func pods(_ count: Int) -> String { count == 1 ? "1 pod" : "\(count) pods" }

    /// At most two decimals.
    private func short(_ value: Double) -> String {
        let rounded = (value * 100).rounded() / 100
        return rounded == rounded.rounded() && abs(rounded) < 1e15 ? "\(Int(rounded))" : "\(rounded)"
    }
}
