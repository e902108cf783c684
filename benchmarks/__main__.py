"""Measure: `make bench`, or `python -m benchmarks --only SECTION --quick --json PATH`."""

from __future__ import annotations

import json
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks import chained, growth, live, memory, merge, reprocessing, small_runs
from benchmarks.harness import AnswersDifferError, Bench, header, run_section, say, show
from ohlcv.model.errors import OhlcvError

SECTIONS = {
    "small": small_runs.measure,
    "local": small_runs.measure_local,
    "reprocessing": reprocessing.measure,
    "growth": growth.measure,
    "merge": merge.measure,
    "chained": chained.measure,
    "memory": memory.measure,
    "live": live.measure,
}
# What a quarter of an hour has room for; the others are asked for by name.
FIRST = ("small", "reprocessing", "growth")


@click.command()
@click.option("--only", type=click.Choice(list(SECTIONS)), multiple=True, help="Sections to measure; may be repeated.")
@click.option("--quick", is_flag=True, help="Small data, one repeat: to see that everything runs.")
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Runs behind a median.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Also write everything to this file.")
def main(only: tuple[str, ...], quick: bool, repeats: int, path: Path | None) -> None:
    """Measure what fits a quarter of an hour (small, reprocessing, growth), or what is named."""
    # Leave by the way out, so that clusters and sessions end too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = only or FIRST
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack, 1 if quick else repeats, quick)
        head = header(bench)
        try:
            sections = [run_section(name, SECTIONS[name], bench) for name in names]
        except (AnswersDifferError, OhlcvError) as error:
            raise SystemExit(f"error: {error}") from None
    show(head, sections)
    if path:
        found = {"header": head, "sections": {section.name: section.to_json() for section in sections}}
        path.write_text(json.dumps(found, indent=1) + "\n")
        say(f"written to {path}")


if __name__ == "__main__":
    main()
