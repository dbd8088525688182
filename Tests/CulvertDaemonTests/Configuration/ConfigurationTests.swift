import CulvertIO
import CulvertRelay
import CulvertTLS
import Foundation
import Testing

@testable import CulvertDaemon

@Suite struct ConfigurationTests {
    /// The shape that users and outside tests rely on.
    static let contract = """
        relay:
          name: hosta                        # default: the host's name
          listen: ["0.0.0.0:16515"]          # the one TLS port; IPv6 as "[::]:16515"
          admin: /run/culvert/admin.sock     # HTTP over a unix socket: status, forwards, metrics
        tls:
          backend: openssl                   # openssl | gnutls
          ca: /etc/culvert/pki/ca.pem
          certificate: /etc/culvert/pki/hosta.pem
          key: /etc/culvert/pki/hosta.key
        peers:
          hostb:
            addresses: ["10.0.0.2:16515"]
            identity: hostb                  # DNS SAN its certificate must carry; default: the peer's name
            lanes: 1
            compression: none                # none | lz4 | auto
        services:                            # what peers may reach on this host
          libvirt: { connect: "unix:/run/libvirt/libvirt-sock", allow: [hostb] }
          web1:    { connect: "tcp:127.0.0.1:4444", allow: [hostb] }
          web1.qmp: { connect: "unix:/run/qemu/web1.qmp", allow: [hostb] }
          migrate: { connect: "unix:/run/culvert/migrate/{name}.sock", allow: [hostb] }
        forwards:                            # local sockets that lead to a peer's service
          - { listen: "unix:/run/culvert/hostb/libvirt.sock", to: "hostb/libvirt" }
          - { listen: "tcp:127.0.0.1:4444", to: "hostb/web1" }
          - { listen: "unix:/run/culvert/migrate/slot1.sock", to: "hostb/migrate/slot1" }

        """

    @Test func contractShapeIsReadWhole() throws {
        let configuration = try Configuration.parse(Self.contract, file: "c.yaml", hostName: "other")
        var expected = RelaySettings(
            name: "hosta", listen: [.tcp(host: "0.0.0.0", port: 16515)], runtimeDirectory: "/run/culvert")
        expected.peers = [PeerSettings(name: "hostb", addresses: [.tcp(host: "10.0.0.2", port: 16515)])]
        expected.services = [
            ServiceSettings(name: "libvirt", connect: .unix(path: "/run/libvirt/libvirt-sock"), allow: ["hostb"]),
            ServiceSettings(name: "web1", connect: .tcp(host: "127.0.0.1", port: 4444), allow: ["hostb"]),
            ServiceSettings(name: "web1.qmp", connect: .unix(path: "/run/qemu/web1.qmp"), allow: ["hostb"]),
            ServiceSettings(
                name: "migrate", connect: .unix(path: "/run/culvert/migrate/{name}.sock"), allow: ["hostb"]),
        ]
        expected.forwards = [
            ForwardSettings(
                listen: .unix(path: "/run/culvert/hostb/libvirt.sock"),
                to: ServiceReference(peer: "hostb", service: "libvirt")),
            ForwardSettings(
                listen: .tcp(host: "127.0.0.1", port: 4444), to: ServiceReference(peer: "hostb", service: "web1")),
            ForwardSettings(
                listen: .unix(path: "/run/culvert/migrate/slot1.sock"),
                to: ServiceReference(peer: "hostb", service: "migrate/slot1")),
        ]
        expected.loops = configuration.relay.loops
        #expect(configuration.relay == expected)
        #expect((1...64).contains(configuration.relay.loops))
        #expect(
            configuration.tls
                == TLSSettings(
                    .files(
                        TLSFiles(
                            ca: "/etc/culvert/pki/ca.pem", certificate: "/etc/culvert/pki/hosta.pem",
                            key: "/etc/culvert/pki/hosta.key"))))
        #expect(configuration.admin == "/run/culvert/admin.sock")
        #expect(configuration.drain == .seconds(30))
        #expect(configuration.log == LogSettings(level: .info, format: .text))
        #expect(configuration.warnings.isEmpty)
    }

    @Test(arguments: ["", "# nothing\n", "relay:\ntls: ~\npeers:\nservices: null\nforwards:\nlimits:\n"])
    func everythingHasADefault(text: String) throws {
        let configuration = try Configuration.parse(text, file: "c.yaml", hostName: "hosta.example")
        #expect(configuration.relay.name == "hosta.example")
        #expect(configuration.relay.listen == [.tcp(host: "0.0.0.0", port: 16515)])
        #expect(configuration.relay.runtimeDirectory == "/run/culvert")
        #expect(configuration.relay.limits == RelayLimits())
        #expect(configuration.relay.peers.isEmpty && configuration.relay.services.isEmpty)
        #expect(
            configuration.tls
                == TLSSettings(
                    .files(
                        TLSFiles(
                            ca: "/etc/culvert/pki/ca.pem", certificate: "/etc/culvert/pki/hosta.example.pem",
                            key: "/etc/culvert/pki/hosta.example.key"))))
    }

    @Test func everySettingIsTaken() throws {
        let text = """
            relay:
              name: hosta
              listen: ["[::]:16515", "10.0.0.1:7000"]
              admin: /tmp/x/a.sock
              metrics: "[::1]:9516"
              loops: 3
              log: { level: debug, format: json }
              drain: 2m
            tls: { ca: pki/ca.pem, certificate: pki/a.pem, key: /elsewhere/a.key }
            peers:
              hostb: { identity: b.example.org }
              hostc:
            forwards:
              - { listen: "unix:/run/f.sock", to: hostb/web, mode: "0660", owner: qemu, group: "107", priority: control }
            limits:
              stream-window: 128KiB
              session-memory: 64MiB
              relay-memory: 2GiB
              streams-per-session: 99
              unauthenticated-connections: 7
              handshake-timeout: 500ms
              connect-timeout: 3s
              open-wait: 0ms
              keepalive: 1m

            """
        let configuration = try Configuration.parse(text, file: "/etc/x/c.yaml", hostName: "other")
        let relay = configuration.relay
        #expect(relay.listen == [.tcp(host: "::", port: 16515), .tcp(host: "10.0.0.1", port: 7000)])
        #expect(configuration.admin == "/tmp/x/a.sock")
        #expect(configuration.metrics == .tcp(host: "::1", port: 9516))
        #expect(relay.runtimeDirectory == "/tmp/x")
        #expect(relay.loops == 3)
        #expect(configuration.log == LogSettings(level: .debug, format: .json))
        #expect(configuration.drain == .seconds(120))
        // Relative paths start at the file's directory.
        #expect(
            configuration.tls
                == TLSSettings(
                    .files(TLSFiles(ca: "/etc/x/pki/ca.pem", certificate: "/etc/x/pki/a.pem", key: "/elsewhere/a.key"))))
        #expect(
            relay.peers == [
                PeerSettings(name: "hostb", addresses: [], identity: "b.example.org"),
                PeerSettings(name: "hostc", addresses: []),
            ])
        var forward = ForwardSettings(
            listen: .unix(path: "/run/f.sock"), to: ServiceReference(peer: "hostb", service: "web"))
        forward.unix = UnixSocketOptions(mode: 0o660, owner: "qemu", group: "107")
        forward.priority = .control
        #expect(relay.forwards == [forward])
        var limits = RelayLimits()
        limits.streamWindow = 128 << 10
        limits.sessionMemory = 64 << 20
        limits.relayMemory = 2 << 30
        limits.streamsPerSession = 99
        limits.unauthenticatedConnections = 7
        limits.handshakeTimeout = .milliseconds(500)
        limits.connectTimeout = .seconds(3)
        limits.openWait = .zero
        limits.keepalive = .seconds(60)
        #expect(relay.limits == limits)
    }

    @Test func namesAreTextHoweverYAMLReadsThem() throws {
        let text = """
            relay: { name: 1e3 }
            peers: { no: {}, 0123: {} }
            services: { on: { connect: "unix:/run/x", allow: [no, 0123] } }

            """
        let relay = try Configuration.parse(text, file: "c.yaml").relay
        #expect(relay.name == "1e3")
        #expect(relay.peers.map(\.name) == ["no", "0123"])
        #expect(relay.services.map(\.allow) == [["no", "0123"]])
    }

    @Test(arguments: BulkProtection.allCases) func whoEncryptsBulkIsAChoice(_ choice: BulkProtection) throws {
        let configuration = try Configuration.parse(
            "peers: { hostb: { tls: \(choice.rawValue) } }\n", file: "c.yaml", hostName: "hosta")
        #expect(configuration.relay.peers.map(\.protection) == [choice])
        #expect(
            configuration.warnings.map(\.description)
                == (choice == .none ? ["c.yaml:1:24: peers.hostb.tls: bulk to and from 'hostb' is not encrypted"] : []))
    }

    @Test func shortTemplateRoomIsAWarning() throws {
        let directory = String(repeating: "d", count: 70)
        let text = """
            peers: { hostb: }
            services:
              migrate: { connect: "unix:/\(directory)/{name}.sock", allow: [hostb] }

            """
        let configuration = try Configuration.parse(text, file: "c.yaml", hostName: "hosta")
        #expect(
            configuration.warnings.map(\.description) == [
                "c.yaml:3:23: services.migrate.connect: leaves 30 bytes for NAME; a UUID takes 36, shorten the path"
            ])
    }

    /// The file that packages install: all comments, and with the settings uncommented still what it says of itself.
    @Test func packagedExampleHoldsAndShowsTheDefaults() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../..")
            .standardized
        let text = try String(contentsOf: root.appendingPathComponent("packaging/etc/culvert.yaml"), encoding: .utf8)
        #expect(text.split(separator: "\n").allSatisfy { $0.hasPrefix("#") })

        // Prose has one space behind its #, settings have none or their indentation.
        let settings = text.split(separator: "\n").filter { !$0.hasPrefix("# ") || $0.hasPrefix("#  ") }.map {
            $0.dropFirst()
        }
        let shown = try Configuration.parse(
            settings.joined(separator: "\n"), file: "/etc/culvert/c.yaml", hostName: "x")
        let defaults = try Configuration.parse("", file: "/etc/culvert/c.yaml", hostName: "hosta")
        #expect(shown.relay.limits == defaults.relay.limits)
        #expect(shown.relay.listen == defaults.relay.listen)
        #expect(shown.tls == defaults.tls)
        #expect(shown.admin == defaults.admin && shown.drain == defaults.drain && shown.log == defaults.log)
        #expect(shown.relay.services.count == 3 && shown.relay.forwards.count == 2)
        #expect(shown.warnings.isEmpty)
    }

    @Test func otherKindsOfCredentialsAreTaken() throws {
        func tls(_ text: String) throws -> TLSSettings {
            try Configuration.parse("tls: { \(text) }\n", file: "/etc/x/c.yaml", hostName: "hosta").tls
        }
        #expect(try tls("backend: gnutls, directory: /etc/pki/qemu") == TLSSettings(.directory("/etc/pki/qemu"), backend: .gnutls))
        #expect(try tls("directory: pki") == TLSSettings(.directory("/etc/x/pki")))
        #expect(try tls("psk: keys.psk") == TLSSettings(.keys(file: "/etc/x/keys.psk", user: "hosta")))
        #expect(try tls("psk: /k, psk-user: a1, backend: openssl") == TLSSettings(.keys(file: "/k", user: "a1")))
    }

    @Test func whoseCiphersRecordsHaveCanBeChosen() throws {
        func records(_ text: String) throws -> TLSRecords {
            try Configuration.parse("tls: { backend: gnutls\(text) }\n", file: "c.yaml", hostName: "hosta").tls.records
        }
        #expect(try records("") == .auto)
        #expect(try records(", records: auto") == .auto)
        #expect(try records(", records: library") == .library)
    }
}
