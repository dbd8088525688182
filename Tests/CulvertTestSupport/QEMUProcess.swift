import Foundation
import Glibc

/// A QEMU that runs the self-verifying guest under emulation, killed and reaped with its object.
public final class QEMUProcess: Sendable {
    public let process: ChildProcess
    public let qmpPath: String
    public let guest: GuestWatch

    /// Starts it and waits until its QMP socket listens.
    ///
    /// - Parameters:
    ///   - name: of its files in `directory`.
    ///   - memory: RAM in MiB, as much as the guest of `image` knows of.
    ///   - idle: MiB of RAM beyond that, full of what the guest never asks for: in post-copy they come no faster than the
    ///     source sends them by itself.
    ///   - incoming: waits for a guest (`-incoming defer`) instead of starting one.
    public static func start(
        _ name: String, in directory: TemporaryDirectory, image: GuestImage, memory: Int = 64, idle: Int = 0,
        incoming: Bool = false, limit: Duration = .seconds(30), arguments: [String] = []
    ) async throws -> QEMUProcess {
        var options = (incoming ? ["-incoming", "defer"] : []) + arguments
        if idle > 0, !incoming {
            let filler = directory("\(name).filler")
            try Data(repeating: 0x5a, count: idle << 20).write(to: URL(filePath: filler))
            options += ["-device", "loader,file=\(filler),force-raw=on,addr=\(memory << 20)"]
        }
        // The firmware keeps its tables in the last MiB.
        let qemu = try QEMUProcess(name, directory, image, idle > 0 ? memory + idle + 8 : memory, options)
        try await waitUntil(limit: limit, "\(name) listens for QMP; it wrote: \(qemu.process.output)") {
            if qemu.process.exit != nil { throw TimedOut(description: "\(name) ended: \(qemu.process.output)") }
            // Leaves at once: QEMU takes one QMP client at a time.
            return (try? StreamSocket.connect(unix: qemu.qmpPath)) != nil
        }
        return qemu
    }

    private init(
        _ name: String, _ directory: TemporaryDirectory, _ image: GuestImage, _ memory: Int, _ arguments: [String]
    ) throws {
        qmpPath = directory("\(name).qmp")
        guest = GuestWatch(serial: directory("\(name).serial"))
        process = try ChildProcess(
            "qemu-system-x86_64",
            [
                "-name", name, "-accel", "tcg", "-m", String(memory), "-nodefaults", "-display", "none",
                "-serial", "file:\(guest.path)", "-qmp", "unix:\(qmpPath),server=on,wait=off",
                "-drive", "if=floppy,format=raw,readonly=on,file=\(image.path)", "-boot", "a",
            ] + arguments,
            output: directory("\(name).log"))
    }

    public func kill() { process.kill() }
}
