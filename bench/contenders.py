"""The relays that `compare` measures: how each pair is configured, started and asked for its version.

Each carries streams from one UNIX socket to another, through TLS 1.3 with TLS_AES_256_GCM_SHA384 and certificates on both
sides, or the nearest to it that it has. Each is set up as somebody who knows it and wants the streams to go fast would do
it; the values were found by trying (see README.md).
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from processes import CULVERT, PRODUCTS, Failure, free_port, running, wait_until_listening

BUFFER = 64 * 1024
CIPHER = "TLS_AES_256_GCM_SHA384"


@dataclass(frozen=True)
class Flow:
    """One way through the relays."""

    name: str
    # The near relay listens here; the sender connects.
    entry: Path
    # The receiver listens here; the far relay connects.
    exit: Path
    # Between the relays, for those that need one for each flow. The others all use the first.
    port: int


@dataclass(frozen=True)
class Route:
    """Where a pair of relays runs, and what it has to connect."""

    directory: Path
    flows: tuple[Flow, ...]
    # The far relay's address.
    host: str = "127.0.0.1"
    # What runs a command where the relay is: nothing, or `ip netns exec NAME`.
    inside_near: tuple[str, ...] = ()
    inside_far: tuple[str, ...] = ()

    @staticmethod
    def through(directory: Path, *names: str, **options) -> "Route":
        flows = (Flow(name, directory / f"{name}.in", directory / f"{name}.out", free_port()) for name in names)
        return Route(directory, tuple(flows), **options)

    @property
    def port(self) -> int:
        return self.flows[0].port

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path


@dataclass(frozen=True)
class Identity:
    """A host's certificate and key, and the authority that both hosts trust."""

    authority: Path
    certificate: Path
    key: Path

    def combined(self) -> Path:
        """Certificate and key in one file, as haproxy and socat want them."""
        path = self.certificate.with_suffix(".both")
        path.touch(mode=0o600)
        path.write_text(self.certificate.read_text() + self.key.read_text())
        return path


def make_identities(directory: Path) -> dict[str, Identity]:
    """A certificate authority of a day and, signed by it, one certificate for each side."""
    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], cwd=directory, check=True, capture_output=True)
    request = ["req", "-x509", "-nodes", "-days", "1", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl(*request, "-subj", "/CN=Culvert benchmark", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("near", "far"):
        openssl(
            *request, "-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE",
            "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return {
        name: Identity(directory / "ca.pem", directory / f"{name}.pem", directory / f"{name}.key")
        for name in ("near", "far")
    }


class Contender:
    """A pair of relays: a name, what must be installed, and one command line for each side."""

    name: str
    program: str
    # Of TLS between the two; None where something else protects the streams.
    cipher: str | None = CIPHER
    # What a client has to name in TLS as the protocol inside, if the far relay insists.
    protocol: str | None = None

    def executable(self) -> str | None:
        return shutil.which(self.program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

    def version(self) -> str:
        raise NotImplementedError

    def near(self, route: Route, own: Identity) -> list[str]:
        raise NotImplementedError

    def far(self, route: Route, own: Identity) -> list[str]:
        raise NotImplementedError

    @contextlib.contextmanager
    def pair(self, route: Route, identities: dict[str, Identity], patience: float = 10):
        """Both processes, near and far, once they take connections, within so many seconds."""
        with contextlib.ExitStack() as stack:
            def start(command: list[str], inside: tuple[str, ...]) -> subprocess.Popen:
                return stack.enter_context(running([*inside, *command], route.log, stdout=subprocess.DEVNULL))
            far = start(self.far(route, identities["far"]), route.inside_far)
            wait_until_listening(route.port, far, route.log, patience)
            near = start(self.near(route, identities["near"]), route.inside_near)
            for flow in route.flows:
                wait_until_listening(flow.entry, near, route.log, patience)
            yield near, far

    def check(self) -> None:
        if self.executable() is None:
            raise Failure(f"{self.program} is not there; run 'make bench', or leave '{self.name}' out")

    def check_cipher(self, identities: dict[str, Identity]) -> None:
        """Asks the far relay, as a client that offers what OpenSSL does by default: options can be ignored or overruled."""
        if self.cipher is None:
            return
        own = identities["near"]
        with tempfile.TemporaryDirectory(prefix="culvert-bench.") as directory:
            route = Route.through(Path(directory), "stream")
            with self.pair(route, identities):
                command = [
                    "openssl", "s_client", "-brief", "-connect", f"{route.host}:{route.port}", "-tls1_3",
                    "-cert", own.certificate, "-key", own.key, "-CAfile", own.authority,
                    "-verify_return_error", "-verify_hostname", "far", *(["-alpn", self.protocol] if self.protocol else [])]
                try:
                    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30).stderr
                except subprocess.TimeoutExpired:
                    raise Failure(f"{self.name}: openssl s_client does not end within 30 s") from None
        found = re.search(r"^Ciphersuite: (\S+)", said, re.MULTILINE)
        if found is None:
            raise Failure(f"{self.name}: openssl s_client gets no connection:\n{said}")
        if found[1] != self.cipher:
            raise Failure(f"{self.name} takes {found[1]} where its row says {self.cipher}; see the settings in {__file__}")

    def asked(self, *arguments: str) -> str:
        done = subprocess.run([self.executable(), *arguments], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr


class Culvert(Contender):
    name = "culvert"
    program = CULVERT
    protocol = "culvert/1"

    def __init__(
            self, name: str = name, lanes: int = 1, compression: str = "none", backend: str = "openssl",
            records: str = "auto", tls: str = "userspace"):
        self.name = name
        self.lanes = lanes
        self.compression = compression
        self.backend = backend
        self.records = records
        self.tls = tls

    def version(self) -> str:
        return self.asked("--version").strip()

    def near(self, route: Route, own: Identity) -> list[str]:
        forwards = "".join(f"""
  - {{ listen: "unix:{flow.entry}", to: "far/{flow.name}" }}""" for flow in route.flows)
        return self._serve(route, own, "near", "127.0.0.1:0", f"""
peers:
  far: {{ addresses: ["{route.host}:{route.port}"], lanes: {self.lanes}, {self._agreed()} }}
forwards: {forwards}
""")

    def far(self, route: Route, own: Identity) -> list[str]:
        services = "".join(f"""
  {flow.name}: {{ connect: "unix:{flow.exit}", allow: [near] }}""" for flow in route.flows)
        return self._serve(route, own, "far", f"{route.host}:{route.port}", f"""
peers:
  near: {{ addresses: [], {self._agreed()} }}
services: {services}
""")

    def _agreed(self) -> str:
        """What both say of each other."""
        return f"compression: {self.compression}, tls: {self.tls}"

    def _serve(self, route: Route, own: Identity, name: str, listen: str, extra: str) -> list[str]:
        configuration = route.write(f"{name}.yaml", f"""
relay:
  name: {name}
  listen: ["{listen}"]
  admin: {route.directory}/{name}.admin
tls:
  backend: {self.backend}
  records: {self.records}
  ca: {own.authority}
  certificate: {own.certificate}
  key: {own.key}
{extra}""")
        return [self.executable(), "serve", "--config", str(configuration)]


class HAProxy(Contender):
    name = program = "haproxy"

    def __init__(self, connections: int = 100):
        self.connections = connections

    def version(self) -> str:
        return self.asked("-v").splitlines()[0].split(" - ")[0]

    def near(self, route: Route, own: Identity) -> list[str]:
        return self._serve(route, "near", [
            (f"unix@{flow.entry}",
             f"{route.host}:{flow.port} ssl verify required verifyhost far {self._tls(own)}") for flow in route.flows])

    def far(self, route: Route, own: Identity) -> list[str]:
        return self._serve(route, "far", [
            (f"{route.host}:{flow.port} ssl verify required {self._tls(own)}",
             f"unix@{flow.exit}") for flow in route.flows])

    @staticmethod
    def _tls(own: Identity) -> str:
        return f"crt {own.combined()} ca-file {own.authority} ssl-min-ver TLSv1.3 ciphersuites {CIPHER}"

    def _serve(self, route: Route, name: str, proxies: list[tuple[str, str]]) -> list[str]:
        listens = "".join(f"""
listen relay{number}
    bind {listen}
    server next {server}""" for number, (listen, server) in enumerate(proxies))
        # A thread more would stay idle: haproxy serves a connection, with its server side, on one thread.
        configuration = route.write(f"{name}.cfg", f"""
global
    nbthread 1
    maxconn {self.connections}
    tune.bufsize {BUFFER}
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
{listens}
""")
        return [self.executable(), "-db", "-q", "-f", str(configuration)]


class Nginx(Contender):
    name = program = "nginx"
    # Debian builds the stream module apart.
    MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

    def version(self) -> str:
        return self.asked("-v").strip().removeprefix("nginx version: ")

    def near(self, route: Route, own: Identity) -> list[str]:
        return self._serve(route, "near", f"""
        listen unix:{route.flows[0].entry};
        proxy_pass {route.host}:{route.port};
        proxy_ssl on;
        proxy_ssl_verify on;
        proxy_ssl_name far;
        proxy_ssl_trusted_certificate {own.authority};
        proxy_ssl_certificate {own.certificate};
        proxy_ssl_certificate_key {own.key};
        proxy_ssl_protocols TLSv1.3;
        proxy_ssl_conf_command Ciphersuites {CIPHER};""")

    def far(self, route: Route, own: Identity) -> list[str]:
        return self._serve(route, "far", f"""
        listen {route.host}:{route.port} ssl;
        proxy_pass unix:{route.flows[0].exit};
        ssl_verify_client on;
        ssl_client_certificate {own.authority};
        ssl_certificate {own.certificate};
        ssl_certificate_key {own.key};
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites {CIPHER};""")

    def _serve(self, route: Route, name: str, server: str) -> list[str]:
        home = route.directory / name
        home.mkdir()
        # One worker: nginx serves a connection on one. half_close, or it would close both directions after the first.
        configuration = route.write(f"{name}.conf", f"""
{f"load_module {self.MODULE};" if self.MODULE.exists() else ""}
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
pid {home}/pid;
error_log stderr error;
events {{ worker_connections 100; }}
stream {{
    server {{{server}
        proxy_buffer_size {BUFFER};
        proxy_half_close on;
    }}
}}
""")
        return [self.executable(), "-p", str(home), "-c", str(configuration)]


class Socat(Contender):
    """Its option for ciphers is about TLS before 1.3; those of 1.3 are OpenSSL's default."""

    name = program = "socat"

    def version(self) -> str:
        return re.search(r"socat version (\S+)", self.asked("-V"))[0]

    def near(self, route: Route, own: Identity) -> list[str]:
        return self._serve(
            f"UNIX-LISTEN:{route.flows[0].entry},fork",
            f"OPENSSL:{route.host}:{route.port},commonname=far,{self._tls(own)}")

    def far(self, route: Route, own: Identity) -> list[str]:
        return self._serve(
            f"OPENSSL-LISTEN:{route.port},bind={route.host},reuseaddr,fork,{self._tls(own)}",
            f"UNIX-CONNECT:{route.flows[0].exit}")

    @staticmethod
    def _tls(own: Identity) -> str:
        return f"cert={own.combined()},cafile={own.authority},verify=1,openssl-min-proto-version=TLS1.3"

    def _serve(self, listen: str, connect: str) -> list[str]:
        return [self.executable(), "-b", str(4 * BUFFER), "-t", "60", listen, connect]


class Stunnel(Contender):
    name = program = "stunnel"

    def version(self) -> str:
        return re.search(r"^stunnel \S+", self.asked("-version"), re.MULTILINE)[0]

    def near(self, route: Route, own: Identity) -> list[str]:
        return self._serve(route, "near", own, [
            f"client = yes\naccept = {flow.entry}\nconnect = {route.host}:{flow.port}\ncheckHost = far"
            for flow in route.flows])

    def far(self, route: Route, own: Identity) -> list[str]:
        return self._serve(route, "far", own, [
            f"accept = {route.host}:{flow.port}\nconnect = {flow.exit}" for flow in route.flows])

    def _serve(self, route: Route, name: str, own: Identity, tunnels: list[str]) -> list[str]:
        services = "\n".join(f"[{number}]\n{tunnel}" for number, tunnel in enumerate(tunnels))
        configuration = route.write(f"{name}.stunnel", f"""
foreground = yes
syslog = no
debug = err
pid =
cert = {own.certificate}
key = {own.key}
CAfile = {own.authority}
verifyChain = yes
sslVersion = TLSv1.3
ciphersuites = {CIPHER}
{services}
""")
        return [self.executable(), str(configuration)]


class Spiped(Contender):
    """Its own protocol: AES-256-CTR and HMAC-SHA256, keys from a shared secret."""

    name = program = "spiped"
    cipher = None

    def version(self) -> str:
        return self.asked("-v").strip()

    def near(self, route: Route, own: Identity) -> list[str]:
        return self._serve("-e", route.flows[0].entry, f"[{route.host}]:{route.port}", route)

    def far(self, route: Route, own: Identity) -> list[str]:
        secret = route.directory / "spiped.key"
        secret.touch(mode=0o600)
        secret.write_bytes(os.urandom(32))
        return self._serve("-d", f"[{route.host}]:{route.port}", route.flows[0].exit, route)

    def _serve(self, side: str, source: Path | str, target: Path | str, route: Route) -> list[str]:
        # In the foreground, no process id file.
        return [
            self.executable(), side, "-s", str(source), "-t", str(target), "-k", str(route.directory / "spiped.key"),
            "-F", "-p", "/dev/null"]


class SSH(Contender):
    """All flows inside one connection, as with ControlMaster: a master connection that forwards UNIX sockets."""

    name = program = "ssh"
    cipher = None
    CIPHER = "aes256-gcm@openssh.com"

    def version(self) -> str:
        return self.asked("-V").strip().partition(",")[0]

    def near(self, route: Route, own: Identity) -> list[str]:
        known = route.write("known_hosts", f"[{route.host}]:{route.port} {(route.directory / 'host.pub').read_text()}")
        settings = {
            "ControlMaster": "yes", "ControlPath": route.directory / "control", "ExitOnForwardFailure": "yes",
            "IdentityFile": route.directory / "user", "IdentitiesOnly": "yes", "BatchMode": "yes",
            "UserKnownHostsFile": known, "StrictHostKeyChecking": "yes", "Ciphers": self.CIPHER, "Compression": "no",
        }
        return [
            self.executable(), "-F", "none", "-N", "-p", str(route.port),
            *(word for key, value in settings.items() for word in ("-o", f"{key}={value}")),
            *(word for flow in route.flows for word in ("-L", f"{flow.entry}:{flow.exit}")),
            route.host]

    def far(self, route: Route, own: Identity) -> list[str]:
        for key in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(route.directory / key)], check=True)
        if os.geteuid() == 0:
            # sshd's separation of privileges needs this empty directory; on Debian its service makes it.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        configuration = route.write("sshd_config", f"""
ListenAddress {route.host}:{route.port}
HostKey {route.directory}/host
AuthorizedKeysFile {route.directory}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
Ciphers {self.CIPHER}
""")
        return [shutil.which("sshd", path="/usr/sbin:/sbin:" + os.environ.get("PATH", "")), "-D", "-e", "-f", str(configuration)]


class Floor(Contender):
    """Not a relay: the least that one can cost with this machine's OpenSSL. See bench/floor."""

    name = "floor"
    cipher = None
    program = str(PRODUCTS / "culvert-floor")
    near_does, far_does = "seal", "open"

    def version(self) -> str:
        return "bare AES-256-GCM records of 16 KiB, 256 KiB a system call"

    def near(self, route: Route, own: Identity) -> list[str]:
        return self._carry(self.near_does, f"unix:{route.flows[0].entry}", f"tcp:{route.host}:{route.port}")

    def far(self, route: Route, own: Identity) -> list[str]:
        return self._carry(self.far_does, f"tcp:{route.host}:{route.port}", f"unix:{route.flows[0].exit}")

    def _carry(self, how: str, source: str, target: str) -> list[str]:
        return [self.executable(), how, "--listen", source, "--to", target]


class Splice(Floor):
    """The same for plaintext, which need not enter a process."""

    name = "splice"
    near_does = far_does = "splice"

    def version(self) -> str:
        return "splice(2) through a pipe of 256 KiB"
