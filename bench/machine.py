"""What a result must say about the machine that it was measured on."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

from results import progress

# The load average of the last minute, for each core, below which a machine counts as quiet; it falls by a factor of e in a
# minute. And how many seconds that is waited for.
QUIET, PATIENCE = 0.5, 180


def facts(for_record: bool) -> dict[str, str]:
    """For a record, it first waits until the machine is quiet, so this has to come right before the measuring."""
    if for_record:
        wait_until_quiet()
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
        "OpenSSL": answer("openssl", "version"),
        "Swift": answer("swift", "--version").splitlines()[0],
        "commit": answer("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
    }


def wait_until_quiet() -> None:
    bound = QUIET * os.cpu_count()
    deadline = time.monotonic() + PATIENCE
    if (load := os.getloadavg()[0]) >= bound:
        progress(f"waiting {PATIENCE} s at most until the load, {load:.2f}, is below {bound:g}")
    while load >= bound:
        if time.monotonic() >= deadline:
            progress(f"measuring beside other work, as the record will say: the load is still {load:.2f}")
            return
        time.sleep(1)
        load = os.getloadavg()[0]


def processor() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()


def answer(*command: str) -> str:
    """What a command prints, or that it is not there: a fact that is missing spoils no measurement."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
