// swift-tools-version:6.2
import PackageDescription

let settings: [SwiftSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
    name: "culvert",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swhitty/FlyingFox", from: "0.27.1"),
    ],
    targets: [
        // C: system calls that Glibc's module lacks, a library that is loaded if it is there, and the system libraries.
        .target(name: "CLinux", cSettings: [.define("CULVERT_FAULTS", .when(configuration: .debug))]),
        .target(name: "CIPSecMB"),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CGnuTLS", pkgConfig: "gnutls", providers: [.apt(["libgnutls28-dev"])]),

        // The four layers that know nothing of each other.
        .target(name: "CulvertProtocol", swiftSettings: settings),
        .target(name: "CulvertIO", dependencies: ["CLinux"], swiftSettings: settings),
        .target(name: "CulvertCompression", dependencies: ["CLZ4"], swiftSettings: settings),
        .target(name: "CulvertTLS", dependencies: ["COpenSSL", "CGnuTLS", "CIPSecMB"], swiftSettings: settings),

        // What binds them.
        .target(
            name: "CulvertRelay",
            dependencies: [
                "CulvertProtocol", "CulvertIO", "CulvertTLS", "CulvertCompression",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .target(name: "CulvertHypervisor", dependencies: ["CulvertIO", "CLinux"], swiftSettings: settings),
        .target(
            name: "CulvertDaemon",
            dependencies: [
                "CulvertRelay", "CulvertHypervisor", "CLinux", "Yams",
                .product(name: "FlyingFox", package: "FlyingFox"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "culvert",
            dependencies: [
                "BenchSockets", "CulvertBench", "CulvertDaemon", "CulvertHypervisor", "CulvertCompression", "CulvertTLS",
                "CLinux",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: settings),

        // What Culvert is measured with; see bench/README.md.
        .target(
            name: "BenchSockets", dependencies: ["CulvertIO", "CLinux"], path: "bench/sockets",
            swiftSettings: settings),
        .target(
            name: "CulvertBench",
            dependencies: [
                "BenchSockets", "CulvertDaemon", "CulvertRelay", "CulvertProtocol", "CulvertCompression", "CulvertIO", "CulvertTLS",
            ],
            swiftSettings: settings),
        .executableTarget(
            name: "culvert-load",
            dependencies: ["BenchSockets", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            path: "bench/load", swiftSettings: settings),
        .executableTarget(
            name: "culvert-floor",
            dependencies: [
                "BenchSockets", "COpenSSL", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "bench/floor", swiftSettings: settings),
        .executableTarget(
            name: "culvert-engines",
            dependencies: [
                "CulvertBench", "CulvertTLS", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "bench/engines", swiftSettings: settings),

        // Processes, guests and waits for tests that use real parts.
        .target(name: "CulvertTestSupport", path: "Tests/CulvertTestSupport", swiftSettings: settings),
        .testTarget(
            name: "CulvertProtocolTests", dependencies: ["CulvertProtocol"], exclude: ["Vectors"],
            swiftSettings: settings),
        .testTarget(
            name: "CulvertCompressionTests", dependencies: ["CulvertCompression"], swiftSettings: settings),
        .testTarget(name: "CulvertIOTests", dependencies: ["CulvertIO"], swiftSettings: settings),
        .testTarget(name: "CulvertTLSTests", dependencies: ["CulvertTLS", "CIPSecMB"], swiftSettings: settings),
        .testTarget(name: "CulvertRelayTests", dependencies: ["CulvertRelay"], swiftSettings: settings),
        .testTarget(
            name: "CulvertHypervisorTests", dependencies: ["CulvertHypervisor", "CulvertTestSupport"],
            swiftSettings: settings),
        // The `culvert` executable and real QEMUs.
        .testTarget(
            name: "CulvertEndToEndTests",
            dependencies: ["culvert", "CulvertDaemon", "CulvertHypervisor", "CulvertTLS", "CulvertTestSupport"],
            swiftSettings: settings),
        // Unmodified libvirt daemons on two hosts; see packaging/lab.
        .testTarget(
            name: "CulvertLibvirtTests", dependencies: ["culvert", "CulvertDaemon", "CulvertTestSupport"],
            swiftSettings: settings),
        .testTarget(
            name: "CulvertBenchTests", dependencies: ["culvert", "CulvertBench", "BenchSockets", "CulvertTestSupport"],
            swiftSettings: settings),
        .testTarget(name: "CulvertDaemonTests", dependencies: ["CulvertDaemon"], swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)
