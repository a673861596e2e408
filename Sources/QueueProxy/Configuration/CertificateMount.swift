import Glibc

/// The certificate that Knative mounts into the sidecar if it encrypts inside the cluster.
public enum CertificateMount {
    /// File of the chain, in PEM.
    public static let certificateName = "tls.crt"
    /// File of the key, in PEM.
    public static let keyName = "tls.key"

    /// Whether both files are in `directory`. What cannot be looked at is not there.
    public static func exists(in directory: String) -> Bool {
        [certificateName, keyName].allSatisfy { name in
            var status = stat()
            return stat("\(directory)/\(name)", &status) == 0
        }
    }
}
