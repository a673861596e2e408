import Primitives

/// A template of the request log: the documented part of Go's `text/template`, parsed once into a small program.
///
/// There are: text, `{{- -}}`, comments, pipelines, parentheses, constants, variables, `if`, `else if`, `with`, the
/// fields of `.Request`, `.Response`, `.Revision` and `.TraceID` that a queue-proxy has, `.Request.Header.Get "X"`, and
/// the functions and or not eq ne lt le gt ge len index print println printf js html urlquery. What Go has beyond that
/// (`range`, `define`, ...) is refused by name when the template is read, as is a field that does not exist; in Go the
/// latter would spoil each line instead.
public struct GoTemplate: Sendable {
    /// Most bytes of a template.
    public static let sourceLimit = 65_536
    /// How deep parentheses and `if` may nest.
    public static let depthLimit = 64
    /// Most values in one action, constants and arguments included.
    public static let operandLimit = 64
    /// Knative's own template (`serving/pkg/observability/config.go`).
    public static let knativeDefault = """
        {"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", \
        "requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, \
        "responseSize": "{{.Response.Size}}", "userAgent": "{{js .Request.UserAgent}}", \
        "remoteIp": "{{js .Request.RemoteAddr}}", "serverIp": "{{.Revision.PodIP}}", \
        "referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", \
        "protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}"}
        """

    /// One thing that is wrong with a template.
    public struct Problem: Error, Equatable, Sendable, CustomStringConvertible {
        /// Line, from 1.
        public let line: Int
        /// Column in bytes, from 1.
        public let column: Int
        /// What is wrong, and what is allowed instead.
        public let message: String

        /// `line:column: message`.
        public var description: String { "\(line):\(column): \(message)" }
    }

    /// All that is wrong with a template.
    public struct Failure: Error, Sendable, CustomStringConvertible {
        /// In the order of the template; never empty.
        public let problems: [Problem]

        /// A line for each problem.
        public var description: String {
            problems.map { "request log template: \($0)" }.joined(separator: "\n")
        }
    }

    /// A step of the program. Texts are ranges of `pool`.
    enum Instruction {
        case text(offset: Int32, count: Int32)
        case pushText(offset: Int32, count: Int32)
        case pushInteger(Int64), pushFloat(Double), pushBool(Bool)
        case pushField(GoField)
        /// The first value of a header, or an empty text.
        case pushHeader(offset: Int32, count: Int32)
        /// All values of a header.
        case pushHeaders(offset: Int32, count: Int32)
        case load(Int32), store(Int32)
        /// Takes `count` values and leaves one. If `isPiped`, the first of them is the last argument.
        case call(GoFunction, count: Int32, isPiped: Bool)
        case write
        /// The two most frequent actions in one step each.
        case writeField(GoField), writeEscapedField(GoField)
        case jump(Int32)
        /// Takes a value.
        case jumpUnless(Int32)
        /// Keep the value and jump, or take it and go on: `and`, `or`.
        case jumpIfFalse(Int32), jumpIfTrue(Int32)
    }

    let code: [Instruction]
    let pool: [UInt8]
    /// How many values the program holds at once at most.
    let stackDepth: Int
    let variableCount: Int
    /// Whether texts are built on the way, which needs memory.
    let needsScratch: Bool
    /// Lower-case names of the headers the template may ask for, each once.
    public let headerNames: [String]

    /// Reads a template.
    ///
    /// A line feed is added at its end if there is none, as Knative does. An empty template means no log: do not read
    /// it.
    /// - Throws: everything that is wrong with it, with places.
    public init(_ source: String) throws(Failure) {
        var bytes = Array(source.utf8)
        guard bytes.count <= GoTemplate.sourceLimit else {
            let message = "\(bytes.count) bytes; at most \(GoTemplate.sourceLimit) are allowed"
            throw Failure(problems: [Problem(line: 1, column: 1, message: message)])
        }
        if bytes.last != ASCII.lf { bytes.append(ASCII.lf) }
        var compiler = GoTemplateCompiler(bytes)
        do throws(Problem) {
            try compiler.compile()
        } catch {
            compiler.problems.append(error)
        }
        guard compiler.problems.isEmpty else { throw Failure(problems: compiler.problems) }
        code = compiler.code
        pool = compiler.pool
        stackDepth = compiler.deepest
        variableCount = compiler.slots
        needsScratch = compiler.code.contains {
            switch $0 {
            case .call, .pushField(.path): true
            case _: false
            }
        }
        headerNames = compiler.headerNames.sorted()
    }
}

/// A value that can be had from the record.
enum GoField: UInt8 {
    case method, requestURI, url, path, rawQuery, urlHost, scheme, proto, protoMajor, protoMinor, host, remoteAddr
    case contentLength, userAgent, referer, tls, tlsVersion, tlsCipherSuite, tlsServerName, tlsProtocol
    case code, size, latency, name, namespace, service, configuration, podName, podIP, traceID

    /// Lower-case names of the headers it is taken from.
    var headerNames: [String] {
        switch self {
        case .userAgent: ["user-agent"]
        case .referer: ["referer"]
        case .traceID: ["traceparent", "x-b3-traceid"]
        case _: []
        }
    }
}

/// A function of the language.
enum GoFunction: String {
    case and, or, not, eq, ne, lt, le, gt, ge, len, index, sprint = "print", println, printf, js, html, urlquery
}

/// What is known of a value when the template is read. Those of the first line are never values, only ways to fields.
enum GoType {
    case root, request, response, revision, header
    case url, tls, string, integer, float, bool, strings, unknown

    var isStructure: Bool {
        switch self {
        case .root, .request, .response, .revision, .header: true
        case .url, .tls, .string, .integer, .float, .bool, .strings, .unknown: false
        }
    }

    /// Go's name of it, for messages.
    var name: String {
        switch self {
        case .root: "http.RequestLogTemplateInput"
        case .request: "*http.Request"
        case .response: "*http.RequestLogResponse"
        case .revision: "*http.RequestLogRevision"
        case .header: "http.Header"
        case .url: "*url.URL"
        case .tls: "*tls.ConnectionState"
        case .string: "string"
        case .integer: "int"
        case .float: "float64"
        case .bool: "bool"
        case .strings: "[]string"
        case .unknown: "value"
        }
    }

    /// What a field of this type is: a way on, or a value.
    enum Member {
        case structure(GoType)
        case value(GoField, GoType)
        /// Takes the constant name of a header.
        case headerMethod(isList: Bool)
    }

    static let members: [String: [String: Member]] = [
        GoType.root.name: [
            "Request": .structure(.request), "Response": .structure(.response), "Revision": .structure(.revision),
            "TraceID": .value(.traceID, .string),
        ],
        GoType.request.name: [
            "Method": .value(.method, .string), "RequestURI": .value(.requestURI, .string), "URL": .value(.url, .url),
            "Proto": .value(.proto, .string), "ProtoMajor": .value(.protoMajor, .integer),
            "ProtoMinor": .value(.protoMinor, .integer), "Host": .value(.host, .string),
            "RemoteAddr": .value(.remoteAddr, .string), "ContentLength": .value(.contentLength, .integer),
            "UserAgent": .value(.userAgent, .string), "Referer": .value(.referer, .string), "TLS": .value(.tls, .tls),
            "Header": .structure(.header),
        ],
        GoType.response.name: [
            "Code": .value(.code, .integer), "Size": .value(.size, .integer), "Latency": .value(.latency, .float),
        ],
        GoType.revision.name: [
            "Name": .value(.name, .string), "Namespace": .value(.namespace, .string),
            "Service": .value(.service, .string), "Configuration": .value(.configuration, .string),
            "PodName": .value(.podName, .string), "PodIP": .value(.podIP, .string),
        ],
        GoType.header.name: ["Get": .headerMethod(isList: false), "Values": .headerMethod(isList: true)],
        GoType.url.name: [
            "Path": .value(.path, .string), "RawQuery": .value(.rawQuery, .string), "Host": .value(.urlHost, .string),
            "Scheme": .value(.scheme, .string), "String": .value(.url, .url),
        ],
        GoType.tls.name: [
            "Version": .value(.tlsVersion, .integer), "CipherSuite": .value(.tlsCipherSuite, .integer),
            "ServerName": .value(.tlsServerName, .string), "NegotiatedProtocol": .value(.tlsProtocol, .string),
        ],
    ]
}
