// swift-tools-version:6.2
import PackageDescription

// The protocol core under libFuzzer; `make fuzz` in the repository's root runs it. Sources are links, so that nothing else
// is built and all of the core is instrumented.
let settings: [SwiftSetting] = [
    .treatAllWarnings(as: .error), .unsafeFlags(["-sanitize=fuzzer,address", "-enable-testing"]),
]
let linking: [LinkerSetting] = [.unsafeFlags(["-sanitize=fuzzer,address", "-use-ld=lld"])]

let package = Package(
    name: "culvert-fuzz",
    targets: [
        .target(name: "CulvertProtocol", swiftSettings: settings),
        .target(name: "Fuzzing", swiftSettings: settings),
        .executableTarget(
            name: "FuzzDecoder", dependencies: ["CulvertProtocol", "Fuzzing"], swiftSettings: settings, linkerSettings: linking),
        .executableTarget(
            name: "FuzzSessions", dependencies: ["CulvertProtocol", "Fuzzing"], swiftSettings: settings, linkerSettings: linking),
    ],
    swiftLanguageModes: [.v6]
)
