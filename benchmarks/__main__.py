"""Command line of the benchmarks: `python -m benchmarks --only SECTION --quick --json PATH`."""

from __future__ import annotations

import json
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks import (
    api,
    audited_runs,
    chained,
    coverage,
    growth,
    hours,
    live,
    mapped_tables,
    measures,
    memory,
    merge,
    reprocessing,
    small_runs,
)
from benchmarks.harness import Bench, ResultsDifferError, header, log_progress, run_section, show
from ohlcv.model.errors import OhlcvError

SECTIONS = {
    "small": small_runs.measure,
    "local": small_runs.measure_local,
    "reprocessing": reprocessing.measure,
    "redelivered": reprocessing.measure_redelivered,
    "hours": hours.measure,
    "growth": growth.measure,
    "merge": merge.measure,
    "chained": chained.measure,
    "memory": memory.measure,
    "live": live.measure,
    "api": api.measure,
    "mapped": mapped_tables.measure,
    "audit": audited_runs.measure,
    "coverage": coverage.measure,
    "measures": measures.measure,
}
# Sections that run by default. Together they take a quarter of an hour.
DEFAULT_SECTIONS = ("small", "reprocessing", "growth")


@click.command()
@click.option("--only", type=click.Choice(list(SECTIONS)), multiple=True, help="Sections to measure; may be repeated.")
@click.option("--quick", is_flag=True, help="Small data, one repeat: only to check that everything runs.")
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Runs for a median.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Also write everything to this file.")
def main(only: tuple[str, ...], quick: bool, repeats: int, path: Path | None) -> None:
    """Measure the default sections (small, reprocessing, growth; a quarter of an hour) or the given ones."""
    # KeyboardInterrupt closes the ExitStack, which stops clusters and sessions.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    names = only or DEFAULT_SECTIONS
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack, 1 if quick else repeats, quick)
        head = header(bench)
        try:
            sections = [run_section(name, SECTIONS[name], bench) for name in names]
        except (ResultsDifferError, OhlcvError) as error:
            raise SystemExit(f"error: {error}") from None
    show(head, sections)
    if path:
        found = {"header": head, "sections": {section.name: section.to_json() for section in sections}}
        path.write_text(json.dumps(found, indent=1) + "\n")
        log_progress(f"written to {path}")


if __name__ == "__main__":
    main()
