"""What a result must say about the machine that it was measured on."""

import os
import platform
import re
import subprocess
from pathlib import Path


def facts() -> dict[str, str]:
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


def processor() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()


def answer(*command: str) -> str:
    """What a command prints, or that it is not there: a fact that is missing spoils no measurement."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
