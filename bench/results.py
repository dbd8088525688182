"""What all results have in common: medians with their spread, a record with the machine, and the end of the command."""

import datetime
import shlex
import signal
import sys
from pathlib import Path
from statistics import median
from typing import Callable

from processes import Failure

RESULTS = Path(__file__).resolve().parent / "results"


def spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def record(name: str, lines: list[str], machine: dict[str, str], picture: str | None = None) -> None:
    """Writes results/DATE-NAME.md, and a picture beside it."""
    stem = f"{datetime.date.today().isoformat()}-{name}"
    RESULTS.mkdir(exist_ok=True)
    shown = []
    if picture is not None:
        (RESULTS / f"{stem}.svg").write_text(picture)
        shown = [f"![the same as a picture]({stem}.svg)", ""]
    command = shlex.join([f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    facts = table(["machine", ""], [[key, value] for key, value in machine.items()])
    path = RESULTS / f"{stem}.md"
    path.write_text("\n".join([f"# {name}, {stem[:10]}", "", *lines, "", *shown, *facts, "", f"Made by `{command}`."]) + "\n")
    progress(f"recorded in {path}")


def finish(main: Callable[[], int | None]) -> None:
    """Runs a command's main function. What it started is ended and what it made is removed also if somebody ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"bench/{Path(sys.argv[0]).name}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
