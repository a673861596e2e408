import Primitives

/// A value while a line is written. Texts are windows on the record, on the program or on the scratch memory.
enum GoValue {
    case string(ByteView)
    case integer(Int64)
    case float(Double)
    case bool(Bool)
    /// All values of the header of that lower-case name; no name, no values.
    case strings(ByteView)
    /// The URL of the request, and the TLS of its connection, which is there.
    case url, tls
    /// A pointer to nothing: the TLS of a plain connection.
    case nilPointer

    /// What Go takes for true: what is neither zero nor empty.
    func isTrue(in record: RequestLogRecord) -> Bool {
        switch self {
        case .string(let text): !text.isEmpty
        case .integer(let value): value != 0
        case .float(let value): value != 0
        case .bool(let value): value
        case .strings(let name): !name.isEmpty && record.header(name) != nil
        case .url, .tls: true
        case .nilPointer: false
        }
    }

    /// Go's name of the type, for what `printf` cannot print.
    var typeName: StaticString {
        switch self {
        case .string: "string"
        case .integer: "int"
        case .float: "float64"
        case .bool: "bool"
        case .strings: "[]string"
        case .url: "*url.URL"
        case .tls, .nilPointer: "*tls.ConnectionState"
        }
    }

    var isString: Bool { if case .string = self { true } else { false } }
}

/// Why a line could not be written.
enum GoRenderFailure: Error {
    /// A field of `.Request.TLS` on a plain connection.
    case nilPointer
    /// There is no such value in a list.
    case indexOutOfRange
    /// Values of different kinds met, which only the record could tell.
    case incomparable
    /// More text on the way than the scratch memory takes.
    case tooLong
}

extension GoField {
    /// Whether it is a text as it stands in the record.
    var isText: Bool {
        switch self {
        case .method, .requestURI, .rawQuery, .urlHost, .scheme, .proto, .host, .remoteAddr, .userAgent, .referer,
            .name,
            .namespace, .service, .configuration, .podName, .podIP, .traceID:
            true
        case .url, .path, .protoMajor, .protoMinor, .contentLength, .tls, .tlsVersion, .tlsCipherSuite, .tlsServerName,
            .tlsProtocol, .code, .size, .latency:
            false
        }
    }

    /// The text of a field for which `isText` holds.
    func text(in record: RequestLogRecord) -> ByteView {
        assert(isText)
        switch self {
        case .method: return record.method
        case .requestURI: return record.requestURI
        case .rawQuery: return RequestTarget(record.requestURI).query
        case .urlHost: return RequestTarget(record.requestURI).host
        case .scheme: return RequestTarget(record.requestURI).scheme
        case .proto: return record.protocolName
        case .host: return record.host
        case .remoteAddr: return record.remoteAddress
        case .userAgent: return record.header(ByteView("user-agent")) ?? .empty
        case .referer: return record.header(ByteView("referer")) ?? .empty
        case .name: return record.revision.name
        case .namespace: return record.revision.namespace
        case .service: return record.revision.service
        case .configuration: return record.revision.configuration
        case .podName: return record.revision.podName
        case .podIP: return record.revision.podIP
        case .traceID: return record.traceID
        case .url, .path, .protoMajor, .protoMinor, .contentLength, .tls, .tlsVersion, .tlsCipherSuite, .tlsServerName,
            .tlsProtocol, .code, .size, .latency:
            return .empty
        }
    }

    /// The value. Only a path is decoded into `scratch`.
    func value(
        in record: RequestLogRecord, scratch: inout ByteWriter
    ) throws(GoRenderFailure) -> GoValue {
        switch self {
        case .url: return .url
        case .path:
            let start = scratch.count
            scratch.append(decoding: RequestTarget(record.requestURI).path)
            guard !scratch.overflowed else { throw .tooLong }
            return .string(scratch.written.dropping(first: start))
        case .protoMajor, .protoMinor: return .integer(version(in: record))
        case .contentLength: return .integer(record.contentLength)
        case .tls: return record.tls == nil ? .nilPointer : .tls
        case .tlsVersion, .tlsCipherSuite, .tlsServerName, .tlsProtocol:
            guard let tls = record.tls else { throw .nilPointer }
            switch self {
            case .tlsVersion: return .integer(Int64(tls.version))
            case .tlsCipherSuite: return .integer(Int64(tls.cipherSuite))
            case _: return .string(self == .tlsServerName ? tls.serverName : tls.negotiatedProtocol)
            }
        case .code: return .integer(Int64(record.status))
        case .size: return .integer(Int64(clamping: record.responseBytes))
        case .latency: return .float(record.latencySeconds)
        case _: return .string(text(in: record))
        }
    }

    /// A digit of `HTTP/1.1`.
    private func version(in record: RequestLogRecord) -> Int64 {
        let place = self == .protoMajor ? 5 : 7
        guard place < record.protocolName.count else { return 0 }
        let byte = record.protocolName[place]
        return ASCII.isDigit(byte) ? Int64(byte - 0x30) : 0
    }
}
