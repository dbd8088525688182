import CulvertTestSupport
import Foundation

/// A virsh that answers from files, for what no real libvirt does on demand. It keeps a record of what it was asked.
///
/// `--connect` with a socket is the destination. Everything else is the source.
struct FakeVirsh {
    static let uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"

    let directory: TemporaryDirectory
    var path: String { directory("virsh") }

    private static let script = """
        #!/bin/sh
        cd "$(dirname "$0")"
        echo "$*" >>calls
        side=source
        if [ "$1" = --connect ]; then
            case $2 in *socket=*) side=destination ;; esac
            shift 2
        fi
        answer() { cat "$side.$1" 2>/dev/null && echo && return 0; echo "error: failed to get domain 'web1'" >&2; return 1; }
        # Nobody sees half of it.
        put() { cat >"$1.new"; mv "$1.new" "$1"; }
        case $1 in
        uri) echo qemu:///system ;;
        hostname) echo hostb ;;
        domuuid) [ "$3" = web1 ] || { echo "error: failed to get domain '$3'" >&2; exit 1; }; echo \(uuid) ;;
        domjobabort) touch "aborted$2" ;;
        migrate-postcopy) touch postcopy ;;
        migrate) . ./migrate ;;
        domstate) answer state ;;
        dom*) answer state; answer job ;;
        *) echo "error: unknown command: '$1'" >&2; exit 1 ;;
        esac
        """

    /// `migrate` is what `virsh migrate` does, in shell.
    init(migrate: String) throws {
        directory = try TemporaryDirectory()
        try write("virsh", Self.script)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
        try write("migrate", migrate)
        try write("source.state", "running (booted)")
        try write("source.job", "Job type: 0\n")
    }

    func write(_ name: String, _ text: String) throws {
        try text.write(toFile: directory(name), atomically: true, encoding: .utf8)
    }

    func has(_ name: String) -> Bool { FileManager.default.fileExists(atPath: directory(name)) }

    /// What it was called with, a line each.
    var calls: [String] {
        ((try? String(contentsOfFile: directory("calls"), encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
    }

    /// As `virsh domjobinfo --rawstats` prints a migration under way.
    static func job(transferred: Int, remaining: Int, pass: Int = 1) -> String {
        """
        Job type: 2

        operation: 5
        time_elapsed: 812
        data_total: 68165632
        data_processed: \(transferred)
        data_remaining: \(remaining)
        memory_total: 68165632
        memory_processed: \(transferred)
        memory_remaining: \(remaining)
        memory_dirty_rate: 100
        memory_page_size: 4096
        memory_iteration: \(pass)

        """
    }
}
