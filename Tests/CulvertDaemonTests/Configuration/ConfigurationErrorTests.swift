import Testing

@testable import CulvertDaemon

/// Each file is wrong in its own way, and the report is exact: place, key, what is wrong and what to do.
@Suite struct ConfigurationErrorTests {
    struct BadFile: Sendable, CustomTestStringConvertible {
        var name: String
        var text: String
        var problems: [String]
        var testDescription: String { name }

        init(_ name: String, _ text: String, _ problems: String...) {
            self.name = name
            self.text = text
            self.problems = problems
        }
    }

    @Test(arguments: structure + relay + credentials + peers + services + forwards + limits)
    func everyProblemIsReportedWithItsPlace(file: BadFile) {
        do {
            _ = try Configuration.parse(file.text, file: "c.yaml", hostName: "hosta")
            Issue.record("accepted")
        } catch {
            #expect(error.problems.map(\.description) == file.problems)
        }
    }

    static let structure = [
        BadFile(
            "no YAML", "relay: {\n  name: hosta\n",
            "c.yaml:3:1: not valid YAML: while parsing a flow mapping, from line 1 on: did not find expected ',' or '}'"
        ),
        BadFile(
            "two documents", "relay:\n---\nrelay:\n",
            "c.yaml:2:1: not valid YAML: expected a single document in the stream, from line 1 on: but found another document"
        ),
        BadFile("a list", "- relay\n", "c.yaml:1:1: here goes a map of keys and values, not a list"),
        BadFile("a word", "relay\n", "c.yaml:1:1: here goes a map of keys and values, not 'relay'"),
        BadFile(
            "unknown keys", "relya:\n  name: x\nforward: []\nzzz: 1\n",
            "c.yaml:1:1: relya: unknown key; did you mean 'relay'?",
            "c.yaml:3:1: forward: unknown key; did you mean 'forwards'?",
            "c.yaml:4:1: zzz: unknown key; known here: relay, tls, peers, services, forwards, limits"),
        BadFile(
            "duplicate keys, other errors still seen",
            "relay: { name: a, loops: 0 }\npeers:\n  p: {}\n  q: { lane: 1 }\n  p: {}\nrelay: { loops: 65 }\npeers:\n  \"p\": { x: 1 }\n",
            "c.yaml:6:1: relay: this key stands already on line 1; keep one of them",
            "c.yaml:6:17: relay.loops: '65' is not a whole number from 1 to 64",
            "c.yaml:7:1: peers: this key stands already on line 2; keep one of them",
            "c.yaml:8:10: peers.p.x: unknown key; known here: addresses, identity, lanes, compression, tls"),
        BadFile(
            "a key three times", "peers:\n  b: {}\n  b: {}\n  'b': {}\n",
            "c.yaml:3:3: peers.b: this key stands already on line 2; keep one of them",
            "c.yaml:4:3: peers.b: this key stands already on line 2; keep one of them"),
        BadFile("a map as key", "relay:\n  [a]: b\n", "c.yaml:2:3: relay: a key must be a plain word"),
    ]

    static let relay = [
        BadFile("relay is no map", "relay: [a]\n", "c.yaml:1:1: relay: here goes a map of keys and values, not a list"),
        BadFile("empty name", "relay: { name: \"\" }\n", "c.yaml:1:16: relay.name: here goes a text, not nothing"),
        BadFile("name without value", "relay:\n  name:\n", "c.yaml:2:3: relay.name: here goes a text, not nothing"),
        BadFile("name is a list", "relay:\n  name: [a]\n", "c.yaml:2:3: relay.name: here goes a text, not a list"),
        BadFile(
            "name with a slash", "relay: { name: a/b }\n",
            "c.yaml:1:16: relay.name: 'a/b' has characters other than letters, digits, '.', '_' and '-'"),
        BadFile(
            "listen is one text", "relay:\n  listen: 0.0.0.0:16515\n",
            "c.yaml:2:11: relay.listen: here goes a list, as in [a, b], not '0.0.0.0:16515'"),
        BadFile(
            "no listen", "relay:\n  listen: []\n",
            "c.yaml:2:3: relay.listen: no address to listen on; write for example [\"0.0.0.0:16515\"]"),
        BadFile(
            "bad addresses",
            "relay:\n  listen: [\"0.0.0.0\", \"::1:16515\", \"h:70000\", \":1\", \"tcp:h:1\", \"unix:/x\", {}]\n",
            "c.yaml:2:12: relay.listen[0]: '0.0.0.0': no port; write host:port",
            "c.yaml:2:23: relay.listen[1]: '::1:16515': an IPv6 address goes in brackets, as in [::1]:16515",
            "c.yaml:2:36: relay.listen[2]: 'h:70000': the port is not a number from 0 to 65535",
            "c.yaml:2:47: relay.listen[3]: ':1': no host; write host:port",
            "c.yaml:2:53: relay.listen[4]: 'tcp:h:1': only TCP works here; write host:port alone",
            "c.yaml:2:64: relay.listen[5]: 'unix:/x': only TCP works here; write host:port alone",
            "c.yaml:2:75: relay.listen[6]: here goes a text, not a map"),
        BadFile(
            "one address twice", "relay:\n  listen: [\"[::]:1\", \"h:0\", \"h:0\", \"[::]:1\"]\n",
            "c.yaml:2:36: relay.listen[3]: '[::]:1' is already relay.listen[0]; remove one of them"),
        BadFile(
            "metrics at a name", "relay: { metrics: localhost:9516 }\n",
            "c.yaml:1:19: relay.metrics: 'localhost:9516' begins with a name; write a numeric address, as in 127.0.0.1:9516"),
        BadFile(
            "metrics where peers are served", "relay: { metrics: \"127.0.0.1:1\", listen: [\"127.0.0.1:1\"] }\n",
            "c.yaml:1:19: relay.metrics: '127.0.0.1:1' is already relay.listen[0]; choose another port"),
        BadFile(
            "relative admin", "relay: { admin: admin.sock }\n",
            "c.yaml:1:17: relay.admin: 'admin.sock' is not a socket's absolute path; write for example /run/culvert/admin.sock"
        ),
        BadFile(
            "long admin", "relay: { admin: /\(String(repeating: "a", count: 103)) }\n",
            "c.yaml:1:17: relay.admin: the path has 104 bytes; at most 103 can be used here"),
        BadFile(
            "log", "relay:\n  log:\n    level: loud\n    format: xml\n    file: x\n",
            "c.yaml:3:12: relay.log.level: 'loud' is not one of trace, debug, info, notice, warning, error, critical",
            "c.yaml:4:13: relay.log.format: 'xml' is not one of text, json",
            "c.yaml:5:5: relay.log.file: unknown key; known here: level, format"),
        BadFile(
            "drain", "relay: { drain: 25h }\n", "c.yaml:1:17: relay.drain: 25h is out of range; it goes from 0ms to 24h"
        ),
    ]

    static let credentials = [
        BadFile(
            "two kinds", "tls:\n  directory: /etc/pki/qemu\n  psk: k\n  key: x\n",
            "c.yaml:3:8: tls.psk: goes not together with tls.directory; a relay has one kind of credentials, so remove one of them",
            "c.yaml:4:8: tls.key: goes not together with tls.directory; a relay has one kind of credentials, so remove one of them"
        ),
        BadFile(
            "keys and certificates", "tls: { psk: k, ca: x }\n",
            "c.yaml:1:20: tls.ca: goes not together with tls.psk; a relay has one kind of credentials, so remove one of them"),
        BadFile(
            "user alone", "tls: { psk-user: a b }\n",
            "c.yaml:1:18: tls.psk-user: names this relay where pre-shared keys are used; set tls.psk too, or remove it"),
        BadFile(
            "bad user", "tls: { psk: k, psk-user: a b }\n",
            "c.yaml:1:26: tls.psk-user: 'a b' has characters other than letters, digits, '.', '_' and '-'"),
        BadFile(
            "a peer of our name", "tls: { psk: k, psk-user: x }\npeers:\n  b: { identity: X }\n",
            "c.yaml:3:3: peers.b: its identity 'X' is what this relay presents itself as; give one of them another name"),
        BadFile(
            "no ciphers", "tls: { records: fast }\n",
            "c.yaml:1:17: tls.records: 'fast' is not one of auto, library"),
        BadFile(
            "no backend", "tls: { backend: nss }\n", "c.yaml:1:17: tls.backend: 'nss' is not one of openssl, gnutls"),
        BadFile(
            "cert", "tls: { certificat: x }\n", "c.yaml:1:8: tls.certificat: unknown key; did you mean 'certificate'?"),
    ]

    static let peers = [
        BadFile(
            "the relay itself", "peers:\n  hosta: {}\n",
            "c.yaml:2:3: peers.hosta: a peer cannot have the relay's own name; rename it, or set relay.name"),
        BadFile(
            "bad names", "peers:\n  .b: {}\n  b c: {}\n",
            "c.yaml:2:3: peers..b: the peer's name begins with a dot",
            "c.yaml:3:3: peers.b c: the peer's name has characters other than letters, digits, '.', '_' and '-'"),
        BadFile(
            "lanes", "peers: { b: { lanes: 17 }, c: { lanes: x } }\n",
            "c.yaml:1:22: peers.b.lanes: '17' is not a whole number from 1 to 16",
            "c.yaml:1:40: peers.c.lanes: 'x' is not a whole number from 1 to 16"),
        BadFile(
            "compression", "peers: { b: { compression: zstd } }\n",
            "c.yaml:1:28: peers.b.compression: 'zstd' is not one of none, lz4, auto"),
        BadFile(
            "bulk", "peers: { b: { tls: off } }\n",
            "c.yaml:1:20: peers.b.tls: 'off' is not one of userspace, kernel, none"),
        BadFile(
            "port 0", "peers:\n  b: { addresses: [\"h:0\"] }\n",
            "c.yaml:2:20: peers.b.addresses[0]: 'h:0': port 0 leads nowhere; write the peer's port"),
        BadFile(
            "one identity twice", "peers:\n  b: {}\n  c: { identity: B }\n  d: { identity: \"*.x\" }\n",
            "c.yaml:3:3: peers.c: its identity 'B' is also that of peer 'b'; give each peer its own",
            "c.yaml:4:18: peers.d.identity: '*.x' is a wildcard; a peer's certificate must carry one definite DNS name"),
    ]

    static let services = [
        BadFile(
            "missing", "services:\n  a: {}\n",
            "c.yaml:2:3: services.a: 'connect' is missing; write for example connect: \"unix:/run/a.sock\"",
            "c.yaml:2:3: services.a: 'allow' is missing; write for example allow: [PEER]"),
        BadFile(
            "names",
            "services:\n  culvert: { connect: \"unix:/x\", allow: [] }\n  a/b: { connect: \"unix:/x\", allow: [] }\n",
            "c.yaml:2:3: services.culvert: the name 'culvert' is reserved for the relay's own services; choose another",
            "c.yaml:3:3: services.a/b: the service's name has characters other than letters, digits, '.', '_' and '-'"),
        BadFile(
            "allow",
            "peers: { hostb: }\nservices:\n  a: { connect: \"unix:/x\", allow: [hostc, hostb, hostb, zebra] }\n",
            "c.yaml:3:36: services.a.allow[0]: there is no peer 'hostc'; did you mean 'hostb'?",
            "c.yaml:3:50: services.a.allow[2]: 'hostb' is here already; remove it",
            "c.yaml:3:57: services.a.allow[3]: there is no peer 'zebra'; add it under peers"),
        BadFile(
            "targets",
            """
            services:
              a: { connect: "/x", allow: [] }
              b: { connect: "unix:x", allow: [] }
              c: { connect: "unix:/\(String(repeating: "x", count: 107))", allow: [] }
              d: { connect: "tcp:h:0", allow: [] }
              e: { connect: "unix:/run/", allow: [] }

            """,
            "c.yaml:2:17: services.a.connect: '/x': starts with neither unix: nor tcp:",
            "c.yaml:3:17: services.b.connect: 'unix:x': a UNIX socket needs an absolute path, as in unix:/run/x.sock",
            "c.yaml:4:17: services.c.connect: 'unix:/\(String(repeating: "x", count: 107))': the path has 108 bytes; the kernel takes at most 107",
            "c.yaml:5:17: services.d.connect: 'tcp:h:0': port 0 leads nowhere; write the service's port",
            "c.yaml:6:17: services.e.connect: 'unix:/run/': a socket's path cannot end in a slash; write the socket's own name"
        ),
        BadFile(
            "templates",
            """
            services:
              a: { connect: "unix:/{name}/{name}", allow: [] }
              b: { connect: "unix:/{name}/x", allow: [] }
              c: { connect: "unix:/x/{nme}", allow: [] }
              d: { connect: "unix:/x/{name}}", allow: [] }
              e: { connect: "tcp:{name}:1", allow: [] }

            """,
            "c.yaml:2:17: services.a.connect: '/{name}/{name}': {name} may stand there once only",
            "c.yaml:3:17: services.b.connect: '/{name}/x': {name} must be in the last part of the path",
            "c.yaml:4:17: services.c.connect: '/x/{nme}': braces stand only around {name}",
            "c.yaml:5:17: services.d.connect: '/x/{name}}': braces stand only around {name}",
            "c.yaml:6:17: services.e.connect: 'tcp:{name}:1': {name} works in UNIX paths only"),
    ]

    static let forwards = [
        BadFile(
            "no list", "forwards: { listen: x }\n", "c.yaml:1:1: forwards: here goes a list, as in [a, b], not a map"),
        BadFile(
            "missing", "forwards:\n  - { priority: high }\n  - x\n",
            "c.yaml:2:5: forwards[0]: 'listen' is missing; write for example listen: \"unix:/run/culvert/x.sock\"",
            "c.yaml:2:5: forwards[0]: 'to' is missing; write for example to: \"PEER/SERVICE\"",
            "c.yaml:2:17: forwards[0].priority: 'high' is not one of auto, control",
            "c.yaml:3:5: forwards[1]: here goes a map of keys and values, not 'x'"),
        BadFile(
            "destinations",
            """
            peers: { hostb: }
            forwards:
              - { listen: "unix:/a", to: hostb }
              - { listen: "unix:/b", to: hostb/ }
              - { listen: "unix:/c", to: hostc/x }
              - { listen: "unix:/d", to: hostb/x/y/z }
              - { listen: "unix:/e", to: hostb/x/.. }
              - { listen: "unix:/f", to: "hostb/x y" }

            """,
            "c.yaml:3:30: forwards[0].to: 'hostb' is not PEER/SERVICE or PEER/SERVICE/NAME",
            "c.yaml:4:30: forwards[1].to: 'hostb/' is not PEER/SERVICE or PEER/SERVICE/NAME",
            "c.yaml:5:30: forwards[2].to: there is no peer 'hostc'; did you mean 'hostb'?",
            "c.yaml:6:30: forwards[3].to: 'hostb/x/y/z': it has more parts than PEER/SERVICE/NAME",
            "c.yaml:7:30: forwards[4].to: 'hostb/x/..': NAME has 1 to 64 letters, digits, '-' or '_'",
            "c.yaml:8:30: forwards[5].to: 'hostb/x y': the service's name has characters other than letters, digits, '.', '_' and '-'"
        ),
        BadFile(
            "listeners that collide",
            """
            relay: { admin: /run/a.sock, listen: ["h:1"] }
            peers: { hostb: }
            forwards:
              - { listen: "unix:/x", to: hostb/x }
              - { listen: "unix:/x", to: hostb/y }
              - { listen: "unix:/run/a.sock", to: hostb/y }
              - { listen: "tcp:h:1", to: hostb/y }
              - { listen: "tcp:h:0", to: hostb/y }
              - { listen: "tcp:h:0", to: hostb/y }
              - { listen: "unix:/run/{name}", to: hostb/y }

            """,
            "c.yaml:5:15: forwards[1].listen: 'unix:/x' is already forwards[0].listen; give each listener an address of its own",
            "c.yaml:6:15: forwards[2].listen: 'unix:/run/a.sock' is already relay.admin; give each listener an address of its own",
            "c.yaml:7:15: forwards[3].listen: 'tcp:h:1' is already relay.listen[0]; give each listener an address of its own",
            "c.yaml:10:15: forwards[6].listen: 'unix:/run/{name}': {name} works only in a service's connect; write the path out"
        ),
        BadFile(
            "socket options",
            """
            peers: { hostb: }
            forwards:
              - { listen: "unix:/x", to: hostb/x, mode: "0999" }
              - { listen: "unix:/y", to: hostb/x, mode: "4755" }
              - { listen: "tcp:h:1", to: hostb/x, owner: qemu }

            """,
            "c.yaml:3:45: forwards[0].mode: '0999' is not a mode; write three octal digits, as in \"0660\"",
            "c.yaml:4:45: forwards[1].mode: '4755' is not a mode; write three octal digits, as in \"0660\"",
            "c.yaml:5:46: forwards[2].owner: works for UNIX sockets only; remove it"),
    ]

    static let limits = [
        BadFile(
            "units",
            """
            limits:
              stream-window: 64MB
              session-memory: 1048576
              relay-memory: lots
              handshake-timeout: 5 s
              connect-timeout: 5
              keepalive: 1.5s
              open-wait: 99999999999999999999s

            """,
            "c.yaml:2:18: limits.stream-window: '64MB' has the unknown unit 'MB'; write one of B, KiB, MiB, GiB, as in 64MiB",
            "c.yaml:3:19: limits.session-memory: '1048576' has no unit; write one of B, KiB, MiB, GiB, as in 64MiB",
            "c.yaml:4:17: limits.relay-memory: 'lots' is not a size; write a whole number and its unit, as in 64MiB",
            "c.yaml:5:22: limits.handshake-timeout: '5 s' has the unknown unit ' s'; write one of ms, s, m, h, as in 30s",
            "c.yaml:6:20: limits.connect-timeout: '5' has no unit; write one of ms, s, m, h, as in 30s",
            "c.yaml:7:14: limits.keepalive: '1.5s' has the unknown unit '.5s'; write one of ms, s, m, h, as in 30s",
            "c.yaml:8:14: limits.open-wait: '99999999999999999999s' is too large"),
        BadFile(
            "ranges",
            "limits: { stream-window: 65535B, streams-per-session: 0, keepalive: 999ms, handshake-timeout: 301s }\n",
            "c.yaml:1:26: limits.stream-window: 65535B is out of range; it goes from 64KiB to 4GiB",
            "c.yaml:1:55: limits.streams-per-session: '0' is not a whole number from 1 to 1000000",
            "c.yaml:1:69: limits.keepalive: 999ms is out of range; it goes from 1s to 10m",
            "c.yaml:1:95: limits.handshake-timeout: 301s is out of range; it goes from 100ms to 5m"),
        BadFile(
            "order", "limits:\n  stream-window: 1GiB\n  relay-memory: 128MiB\n",
            "c.yaml:2:18: limits.stream-window: session-memory (512MiB) is less than stream-window (1GiB); raise the one or lower the other",
            "c.yaml:3:17: limits.relay-memory: relay-memory (128MiB) is less than session-memory (512MiB); raise the one or lower the other"
        ),
    ]

    @Test func hostNameThatIsNoNameMustBeReplaced() {
        #expect(throws: ConfigurationError.self) { try Configuration.parse("", file: "c.yaml", hostName: "my host") }
        let configuration = try? Configuration.parse("relay: { name: x }", file: "c.yaml", hostName: "my host")
        #expect(configuration?.relay.name == "x")
    }

    @Test func unreadableFileIsNamed() {
        let error = #expect(throws: ConfigurationError.self) { try Configuration.load("/nonexistent/c.yaml") }
        #expect(
            error?.description
                == "/nonexistent/c.yaml:1:1: cannot read the configuration: No such file or directory")
    }
}
