import CulvertIO

extension LibvirtPlan {
    /// The ways that have been opened for a migration.
    struct Route: Sendable, Equatable {
        /// The local socket that leads to the destination's daemon.
        var control: Endpoint
        /// Where the destination's QEMU listens for memory and for disks, and the relay for the source's.
        var stream: Endpoint?
        var disks: Endpoint?
    }

    /// virsh's words for the migration. `source` is the URI of the source's daemon.
    func migrateCommand(_ route: Route, source: String) -> [String] {
        var words = keepaliveOptions + ["migrate", offline ? "--offline" : "--live"]
        switch flow {
        case .direct: break
        case .peerToPeer: words.append("--p2p")
        case .tunnelled: words += ["--p2p", "--tunnelled"]
        }
        // libvirt demands it.
        if persistent || offline { words.append("--persistent") }
        if undefineSource { words.append("--undefinesource") }
        switch storage {
        case .all: words.append("--copy-storage-all")
        case .incremental: words.append("--copy-storage-inc")
        case nil: break
        }
        if let parallel { words += ["--parallel", "--parallel-connections", "\(parallel)"] }
        switch postcopy {
        // virsh learns of the end of the first pass from an event, which looking now and then would miss.
        case .start(afterPasses: 1): words += ["--postcopy", "--postcopy-after-precopy"]
        case .start: words.append("--postcopy")
        case .resume: words += ["--postcopy", "--postcopy-resume"]
        case nil: break
        }
        if let bandwidth { words += ["--bandwidth", "\(bandwidth / Self.leastBandwidth)"] }
        words += ["--domain", domain, "--desturi", Self.uri(of: route.control, like: source)]
        if let stream = route.stream {
            words += ["--migrateuri", Self.uri(of: stream)]
            // Else the destination's QEMU would listen on all of its networks.
            if case .tcp(let host, _) = stream { words += ["--listen-address", host] }
        }
        if let disks = route.disks { words += ["--disks-uri", Self.uri(of: disks)] }
        return words + virshOptions
    }

    /// virsh asks after each interval without a word and gives up one interval after so many questions. As its last
    /// word may have come an interval before the silence began, the questions alone have to take long enough.
    private var keepaliveOptions: [String] {
        guard let keepalive else { return [] }
        let count: UInt64 = 5, unit = count * 1_000_000_000
        let interval = max(1, (keepalive.nanoseconds + unit - 1) / unit)
        return ["--keepalive-interval", "\(interval)", "--keepalive-count", "\(count)"]
    }

    /// `qemu+unix:///system?socket=…` for a daemon behind a local socket, of the same driver and instance as `source`.
    static func uri(of control: Endpoint, like source: String) -> String {
        guard case .unix(let path) = control else { preconditionFailure("the way to the daemon is a UNIX socket") }
        let driver = source.prefix { $0 != "+" && $0 != ":" }
        let rest = source.dropFirst(driver.count).prefix { $0 != "?" && $0 != "#" }
        // After the scheme and the host, which is not that of the destination.
        let instance = rest.range(of: "://").map { rest[$0.upperBound...].drop { $0 != "/" } } ?? ""
        return "\(driver)+unix://\(instance.isEmpty ? "/system" : instance)?socket=\(escaped(path))"
    }

    private static func uri(of endpoint: Endpoint) -> String {
        switch endpoint {
        case .unix(let path): "unix://\(escaped(path))"
        case .tcp: "tcp://\(endpoint.address)"
        }
    }

    /// With a percent sign and the code for what has a meaning in a URI.
    private static func escaped(_ path: String) -> String {
        path.utf8.reduce(into: "") { text, byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "-"), UInt8(ascii: "_"),
                UInt8(ascii: "."), UInt8(ascii: "~"):
                text.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                text += "%" + (digits.count == 1 ? "0" : "") + digits
            }
        }
    }
}

/// Words as a person would type them into a shell.
enum ShellText {
    static func line(_ words: [String]) -> String { words.map(word).joined(separator: " ") }

    private static func word(_ text: String) -> String {
        let plain = !text.isEmpty && text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "-_./:=+,@%".utf8.contains(byte)
            }
        }
        return plain ? text : "'\(text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''"))'"
    }
}
