import Glibc
import TLS

@testable import Roles

/// Certificates for tests, and folders to put them in.
enum Fixture {
    /// A fixed time for what takes it as an argument: 2026-01-01.
    static let now: Int64 = 1_767_225_600

    static func authority(_ domains: [String] = [], at now: Int64 = now, days: Int64 = 3650) throws -> LocalAuthority {
        try LocalAuthority.create(commonName: "Test CA", onlyBelow: domains, days: days, now: now)
    }

    /// A pair for `names`, signed by an authority of its own.
    static func pair(_ names: [String], at now: Int64 = now, days: Int64 = 90) throws -> PEMPair {
        try authority(at: now).issue(names: names, days: days, now: now)
    }

    static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}

/// A folder of one test, removed with it.
final class Folder {
    let path: String

    init() {
        var template = Array("/tmp/martlet-roles-XXXXXX".utf8CString)
        path = mkdtemp(&template) == nil ? "" : Fixture.text(template.dropLast().map { UInt8(bitPattern: $0) })
    }

    deinit { remove("") }

    /// Where `name` is.
    func at(_ name: String) -> String { name.isEmpty ? path : "\(path)/\(name)" }

    func write(_ name: String, _ bytes: [UInt8]) {
        let fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        if !bytes.isEmpty { _ = Glibc.write(fd, bytes, bytes.count) }
        close(fd)
    }

    func write(_ base: String, _ pair: PEMPair) {
        write(base + ".crt", pair.certificate)
        write(base + ".key", pair.key)
    }

    func make(_ name: String) { mkdir(at(name), 0o700) }

    func link(_ name: String, to target: String) { symlink(target, at(name)) }

    func move(_ old: String, to new: String) { rename(at(old), at(new)) }

    func names(_ name: String = "") -> [String] {
        guard let folder = opendir(at(name)) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { place in
                place.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    func mode(_ name: String) -> UInt32 {
        var status = stat()
        return lstat(at(name), &status) == 0 ? status.st_mode & 0o777 : 0
    }

    /// Removes a file, or a folder with what is in it.
    func remove(_ name: String) {
        if unlink(at(name)) == 0 { return }
        for inside in names(name) { remove(name.isEmpty ? inside : "\(name)/\(inside)") }
        rmdir(at(name))
    }
}
