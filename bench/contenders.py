"""The relays that `compare` measures: how each pair is configured, started and asked for its version.

All of them carry one stream from the UNIX socket `entry` to the UNIX socket `exit`, through one TLS 1.3 connection on
the loopback interface with TLS_AES_256_GCM_SHA384 and certificates on both sides. Each is set up as somebody who knows
it and wants this one stream to go fast would do it; the values were found by trying (see README.md).
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

BUFFER = 64 * 1024
CIPHER = "TLS_AES_256_GCM_SHA384"


@dataclass(frozen=True)
class Route:
    """Where a pair of relays runs, and what it has to connect."""

    directory: Path
    port: int

    @property
    def entry(self) -> Path:
        """The near relay listens here; the sender connects."""
        return self.directory / "entry.sock"

    @property
    def exit(self) -> Path:
        """The receiver listens here; the far relay connects."""
        return self.directory / "exit.sock"

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


class Contender:
    """A pair of relays: a name, what must be installed, and one command line for each side."""

    name: str
    program: str

    def executable(self) -> str | None:
        return shutil.which(self.program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

    def version(self) -> str:
        raise NotImplementedError

    def near(self, route: Route, own: Identity) -> list[str]:
        raise NotImplementedError

    def far(self, route: Route, own: Identity) -> list[str]:
        raise NotImplementedError

    def asked(self, *arguments: str) -> str:
        done = subprocess.run([self.executable(), *arguments], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr


class Culvert(Contender):
    name = "culvert"

    def __init__(self, program: str):
        self.program = program

    def version(self) -> str:
        return self.asked("--version").strip()

    def near(self, route: Route, own: Identity) -> list[str]:
        return self._serve(route, own, "near", port=0, extra=f"""
peers:
  far: {{ addresses: ["127.0.0.1:{route.port}"] }}
forwards:
  - {{ listen: "unix:{route.entry}", to: "far/exit" }}
""")

    def far(self, route: Route, own: Identity) -> list[str]:
        return self._serve(route, own, "far", port=route.port, extra=f"""
peers:
  near: {{ addresses: [] }}
services:
  exit: {{ connect: "unix:{route.exit}", allow: [near] }}
""")

    def _serve(self, route: Route, own: Identity, name: str, port: int, extra: str) -> list[str]:
        configuration = route.write(f"{name}.yaml", f"""
relay:
  name: {name}
  listen: ["127.0.0.1:{port}"]
  admin: {route.directory}/{name}.admin
tls:
  ca: {own.authority}
  certificate: {own.certificate}
  key: {own.key}
{extra}""")
        return [self.executable(), "serve", "--config", str(configuration)]


class HAProxy(Contender):
    name = program = "haproxy"

    def version(self) -> str:
        return self.asked("-v").splitlines()[0].split(" - ")[0]

    def near(self, route: Route, own: Identity) -> list[str]:
        return self._serve(
            route, "near",
            listen=f"unix@{route.entry}",
            server=f"127.0.0.1:{route.port} ssl verify required verifyhost far {self._tls(own)}")

    def far(self, route: Route, own: Identity) -> list[str]:
        return self._serve(
            route, "far",
            listen=f"127.0.0.1:{route.port} ssl verify required {self._tls(own)}",
            server=f"unix@{route.exit}")

    @staticmethod
    def _tls(own: Identity) -> str:
        return f"crt {own.combined()} ca-file {own.authority} ssl-min-ver TLSv1.3 ciphersuites {CIPHER}"

    def _serve(self, route: Route, name: str, listen: str, server: str) -> list[str]:
        # A thread more would stay idle: haproxy serves a connection, with its server side, on one thread.
        configuration = route.write(f"{name}.cfg", f"""
global
    nbthread 1
    maxconn 100
    tune.bufsize {BUFFER}
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen relay
    bind {listen}
    server next {server}
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
        listen unix:{route.entry};
        proxy_pass 127.0.0.1:{route.port};
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
        listen 127.0.0.1:{route.port} ssl;
        proxy_pass unix:{route.exit};
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
    name = program = "socat"

    def version(self) -> str:
        return re.search(r"socat version (\S+)", self.asked("-V"))[0]

    def near(self, route: Route, own: Identity) -> list[str]:
        return self._serve(
            f"UNIX-LISTEN:{route.entry},fork",
            f"OPENSSL:127.0.0.1:{route.port},commonname=far,{self._tls(own)}")

    def far(self, route: Route, own: Identity) -> list[str]:
        return self._serve(
            f"OPENSSL-LISTEN:{route.port},bind=127.0.0.1,reuseaddr,fork,{self._tls(own)}",
            f"UNIX-CONNECT:{route.exit}")

    @staticmethod
    def _tls(own: Identity) -> str:
        return f"cert={own.combined()},cafile={own.authority},verify=1,openssl-min-proto-version=TLS1.3"

    def _serve(self, listen: str, connect: str) -> list[str]:
        return [self.executable(), "-b", str(4 * BUFFER), "-t", "60", listen, connect]


class Floor(Contender):
    """Not a relay: the least that one can cost with this machine's OpenSSL. See bench/floor."""

    name = "floor"

    def __init__(self, program: str):
        self.program = program

    def version(self) -> str:
        return "bare AES-256-GCM records of 16 KiB, 256 KiB a system call"

    def near(self, route: Route, own: Identity) -> list[str]:
        return [self.executable(), "seal", "--listen", f"unix:{route.entry}", "--to", f"tcp:127.0.0.1:{route.port}"]

    def far(self, route: Route, own: Identity) -> list[str]:
        return [self.executable(), "open", "--listen", f"tcp:127.0.0.1:{route.port}", "--to", f"unix:{route.exit}"]
