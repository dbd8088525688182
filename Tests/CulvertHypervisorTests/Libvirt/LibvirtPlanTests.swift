import CulvertIO
import Testing

@testable import CulvertHypervisor

struct LibvirtPlanTests {
    private let route = LibvirtPlan.Route(
        control: .unix(path: "/run/culvert/c.sock"), stream: .unix(path: "/run/culvert/migrate/m.sock"))
    private let ends = [
        "--domain", "web1", "--desturi", "qemu+unix:///system?socket=/run/culvert/c.sock", "--migrateuri",
        "unix:///run/culvert/migrate/m.sock",
    ]

    private func plan(_ change: (inout LibvirtPlan) -> Void) -> LibvirtPlan {
        var plan = LibvirtPlan(domain: "web1", peer: "hostb")
        change(&plan)
        return plan
    }

    private func command(_ change: (inout LibvirtPlan) -> Void) -> [String] {
        plan(change).migrateCommand(route, source: "qemu:///system")
    }

    @Test func leavesThePlainFlowToVirshsDefaults() {
        #expect(command { _ in } == ["migrate", "--live"] + ends)
    }

    @Test func namesEachOption() {
        #expect(command { $0.flow = .peerToPeer } == ["migrate", "--live", "--p2p"] + ends)
        #expect(
            command {
                $0.parallel = 4
                $0.persistent = true
                $0.undefineSource = true
                $0.bandwidth = 3 << 20
            }
                == [
                    "migrate", "--live", "--persistent", "--undefinesource", "--parallel", "--parallel-connections", "4",
                    "--bandwidth", "3",
                ] + ends)
        #expect(
            command { $0.postcopy = .start(afterPasses: 1) }
                == ["migrate", "--live", "--postcopy", "--postcopy-after-precopy"] + ends)
        #expect(command { $0.postcopy = .start(afterPasses: 0) } == ["migrate", "--live", "--postcopy"] + ends)
        #expect(
            command { $0.postcopy = .resume } == ["migrate", "--live", "--postcopy", "--postcopy-resume"] + ends)
        #expect(
            command { $0.virshOptions = ["--unsafe", "--dname", "web 2"] }
                == ["migrate", "--live"] + ends + ["--unsafe", "--dname", "web 2"])
    }

    /// virsh takes whole seconds, of which 0 would be no keepalive at all; five unanswered questions last as long as asked for.
    @Test(arguments: [(0, 1), (1, 1), (5000, 1), (5001, 2), (60_000, 12), (74_999, 15)])
    func letsTheDaemonBeSilentForAsLong(milliseconds: Int, interval: Int) {
        #expect(
            command { $0.keepalive = .milliseconds(milliseconds) }
                == ["--keepalive-interval", "\(interval)", "--keepalive-count", "5", "migrate", "--live"] + ends)
    }

    @Test func givesTheTunnelledFlowNothingButTheDaemon() {
        let words = plan { $0.flow = .tunnelled }
            .migrateCommand(.init(control: .unix(path: "/c.sock")), source: "qemu:///system")
        #expect(
            words == [
                "migrate", "--live", "--p2p", "--tunnelled", "--domain", "web1", "--desturi", "qemu+unix:///system?socket=/c.sock",
            ])
    }

    @Test func makesAnOfflineMigrationPersistent() {
        let words = plan { $0.offline = true }.migrateCommand(.init(control: .unix(path: "/c.sock")), source: "qemu:///system")
        #expect(words.prefix(3) == ["migrate", "--offline", "--persistent"])
    }

    @Test func keepsTheDestinationsQEMUOnTheLoopbackWithTCP() {
        var plan = plan { _ in }
        plan.storage = .incremental
        let route = LibvirtPlan.Route(
            control: .unix(path: "/c.sock"), stream: .tcp(host: "::1", port: 49152), disks: .tcp(host: "127.0.0.1", port: 49153))
        #expect(
            plan.migrateCommand(route, source: "qemu:///system").suffix(6) == [
                "--migrateuri", "tcp://[::1]:49152", "--listen-address", "::1", "--disks-uri", "tcp://127.0.0.1:49153",
            ])
    }

    @Test(arguments: [
        ("qemu:///system", "qemu+unix:///system?socket=/c"),
        ("qemu:///session", "qemu+unix:///session?socket=/c"),
        ("qemu+ssh://root@hosta/system?keyfile=/k", "qemu+unix:///system?socket=/c"),
        ("qemu+unix:///system?socket=/run/a.sock", "qemu+unix:///system?socket=/c"),
        ("xen:///system", "xen+unix:///system?socket=/c"),
    ])
    func findsTheSameInstanceAtTheDestination(source: String, expected: String) {
        #expect(LibvirtPlan.uri(of: .unix(path: "/c"), like: source) == expected)
    }

    @Test func escapesPathsInURIs() {
        #expect(
            LibvirtPlan.uri(of: .unix(path: "/run/a b&c?é"), like: "qemu:///system")
                == "qemu+unix:///system?socket=/run/a%20b%26c%3F%C3%A9")
    }

    @Test func quotesForTheShell() {
        #expect(ShellText.line(["virsh", "a b", "it's", "", "x?y"]) == "virsh 'a b' 'it'\\''s' '' 'x?y'")
    }

    @Test func refusesWhatCannotWork() {
        #expect(plan { _ in }.fault == nil)
        let faults: [(inout LibvirtPlan) -> Void] = [
            { $0.flow = .tunnelled; $0.parallel = 2 },
            { $0.flow = .tunnelled; $0.storage = .all },
            { $0.flow = .tunnelled; $0.postcopy = .start(afterPasses: 1) },
            { $0.offline = true; $0.parallel = 2 },
            { $0.offline = true; $0.flow = .tunnelled },
            { $0.parallel = 0 },
            { $0.parallel = 2; $0.postcopy = .start(afterPasses: 1) },
            { $0.bandwidth = 1000 },
            { $0.flow = .peerToPeer; $0.keepalive = .seconds(60) },
            { $0.name = "a/b" },
            { $0.postcopy = .start(afterPasses: -1) },
        ]
        for change in faults { #expect(plan(change).fault != nil) }
    }
}
