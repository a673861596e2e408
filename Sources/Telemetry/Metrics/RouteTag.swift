import Primitives

/// The route tag of a request, from two headers that the gateway sets.
///
/// Source: Knative `serving/pkg/queue/routetag_handler.go`.
public enum RouteTag {
    /// The value of `kn.route.tag`. A window on `tag` or a literal.
    ///
    /// - Parameters:
    ///   - tag: value of `Knative-Serving-Tag`, empty if absent.
    ///   - defaultRoute: value of `Knative-Serving-Default-Route`, empty if absent.
    public static func name(tag: ByteView, defaultRoute: ByteView) -> ByteView {
        guard tag.isEmpty else { return defaultRoute.equals("true") ? ByteView("kn:undefined") : tag }
        return ByteView(defaultRoute.isEmpty ? "kn:disabled" : "kn:default")
    }

    /// The same in the words of Knative until 1.18: `DEFAULT`, `UNDEFINED`, `DISABLED`, or the tag.
    static func legacyName(_ name: String) -> String {
        switch name {
        case "kn:undefined": "UNDEFINED"
        case "kn:disabled": "DISABLED"
        case "kn:default": "DEFAULT"
        case _: name
        }
    }
}
