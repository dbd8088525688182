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
    ///   - memory: RAM in MiB.
    ///   - incoming: waits for a guest (`-incoming defer`) instead of starting one.
    public static func start(
        _ name: String, in directory: TemporaryDirectory, image: GuestImage, memory: Int = 64, incoming: Bool = false,
        arguments: [String] = []
    ) async throws -> QEMUProcess {
        let qemu = try QEMUProcess(name, directory, image, memory, (incoming ? ["-incoming", "defer"] : []) + arguments)
        try await waitUntil("\(name) listens for QMP; it wrote: \(qemu.process.output)") {
            if qemu.process.exit != nil { throw TimedOut(description: "\(name) ended: \(qemu.process.output)") }
            return isListening(qemu.qmpPath)
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

/// True if a UNIX socket listens at `path`. Connecting would tell too, but QEMU takes one QMP client at a time.
public func isListening(_ path: String) -> Bool {
    // Of proc(5)'s columns the fourth has the flags, with __SO_ACCEPTCON (0x10000) for a listener, the last the path.
    let table = (try? String(contentsOfFile: "/proc/net/unix", encoding: .utf8)) ?? ""
    return table.split(separator: "\n").contains { line in
        let columns = line.split(separator: " ")
        return columns.count == 8 && columns[3] == "00010000" && columns[7] == path
    }
}
