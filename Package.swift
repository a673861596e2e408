// swift-tools-version: 6.2
import PackageDescription

// Settings of every Swift module. Exclusivity is proved by structure on the hot path (noncopyable structs in slabs), so
// release builds leave the dynamic check out (about 350 instructions a request); debug builds and tests keep it.
let settings: [SwiftSetting] = [
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))
]

/// Flags for the linker as they are, in this order.
func linkerFlags(_ flags: String...) -> LinkerSetting {
    .unsafeFlags(flags.flatMap { ["-Xlinker", $0] }, .when(configuration: .release))
}

/// A module of the map in Sources/README.md. `imports` may name lower levels only.
/// `pages` are texts about its states beside the code.
func module(_ name: String, imports: [Target.Dependency] = [], pages: [String] = []) -> Target {
    .target(name: name, dependencies: imports, exclude: pages, swiftSettings: settings)
}

func tests(of name: String, imports: [Target.Dependency] = []) -> Target {
    .testTarget(name: "\(name)Tests", dependencies: [.byName(name: name)] + imports)
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")

let package = Package(
    name: "martlet",
    products: [.executable(name: "martlet", targets: ["martlet"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // Level 0: the C side.
        .target(name: "CLinux"),
        .target(
            name: "COpenSSL",
            linkerSettings: [
                .linkedLibrary("ssl", .when(configuration: .debug)),
                .linkedLibrary("crypto", .when(configuration: .debug)),
                // Not as libraries: the driver would put those before what martlet-queue asks for.
                linkerFlags("-lssl", "-lcrypto"),
            ]),
        .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
        .systemLibrary(name: "CWslay", providers: [.apt(["libwslay-dev"])]),
        .systemLibrary(name: "CNGHTTP2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
        // Level 1
        module("Primitives"),
        // Level 2: pure
        module("HTTP", imports: ["Primitives"]),
        module("HTTP1", imports: ["HTTP", "Primitives"], pages: ["Lifecycle.md"]),
        module("HTTP2", imports: ["CNGHTTP2", "HTTP", "Primitives"], pages: ["Lifecycle.md"]),
        module("TLS", imports: ["COpenSSL", "Primitives"], pages: ["Lifecycle.md"]),
        module(
            "WebSocket", imports: ["CWslay", "COpenSSL", "HTTP", "HTTP1", "Primitives"], pages: ["Lifecycle.md"]),
        module("Routing", imports: ["HTTP", "Primitives"]),
        module("Balancing"),
        module("Admission", imports: ["Balancing"], pages: ["Lifecycle.md"]),
        module("Scaling", imports: ["Primitives"]),
        module("Telemetry", imports: ["Primitives"]),
        // Level 3: pure
        module("Knative", imports: ["CYAML", "Primitives"]),
        // Level 3: edge
        module("EventLoop", imports: ["CLinux", "Primitives"]),
        // Level 4: edge
        module(
            "DataPlane",
            imports: [
                "EventLoop", "HTTP", "HTTP1", "HTTP2", "TLS", "Routing", "Balancing", "Admission", "Telemetry",
                "Primitives",
            ],
            pages: ["Lifecycle.md"]),
        module("Probing", imports: ["EventLoop", "HTTP", "HTTP2", "TLS", "Primitives"]),
        module("Fetching", imports: ["EventLoop", "HTTP", "HTTP1", "TLS", "Primitives"]),
        module("ClusterLink", imports: ["Knative", "EventLoop", "Primitives", logging]),
        module(
            "StatChannel", imports: ["WebSocket", "EventLoop", "HTTP", "HTTP1", "Primitives"], pages: ["Lifecycle.md"]),
        // Level 5: edge
        module(
            "ControlPlane",
            imports: [
                "DataPlane", "EventLoop", "Knative", "Scaling", "Routing", "Balancing", "Admission", "Telemetry",
                "Primitives", logging,
            ]),
        module(
            "LocalPlatform", imports: ["EventLoop", "Probing", "Primitives", logging], pages: ["Lifecycle.md"]),
        module(
            "QueueProxy",
            imports: [
                "DataPlane", "Probing", "Fetching", "EventLoop", "HTTP", "HTTP1", "HTTP2", "TLS", "Routing",
                "Balancing", "Admission", "Telemetry", "Primitives",
            ]),
        module(
            "Autoscaler",
            imports: [
                "ClusterLink", "Fetching", "Knative", "Scaling", "Telemetry", "EventLoop", "HTTP", "HTTP1",
                "Primitives", logging,
            ]),
        module(
            "Activator",
            imports: [
                "ClusterLink", "DataPlane", "Fetching", "EventLoop", "HTTP", "HTTP1", "TLS", "Knative", "Routing",
                "Balancing", "Admission", "Scaling", "Telemetry", "Primitives", logging,
            ]),
        module(
            "Ingress",
            imports: [
                "ClusterLink", "DataPlane", "EventLoop", "Knative", "Routing", "Balancing", "Admission", "Primitives",
                logging,
            ]),
        // Level 6: compositions
        module(
            "Roles",
            imports: [
                "Activator", "Autoscaler", "ClusterLink", "StatChannel", "ControlPlane", "LocalPlatform", "Ingress",
                "QueueProxy", "Probing", "DataPlane", "EventLoop", "TLS", "Knative", "Scaling", "Balancing",
                "Telemetry",
                "Primitives", logging,
            ]),
        // Level 7
        .executableTarget(
            name: "martlet",
            dependencies: [
                "Roles", "Activator", "Ingress", "ClusterLink", "Knative", "EventLoop", "Telemetry", argumentParser,
                logging,
            ],
            swiftSettings: settings),
        // One starts with every pod: with libssl and libcrypto inside, the dynamic loader has a seventh of the work.
        .executableTarget(
            name: "martlet-queue", dependencies: ["QueueProxy", "EventLoop"], swiftSettings: settings,
            linkerSettings: [linkerFlags("--as-needed", "-Bstatic", "-lssl", "-lcrypto", "-Bdynamic")]),
        // Tests only
        module(
            "Simulation",
            imports: [
                "Activator", "Autoscaler", "ClusterLink", "Knative", "EventLoop", "Scaling", "Telemetry", "Admission",
                "Balancing", "Primitives", logging,
            ]),
        .target(name: "CTestProcess", path: "Tests/CTestProcess"),
        .target(name: "TestProcess", dependencies: ["CTestProcess"], path: "Tests/TestProcess"),
        .target(name: "HTTP2Wire", dependencies: ["CNGHTTP2"], path: "Tests/HTTP2Wire"),
        .target(name: "OTLPWire", path: "Tests/OTLPWire"),
        .executableTarget(name: "martlet-test-server", path: "Tests/TestServer", exclude: ["selfcheck.py"]),
        .executableTarget(
            name: "martlet-gate-cost", dependencies: ["Admission", "Balancing", "EventLoop"],
            path: "Benchmarks/GateCost", swiftSettings: settings),
        .executableTarget(
            name: "martlet-wake-cost",
            dependencies: ["Roles", "ControlPlane", "DataPlane", "Knative", "EventLoop", "Primitives", logging],
            path: "Benchmarks/WakeCost", swiftSettings: settings),
        tests(of: "Primitives"),
        tests(of: "HTTP1", imports: ["TestProcess", "HTTP", "Primitives"]),
        tests(of: "HTTP2", imports: ["TestProcess", "HTTP", "HTTP2Wire", "Primitives"]),
        tests(of: "TLS", imports: ["TestProcess", "COpenSSL", "Primitives"]),
        tests(of: "WebSocket", imports: ["HTTP", "HTTP1", "Primitives"]),
        tests(of: "Routing", imports: ["HTTP", "HTTP1", "Primitives"]),
        tests(of: "Admission", imports: ["Balancing", "Primitives"]),
        tests(of: "Scaling", imports: ["Primitives"]),
        tests(of: "Telemetry", imports: ["HTTP", "OTLPWire", "Primitives"]),
        tests(of: "Knative", imports: ["Scaling", "Primitives"]),
        tests(of: "EventLoop", imports: ["Primitives"]),
        tests(
            of: "DataPlane",
            imports: [
                "EventLoop", "HTTP", "HTTP1", "HTTP2", "HTTP2Wire", "TLS", "Routing", "Balancing", "Admission",
                "OTLPWire", "Telemetry", "Primitives",
            ]),
        tests(of: "ClusterLink", imports: ["Knative", "EventLoop", "Primitives", logging]),
        tests(
            of: "ControlPlane",
            imports: ["Admission", "DataPlane", "EventLoop", "Knative", "Primitives", logging]),
        tests(
            of: "Ingress",
            imports: [
                "ClusterLink", "DataPlane", "EventLoop", "Knative", "Routing", "Balancing", "Admission", "Primitives",
                logging,
            ]),
        tests(of: "Fetching", imports: ["EventLoop", "TLS", "Primitives"]),
        tests(of: "Probing", imports: ["EventLoop", "TLS", "Primitives"]),
        .testTarget(
            name: "StatChannelTests",
            dependencies: ["TestProcess", "StatChannel", "WebSocket", "Telemetry", "EventLoop", "Primitives"],
            exclude: ["Peers"]),
        tests(of: "LocalPlatform", imports: ["Probing", "EventLoop", "HTTP2", "Primitives"]),
        tests(
            of: "QueueProxy",
            imports: [
                "TestProcess", "martlet-queue", "DataPlane", "Probing", "EventLoop", "OTLPWire", "TLS", "Telemetry",
                "Primitives",
            ]),
        tests(
            of: "Autoscaler",
            imports: [
                "ClusterLink", "Fetching", "Knative", "Scaling", "Simulation", "Telemetry", "EventLoop", "HTTP",
                "Primitives", logging,
            ]),
        tests(
            of: "Activator",
            imports: [
                "TestProcess", "martlet", "Admission", "Balancing", "ClusterLink", "StatChannel", "DataPlane",
                "EventLoop", "Knative", "TLS", "Telemetry", "Primitives", logging,
            ]),
        tests(of: "Roles", imports: ["ClusterLink", "Knative", "TLS", "EventLoop", "Primitives", logging]),
        tests(of: "Simulation", imports: ["Admission", "Balancing", "Scaling", "Primitives"]),
        .testTarget(
            name: "IntegrationTests", dependencies: ["TestProcess", "martlet", "martlet-queue", "TLS"],
            exclude: ["Clients", "rotation_load.py"]),
        .testTarget(name: "TidyTests"),
    ]
)

/// Makes every target depend on all that stand below it, and not only on those it imports.
///
/// SwiftPM leaves a module as it is when a type has changed that reaches it through another module, and then both
/// disagree about the size of that type: memory is corrupted (Swift 6.3, incremental builds). What a module may import
/// is still what its own list says: TidyTests read it.
func dependOnAllBelow(_ package: Package) {
    var direct: [String: [Target.Dependency]] = [:]
    for target in package.targets { direct[target.name] = target.dependencies }
    func collect(_ dependencies: [Target.Dependency], into names: inout Set<String>) {
        for case .byNameItem(let name, _) in dependencies where direct[name] != nil && names.insert(name).inserted {
            collect(direct[name] ?? [], into: &names)
        }
    }
    for target in package.targets {
        var listed: Set<String> = [], all: Set<String> = []
        for case .byNameItem(let name, _) in target.dependencies { listed.insert(name) }
        collect(target.dependencies, into: &all)
        target.dependencies += all.subtracting(listed).sorted().map { .byName(name: $0) }
    }
}
dependOnAllBelow(package)
