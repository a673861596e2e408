import TLS
import Telemetry

/// Says in time that certificates end: from two weeks before, once a day each.
///
/// Pure: it is handed the certificates and the time, in seconds since 1970.
struct ExpiryReminder {
    /// How long before the end it begins, in seconds: 14 days.
    static let noticeSeconds: Int64 = 14 * 86_400
    /// The least time between two reminders of the same certificate, in seconds: a day.
    static let periodSeconds: Int64 = 86_400

    /// One certificate that ends soon, or has ended.
    struct Reminder: Equatable, Sendable {
        let file: String
        let expiresAt: Int64
        /// Whole days that are left; nil when it has ended.
        let daysLeft: Int64?
    }

    private var told: [String: (expiresAt: Int64, at: Int64)] = [:]

    /// What is to be said now.
    mutating func due(_ served: [CertificateSet.Served], now: Int64) -> [Reminder] {
        let ending = served.filter { $0.expiresAt - now < Self.noticeSeconds }
        let files = Set(ending.map(\.file))
        told = told.filter { files.contains($0.key) }
        return ending.compactMap { item in
            if let last = told[item.file], last.expiresAt == item.expiresAt, now - last.at < Self.periodSeconds {
                return nil
            }
            told[item.file] = (item.expiresAt, now)
            let left = item.expiresAt - now
            return Reminder(file: item.file, expiresAt: item.expiresAt, daysLeft: left < 0 ? nil : left / 86_400)
        }
    }
}

/// A time as people read it: "2026-01-31 23:59:59 UTC".
func utcText(_ seconds: Int64) -> String {
    let time = CivilTime(unixSeconds: UInt64(max(0, seconds)))
    return "\(time.dayText) \(time.clockText) UTC"
}
