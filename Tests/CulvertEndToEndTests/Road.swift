import CulvertHypervisor
import CulvertTestSupport
import Foundation
import Glibc
import Testing

/// Two hosts with a session between their relays.
struct Road {
    let hosta: Host
    let hostb: Host
    /// Where the TCP service `stream` of hostb leads.
    let tcpPort: UInt16

    static func open() async throws -> Road {
        let credentials = try TemporaryDirectory()
        try writeCredentials(into: credentials, for: ["hosta", "hostb"])
        let port = try freePort()
        let hostb = try await Host.start("hostb", peer: "hosta", credentials: credentials, address: nil, tcpService: port)
        let address = try #require(hostb.status.listen.first)
        let hosta = try await Host.start("hosta", peer: "hostb", credentials: credentials, address: address, tcpService: port)
        try await waitUntil("a session between the relays; \(hosta.relay.output)") {
            try hosta.status.peers.first?.sessions.isEmpty == false
        }
        return Road(hosta: hosta, hostb: hostb, tcpPort: port)
    }

    /// A port that nobody has at this moment.
    private static func freePort() throws -> UInt16 {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(fd) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(fd, address, length) == 0 ? getsockname(fd, address, &length) : -1
            }
        }
        guard status == 0 else { throw SystemError("bind") }
        return UInt16(bigEndian: address.sin_port)
    }
}

/// A guest on its way over a road: a QEMU that has it and one that waits for it.
struct Traveller {
    let name: String
    let from: Host
    let to: Host
    let source: QEMUProcess
    let destination: QEMUProcess

    /// MiB of RAM.
    private static let memory = 64

    /// `worked` is up to which MiB the guest uses its memory, `pause` how many ticks of 10 ms it sleeps between passes; for
    /// `idle` see `QEMUProcess.start`.
    static func start(
        _ name: String, from: Host, to: Host, incoming: Bool = true, worked: Int = 60, pause: Int = 10, idle: Int = 0,
        limit: Duration = .seconds(30)
    ) async throws -> Traveller {
        let image = try await GuestImage.make(in: from.directory, memory: worked, pause: pause)
        let source = try await QEMUProcess.start(
            name, in: from.directory, image: image, memory: memory, idle: idle, limit: limit,
            arguments: ["-monitor", "unix:\(from.directory("\(name).monitor")),server=on,wait=off"])
        let destination = try await QEMUProcess.start(
            name, in: to.directory, image: image, memory: memory, idle: idle, incoming: incoming, limit: limit)
        try await source.guest.waitForPasses(2, limit: limit)
        return Traveller(name: name, from: from, to: to, source: source, destination: destination)
    }

    /// The way back for a guest that has arrived, to a new QEMU.
    func returning(_ name: String) async throws -> Traveller {
        let image = try await GuestImage.make(in: from.directory, memory: 60, pause: 10)
        let waiting = try await QEMUProcess.start(name, in: from.directory, image: image, memory: Self.memory, incoming: true)
        return Traveller(name: name, from: to, to: from, source: destination, destination: waiting)
    }

    func migrate(_ options: [String] = []) throws -> MigrateCommand {
        try MigrateCommand(
            ["--source", "unix:\(source.qmpPath)", "--destination", "\(to.name)/qmp/\(name)"] + options, on: from)
    }

    /// Gives the source QEMU a command of the human monitor.
    func tell(_ command: String) throws {
        let monitor = try StreamSocket.connect(unix: from.directory("\(name).monitor"))
        try monitor.write(Array("\(command)\n".utf8))
        // It prompts when it is ready, and again when it has done it.
        var said = ""
        while said.components(separatedBy: "(qemu) ").count < 3 {
            let bytes = try monitor.read()
            guard !bytes.isEmpty else { throw TimedOut(description: "the monitor of \(name) ended: \(said)") }
            said += String(decoding: bytes, as: UTF8.self)
        }
    }

    /// The guest has gone on at the destination where it stopped at the source, its memory is whole, and nothing is left.
    func expectMoved() async throws {
        try await destination.guest.waitForPasses(3, limit: .seconds(60))
        #expect(source.guest.fault == nil)
        #expect(destination.guest.fault == nil)
        #expect(destination.guest.continues(source.guest), "\(source.guest.text) then \(destination.guest.text)")
    }

    /// The guest goes on at the source, and its memory is whole.
    func expectStayed() async throws {
        try await source.guest.waitForPasses(3)
        #expect(source.guest.fault == nil)
        #expect(destination.guest.passes == 0)
    }
}
