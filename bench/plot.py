"""A picture of a comparison: for each row a bar of its speed with the spread, and one of its CPU time. No library."""

from html import escape
from statistics import median

INK, QUIET, SPEED, CPU, TRACK = "#1f2933", "#616e7c", "#2f6fab", "#c2571a", "#f0f4f8"
# Pixels.
WIDTH, MARGIN, TOP, ROW, BAR = 880, 28, 78, 40, 18
NAMES, SPEEDS, CPUS = 165, 370, 175


def bars(title: str, rows: list[tuple[str, list[float], float | None]]) -> str:
    """Rows of a name, speeds of which the median counts, and CPU time a GB where there is one."""
    height = TOP + ROW * len(rows) + MARGIN // 2
    fastest = max(max(speeds) for _, speeds, _ in rows)
    costliest = max((cpu for _, _, cpu in rows if cpu is not None), default=1)
    marks = [rectangle(0, 0, WIDTH, height, "#ffffff"), text(MARGIN, 34, title, size=16)]
    speed_at, cpu_at = MARGIN + NAMES, MARGIN + NAMES + SPEEDS + 70
    for heading, x in (("MB/s", speed_at), ("CPU s/GB", cpu_at)):
        marks.append(text(x, 62, heading, fill=QUIET))
    for index, (name, speeds, cpu) in enumerate(rows):
        y = TOP + ROW * index
        middle, scale = y + BAR / 2, SPEEDS / fastest
        least, most = (speed_at + value * scale for value in (min(speeds), max(speeds)))
        marks += [
            text(MARGIN, y + 14, name),
            rectangle(speed_at, y, SPEEDS, BAR, TRACK),
            rectangle(speed_at, y, median(speeds) * scale, BAR, SPEED),
            f'<path d="M{least:.1f} {middle - 4}v8M{least:.1f} {middle}H{most:.1f}M{most:.1f} {middle - 4}v8" stroke="{INK}"/>',
            text(speed_at + SPEEDS + 8, y + 14, f"{median(speeds):.0f}"),
        ]
        if cpu is not None:
            length = cpu / costliest * CPUS if costliest else 0
            marks += [rectangle(cpu_at, y, length, BAR, CPU), text(cpu_at + length + 8, y + 14, f"{cpu:.2f}")]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="\'Helvetica Neue\',Arial,\'DejaVu Sans\',sans-serif" font-size="13">',
        *marks, "</svg>", ""])


def rectangle(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'


def text(x: float, y: float, words: str, size: int = 13, fill: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}">{escape(words)}</text>'
