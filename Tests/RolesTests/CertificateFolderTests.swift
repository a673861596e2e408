import Glibc
import TLS
import Testing

@testable import Roles

/// Which files of a folder make a pair, and what is said of those that do not.
@Suite struct CertificateFolderTests {
    private func bases(_ folder: Folder) -> [String] {
        (CertificateFolder(folder.path).read().sources ?? []).map { source in
            String(source.certificateFile.dropFirst(folder.path.utf8.count + 1).dropLast(4))
        }
    }

    private func problems(_ folder: Folder) -> [String] {
        let reading = CertificateFolder(folder.path).read()
        let loaded = CertificateSet.load(reading.sources ?? [], now: Fixture.now)
        return (reading.problems + loaded.problems).map { "\($0)".replacing(folder.path, with: "DIR") }
    }

    @Test func fileNamesPairAndCertificatesName() throws {
        let folder = Folder()
        folder.write("tls", try Fixture.pair(["fallback.test"]))
        folder.write("a.test", try Fixture.pair(["b.test", "*.c.test"]))
        folder.write("_wildcard.d.test", try Fixture.pair(["*.d.test"]))
        // None of these concern us.
        folder.write("ca.crt", [1])
        folder.write(".hidden.crt", [1])
        folder.write("readme.txt", [1])
        folder.make("..data")
        #expect(bases(folder) == ["_wildcard.d.test", "a.test", "tls"])
        #expect(problems(folder).isEmpty)
        let sources = try #require(CertificateFolder(folder.path + "//").read().sources)
        #expect(sources.map(\.isDefault) == [false, false, true])
        let set = CertificateSet.load(sources, now: Fixture.now).set
        #expect(set.hasName(for: "B.test") && set.hasName(for: "x.c.test") && set.hasName(for: "y.d.test"))
        #expect(!set.hasName(for: "a.test") && set.covers("a.test"), "the default serves it under another name")
    }

    @Test func everyProblemAtOnce() throws {
        let folder = Folder()
        let good = try Fixture.pair(["a.test"])
        folder.write("alone.crt", good.certificate)
        folder.write("bare.key", good.key)
        folder.write("empty.crt", [])
        folder.write("empty.key", good.key)
        folder.make("folder.crt")
        folder.write("folder.key", good.key)
        folder.link("link.crt", to: "nowhere")
        folder.write("link.key", good.key)
        folder.write("long.crt", good.certificate)
        folder.write("long.key", [UInt8](repeating: 0x41, count: CertificateFolder.fileLimit + 1))
        mkfifo(folder.at("pipe.crt"), 0o600)
        folder.write("pipe.key", good.key)
        folder.write("text.crt", Array("hello\n".utf8))
        folder.write("text.key", good.key)
        folder.write("z", PEMPair(certificate: good.certificate, key: try Fixture.pair(["a.test"]).key))
        #expect(
            problems(folder) == [
                "DIR/alone.crt: there is no DIR/alone.key that belongs to it; a pair is a certificate and its key",
                "DIR/bare.key: there is no DIR/bare.crt that belongs to it; a pair is a certificate and its key",
                "DIR/empty.crt: is empty; expected PEM text",
                "DIR/folder.crt: is not a file; expected PEM text",
                "DIR/link.crt: cannot be read: No such file or directory; does a link lead nowhere?",
                "DIR/long.key: is longer than 1048576 bytes",
                "DIR/pipe.crt: is not a file; expected PEM text",
                "DIR/text.crt: no certificate found; expected PEM blocks \"BEGIN CERTIFICATE\"",
                "DIR/z.key: the private key does not belong to the certificate in DIR/z.crt; replace both together, "
                    + "the server's own certificate first",
            ])
    }

    @Test func foldersWithoutPairs() {
        let folder = Folder()
        #expect(
            problems(folder) == ["DIR: holds no certificate; expected tls.crt with tls.key, or NAME.crt with NAME.key"])
        folder.write("ca.crt", [1])
        #expect(problems(folder).count == 1)
        let missing = CertificateFolder(folder.at("none")).read()
        #expect(missing.sources == nil)
        #expect(missing.problems.map(\.text) == ["cannot be read: No such file or directory"])
        let file = CertificateFolder(folder.at("ca.crt")).read()
        #expect(file.sources == nil && file.problems.map(\.text) == ["cannot be read: Not a directory"])
    }

    /// The folder itself, every folder with a link on the way, and where the files really are.
    @Test func watchesWhereChangesComeFrom() throws {
        let folder = Folder()
        for name in ["one", "two", "far", "live", "archive"] { folder.make(name) }
        folder.link("now", to: "one")
        folder.write("far/x", try Fixture.pair(["a.test"]))
        folder.link("one/tls.crt", to: "../far/x.crt")
        // As certbot has it, through a folder that is a link too.
        folder.link("archive/v", to: "../far")
        folder.link("live/a.crt", to: "../archive/v/x.crt")
        folder.link("two/tls.crt", to: folder.at("live/a.crt"))
        folder.link("two/loop.crt", to: "loop.crt")
        func inodes(_ names: [String]) -> Set<UInt64> {
            Set(
                names.map { name in
                    var status = stat()
                    return stat(folder.at(name), &status) == 0 ? UInt64(status.st_ino) : 0
                })
        }
        func watched(_ name: String) -> Set<UInt64> {
            Set(CertificateFolder(folder.at(name)).watched().map(\.inode))
        }
        #expect(watched("far") == inodes(["far"]))
        #expect(watched("now") == inodes(["", "now", "far"]))
        #expect(watched("two") == inodes(["two", "live", "archive", "far"]))
        let before = CertificateFolder(folder.at("now")).watched()
        folder.link("new", to: "two")
        folder.move("new", to: "now")
        #expect(CertificateFolder(folder.at("now")).watched() != before)
        #expect(watched("none").isEmpty)
    }
}
