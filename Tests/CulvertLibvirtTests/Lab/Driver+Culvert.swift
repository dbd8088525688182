import CulvertDaemon

extension Driver {
    func culvert(_ move: Move, _ guest: String, from source: LabHost) -> [String] {
        var words = ["culvert", "migrate", "libvirt", guest, source.peerName]
        switch move.flow {
        case .direct: words += ["--direct"]
        case .peerToPeer: words += ["--p2p"]
        case .tunnelled: words += ["--tunnelled"]
        }
        if move.legs == .tcp { words += ["--migrate-service", "migrate-tcp", "--disks-service", "disks-tcp"] }
        if move.offline { words += ["--offline"] }
        if let connections = move.connections { words += ["--parallel", String(connections)] }
        if move.resumes {
            words += ["--postcopy-resume"]
        } else if move.postcopy {
            // When the test wants it.
            words += ["--postcopy", "--postcopy-after", "1000000"]
        }
        if let storage = move.storage { words += ["--copy-storage", storage.rawValue] }
        if move.persistent { words += ["--persistent"] }
        if move.undefineSource { words += ["--undefine-source"] }
        if let bandwidth = move.bandwidth { words += ["--bandwidth", "\(bandwidth)MiB/s"] }
        return words + (move.others.isEmpty ? [] : ["--"] + move.others)
    }
}

extension LabHost {
    /// Closes what a command has had the relay open. If the command was killed, that takes a minute by itself.
    func closeForwards() async throws {
        for forward in try status.forwards where forward.origin == "admin" {
            try await run("culvert", "forward", "remove", forward.id)
        }
    }
}
