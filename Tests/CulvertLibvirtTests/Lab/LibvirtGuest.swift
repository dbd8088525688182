import CulvertTestSupport
import Foundation
import Testing

/// A libvirt domain that checks its own memory, on its way from one host to the other.
struct LibvirtGuest: Sendable {
    let name: String
    let from: LabHost

    var to: LabHost { from.peer }

    /// Bytes that a guest works on, unless told otherwise: this much crosses at least when it moves.
    static let worked = 27 << 20

    /// Starts it, with options of `lab guest`, and waits until it has made two passes over its memory.
    static func start(_ name: String = "web1", on host: LabHost, _ options: [String]) async throws -> LibvirtGuest {
        let guest = try await make(name, on: host, options)
        try await guest.source.waitForPasses(2)
        try await guest.allowPause()
        return guest
    }

    static func start(_ name: String = "web1", on host: LabHost, _ options: String...) async throws -> LibvirtGuest {
        try await start(name, on: host, options)
    }

    /// Defines it, and does not start it.
    static func define(_ name: String = "web1", on host: LabHost, _ options: String...) async throws -> LibvirtGuest {
        try await make(name, on: host, ["--inactive"] + options)
    }

    private static func make(_ name: String, on host: LabHost, _ options: [String]) async throws -> LibvirtGuest {
        let guest = LibvirtGuest(name: name, from: host)
        for host in host.lab.hosts { try? FileManager.default.removeItem(atPath: guest.serial(host)) }
        try await host.lab.command(["guest", host.lab.path, host.name, name] + options).succeed()
        return guest
    }

    /// The way back of a guest that has arrived.
    func returning() async throws -> LibvirtGuest {
        try FileManager.default.removeItem(atPath: serial(from))
        let guest = LibvirtGuest(name: name, from: to)
        try await guest.allowPause()
        return guest
    }

    /// Has precopy come to an end on a busy machine too, which may never get all that the guest changes across within the
    /// 300 ms of QEMU's own choice; and yet not at the bandwidths of tests that want it to go on.
    private func allowPause() async throws {
        try await from.run("virsh", "qemu-monitor-command", name, "--hmp", "migrate_set_parameter downtime-limit 1000")
    }

    private func serial(_ host: LabHost) -> String { host.path("/var/log/libvirt/qemu/\(name).serial") }

    var source: GuestWatch { GuestWatch(serial: serial(from)) }
    var destination: GuestWatch { GuestWatch(serial: serial(to)) }

    // MARK: Moving

    func start(_ move: Move = Move(), by driver: Driver = .virsh) throws -> Migration {
        Migration(process: try from.start(driver.words(move, name, from: from)), guest: self)
    }

    /// Moves it, which must succeed.
    func move(_ move: Move = Move(), by driver: Driver = .virsh) async throws {
        try await start(move, by: driver).succeed()
    }

    // MARK: What became of it

    /// It has gone on at the destination where it stopped at the source, and its memory is whole.
    func expectMoved() async throws {
        try await waitUntil(limit: .seconds(60), "three passes at the destination: \(destination.text)") {
            destination.passes >= 3
        }
        #expect(source.fault == nil)
        #expect(destination.fault == nil)
        #expect(destination.continues(source), "\(source.text) then \(destination.text)")
        #expect(try await !from.running.contains(name))
    }

    /// It goes on at the source, and its memory is whole.
    func expectStayed() async throws {
        try await source.waitForPasses(3)
        #expect(source.fault == nil)
        #expect(destination.passes == 0)
        #expect(try await !to.running.contains(name))
    }

    /// Waits until libvirt says so of it there, with the reason: "running (post-copy)", say.
    func waitForState(_ state: String, on host: LabHost) async throws {
        try await waitUntil(limit: .seconds(60), "\(name) is \(state) on \(host.name)") { try await isInState(state, on: host) }
    }

    func isInState(_ state: String, on host: LabHost) async throws -> Bool {
        try await host.start(["virsh", "domstate", "--reason", name]).finished().hasPrefix(state)
    }

    /// Its disk, which only one host had, is now the same on both, byte for byte. It must not run any more.
    func expectSameDisks(_ format: String) async throws {
        let images = [from, to].map { image($0, format) }
        let log = try TemporaryDirectory()
        let comparison = try ChildProcess("qemu-img", ["compare", "-f", format, "-F", format] + images, output: log("log"))
        #expect(try await comparison.succeed().contains("identical"))
    }

    /// The file of its disk there.
    func image(_ host: LabHost, _ format: String) -> String { host.path("/var/lib/libvirt/images/\(name).\(format)") }

    /// Ends it wherever it is, and forgets its configuration.
    func remove() async throws {
        for host in [from, to] {
            guard let domain = try await host.domain(name) else { continue }
            if domain.isActive { try await host.run("virsh", "destroy", name) }
            if domain.isPersistent { try await host.run("virsh", "undefine", name) }
        }
    }
}

/// A migration under way.
struct Migration: Sendable {
    let process: ChildProcess
    let guest: LibvirtGuest

    func succeed() async throws { try await process.succeed(limit: .seconds(90)) }

    /// What the person sees when it fails.
    func failure() async throws -> String {
        let exit = try await process.waitForExit(limit: .seconds(60))
        #expect(exit == .code(1), "\(process.output)")
        return process.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Waits until some of the guest's memory is on the way.
    func waitUntilUnderWay() async throws {
        try await waitUntil("some memory is on the way: \(process.output)") {
            if let exit = process.exit { throw CommandFailed(exit: exit, output: process.output) }
            // Fails while it is being prepared.
            guard let information = try? await guest.from.run("virsh", "domjobinfo", guest.name) else { return false }
            return information.contains(/Memory processed: +[1-9][0-9.]* MiB/)
        }
    }
}
