import Foundation

/// The self-verifying guest of Tests/Guest, assembled.
public struct GuestImage: Sendable {
    public let path: String

    /// - Parameters:
    ///   - memory: MiB that the guest works on from the first, at least 4 below its RAM.
    ///   - pause: ticks of 10 ms between its passes.
    public static func make(in directory: TemporaryDirectory, memory: Int, pause: Int) async throws -> GuestImage {
        let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Guest/build").path
        let image = directory("guest-\(UUID().uuidString).img")
        let build = try ChildProcess(script, [image, String(memory), String(pause)], output: image + ".log")
        guard try await build.waitForExit() == .code(0) else { throw GuestImageError(description: build.output) }
        return GuestImage(path: image)
    }
}

public struct GuestImageError: Error, CustomStringConvertible {
    public let description: String
}
