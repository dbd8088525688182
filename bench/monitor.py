"""A QEMU's monitor, over QMP."""

import json
import socket
import time
from pathlib import Path

from processes import Failure


class Monitor:
    """Closed when the `with` ends."""

    def __init__(self, path: Path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rw")
        self.lines.readline()
        self.ask("qmp_capabilities")

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def ask(self, command: str, **arguments):
        self.lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.lines.flush()
        while True:
            line = self.lines.readline()
            if not line:
                raise Failure(f"QEMU ended before it answered {command}")
            said = json.loads(line)
            if "error" in said:
                raise Failure(f"QEMU refuses {command}: {said['error']['desc']}")
            if "return" in said:
                return said["return"]

    def has_migrated(self) -> bool:
        """Whether the migration that has begun is complete."""
        state = self.ask("query-migrate")
        if state.get("status") in ("failed", "cancelled"):
            raise Failure(f"the migration {state['status']}: {state.get('error-desc', 'QEMU does not say why')}")
        return state.get("status") == "completed"


def wait_for(what: str, seconds: float, condition) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failure(f"{what} takes more than {seconds:.0f} s")
        time.sleep(0.05)
