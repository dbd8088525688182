"""Processes of a measurement: started, watched, charged for their CPU time, and always ended."""

import contextlib
import json
import os
import resource
import socket
import subprocess
import time
from pathlib import Path

PRODUCTS = Path(__file__).resolve().parent.parent / ".build/release"
LOAD = PRODUCTS / "culvert-load"
CULVERT = os.environ.get("CULVERT_BINARY", str(PRODUCTS / "culvert"))


class Failure(Exception):
    """What went wrong, for a person."""


@contextlib.contextmanager
def running(command: list, log: Path, **options):
    """A process that is ended, and waited for, whatever happens."""
    with log.open("ab") as stderr:
        process = subprocess.Popen([str(word) for word in command], stderr=stderr, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def family(process: subprocess.Popen) -> dict[int, int]:
    """The process and all its descendants, each with the clock ticks of user and system time of it and of those of its
    children that are gone."""
    children, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Behind the name, which may hold anything: state ppid … utime stime cutime cstime (proc(5), fields 14–17).
            fields = stat.read_text().rpartition(")")[2].split()
            pid = int(stat.parent.name)
            children.setdefault(int(fields[1]), []).append(pid)
            ticks[pid] = sum(int(field) for field in fields[11:15])
    members = [process.pid]
    for pid in members:
        members += children.get(pid, [])
    return {pid: ticks.get(pid, 0) for pid in members}


def cpu_seconds(process: subprocess.Popen) -> float:
    return sum(family(process).values()) / os.sysconf("SC_CLK_TCK")


def memory(process: subprocess.Popen) -> int:
    """Bytes of memory that are the process's and its descendants' own: neither files nor the kernel's socket buffers."""
    total = 0
    for pid in family(process):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Anonymous:"):
                    total += int(line.split()[1]) * 1024
    return total


def listening(place: Path | int, process: subprocess.Popen) -> bool:
    """Whether a UNIX path or a TCP port takes connections in the process's network namespace. Asks the kernel: a
    connection made only to find out would be carried on to the other side."""
    net = Path(f"/proc/{process.pid}/net")
    if isinstance(place, Path):
        # haproxy binds PATH.PID.tmp and renames it, which the kernel does not notice; ssh binds PATH.RANDOM.
        rows = (line.split() for line in (net / "unix").read_text().splitlines())
        return place.exists() and any(
            row[-1].startswith(str(place)) and row[3] == "00010000" for row in rows)  # __SO_ACCEPTCON
    rows = (line.split() for line in (net / "tcp").read_text().splitlines())
    return any(row[1].endswith(f":{place:04X}") and row[3] == "0A" for row in rows)  # TCP_LISTEN


def wait_until_listening(place: Path | int, process: subprocess.Popen, log: Path, limit: float = 10) -> None:
    deadline = time.monotonic() + limit
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # It ended between the two lines.
            if listening(place, process):
                return
        time.sleep(0.02)
    end = f"ended with {process.returncode}" if process.returncode is not None else "does not listen"
    raise Failure(f"{' '.join(process.args)}: {end}\n{log.read_text()}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def raise_file_limit() -> int:
    """For the processes started from now on: as many descriptors as this one may have. Returns how many."""
    wanted = min(1 << 18, int(Path("/proc/sys/fs/nr_open").read_text()))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(PermissionError, ValueError):  # Root may; unless it is root of a container only.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# culvert-load

def load(*arguments, inside: tuple[str, ...] = ()) -> list[str]:
    """Its command line, in a network namespace if `inside` says so."""
    return [*inside, str(LOAD), *map(str, arguments)]


def result(process: subprocess.Popen, what: str, limit: float, log: Path) -> dict:
    """The last line that a culvert-load prints, within `limit` seconds."""
    try:
        said, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failure(f"{what} did not end within {limit:.0f} s\n{log.read_text()}") from None
    if process.returncode:
        raise Failure(f"{what} failed\n{log.read_text()}")
    return json.loads(said.splitlines()[-1])


def need_load() -> None:
    if not LOAD.exists():
        raise Failure(f"{LOAD} is not there; run 'make bench'")
