"""Plot of an endurance run as SVG: memory of each service and duration of the jobs over the number of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 860, 260, 56
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22")


def write_plot(path: Path, measurements: Sequence[Mapping[str, Any]]) -> None:
    """Write the plot of all measurements to a file."""
    runs = [each["runs"] for each in measurements]
    memory = {name: [each["memory"].get(name, 0) for each in measurements] for name in measurements[0]["memory"]}
    durations = {
        f"{task} {name}": [each[task].get(name) for each in measurements]
        for task in ("aggregate", "validate")
        for name in ("1m", "5m")
    }
    parts = [_panel(0, "Memory of each service, MB", runs, memory), _panel(1, "Median duration, s", runs, durations)]
    body = "\n".join(parts)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {2 * HEIGHT}" font-family="sans-serif" '
        f'font-size="11">\n<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _panel(number: int, title: str, runs: Sequence[int], lines: Mapping[str, Sequence[float | None]]) -> str:
    top, bottom = number * HEIGHT + 30, (number + 1) * HEIGHT - 30
    right = WIDTH - 170
    largest = max((value for values in lines.values() for value in values if value is not None), default=1) or 1

    def x(run: float) -> float:
        return round(MARGIN + (right - MARGIN) * run / (runs[-1] or 1), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * value / largest, 1)

    parts = [f'<text x="{MARGIN}" y="{top - 12}" font-weight="bold">{escape(title)}</text>']
    for share in (0, 0.5, 1):
        value = largest * share
        parts.append(f'<line x1="{MARGIN}" y1="{y(value)}" x2="{right}" y2="{y(value)}" stroke="#dddddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y(value) + 4}" text-anchor="end">{value:,.0f}</text>')
    for run in (runs[0], runs[len(runs) // 2], runs[-1]):
        parts.append(f'<text x="{x(run)}" y="{bottom + 16}" text-anchor="middle">{run} runs</text>')
    for values, color in zip(lines.values(), COLORS, strict=False):
        points = " ".join(f"{x(run)},{y(value)}" for run, value in zip(runs, values, strict=True) if value is not None)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
    for row, ((name, values), color) in enumerate(zip(lines.items(), COLORS, strict=False)):
        last = next((value for value in reversed(values) if value is not None), 0)
        parts.append(
            f'<text x="{right + 12}" y="{top + 8 + 18 * row}" fill="{color}">{escape(name)}: {last:,.1f}</text>'
        )
    return "\n".join(parts)
