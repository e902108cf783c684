"""Shared parts of all sections: repeated and interleaved measurement, medians, limits and output."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from ohlcv.cli.terminal import print_table
from ohlcv.spark.jars import ICEBERG
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from ohlcv.spark.toolchain import java_home, packaged_spark_home

PACKAGES = ("pyspark", "pyiceberg", "pyarrow", "apache-airflow", "duckdb", "polars", "chdb", "datafusion")

Cell = str | int | float | None


class ResultsDifferError(Exception):
    """Raised if two measured ways return different results, so that their times cannot be compared."""


@dataclass(frozen=True)
class Cost:
    """Wall time and CPU time of one measured run, in seconds."""

    wall: float
    processor: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s wall, {self.processor:.2f} s processor"


@dataclass(frozen=True)
class Bench:
    """Options and shared resources of one execution of the benchmarks."""

    folder: Path
    # Closes clusters and sessions at the end.
    stack: ExitStack
    repeats: int = 3
    # Small data and one repeat: checks that everything runs. The figures mean nothing.
    quick: bool = False

    def folder_for(self, name: str) -> Path:
        """Create the folder of a section and return it."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    @cached_property
    def cluster(self) -> LocalCluster:
        """A cluster with one worker of one core, shared by all sections."""
        return self.stack.enter_context(local_cluster(self.folder_for("spark")))

    @cached_property
    def stock_cluster(self) -> LocalCluster:
        """The same cluster with pyspark's own home, from which executors of a plain spark-submit start."""
        return self.stack.enter_context(local_cluster(self.folder_for("stock"), home=packaged_spark_home()))


@dataclass(frozen=True)
class Verdict:
    """A measured figure and its limit (`bar`), which is a maximum or, with `at_least`, a minimum."""

    what: str
    figure: float
    bar: float
    unit: str = ""
    at_least: bool = False

    @property
    def reached(self) -> bool:
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar

    def __str__(self) -> str:
        kind = "at least" if self.at_least else "at most"
        figures = f"{self.figure:,.2f}{self.unit} ({kind} {self.bar:,.2f}{self.unit})"
        return f"{'reached' if self.reached else 'NOT REACHED'}: {self.what}: {figures}"


@dataclass
class Grid:
    """A table of results."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)


@dataclass
class Section:
    """Results of one section."""

    name: str
    grids: list[Grid] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # All single measurements, for further evaluation of the JSON file.
    measured: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    seconds: float = 0.0

    def add_measurements(self, prefix: str, costs: Mapping[str, Sequence[Cost]]) -> None:
        """Add single measurements to the JSON output."""
        for name, found in costs.items():
            self.measured[f"{prefix} {name}"] = [asdict(cost) for cost in found]

    def to_json(self) -> dict[str, Any]:
        """Return the section as JSON."""
        verdicts = [{**asdict(verdict), "reached": verdict.reached} for verdict in self.verdicts]
        return {**asdict(self), "verdicts": verdicts}


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.processor for cost in costs))


def measure_interleaved(
    kinds: Mapping[str, Callable[[], Cost]], rounds: int, prefix: str = ""
) -> dict[str, list[Cost]]:
    """Run every kind once per round. Every second round is reversed, so that no kind is always first."""
    found: dict[str, list[Cost]] = {name: [] for name in kinds}
    for number in range(rounds):
        for name in list(kinds)[:: -1 if number % 2 else 1]:
            cost = kinds[name]()
            found[name].append(cost)
            log_progress(f"{prefix} {name}: {cost}".strip())
    return found


def require_equal(what: str, expected: object, found: object) -> None:
    """Raise ResultsDifferError if two results differ."""
    if expected != found:
        raise ResultsDifferError(f"{what}: the results differ, so the times cannot be compared")


def log_progress(text: str) -> None:
    """Print progress to stderr."""
    click.echo(f"  {text}", err=True)


def run_section(name: str, measure: Callable[[Bench], Section], bench: Bench) -> Section:
    """Run one section and record its duration."""
    click.echo(f"{name} …", err=True)
    begin = time.monotonic()
    section = measure(bench)
    section.seconds = round(time.monotonic() - begin, 1)
    click.echo(f"{name}: {section.seconds:.0f} s", err=True)
    return section


def header(bench: Bench) -> dict[str, Cell]:
    """Return a description of the machine and the versions."""
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = java_home() / "release"
    java = next(
        (line.partition("=")[2].strip('"') for line in release.read_text().splitlines() if "JAVA_VERSION=" in line),
        "unknown",
    )
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {model}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        # A load above zero means that other programs were running.
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "java": java,
        "python": platform.python_version(),
        "iceberg": ICEBERG,
        **{name: _version(name) for name in PACKAGES},
        "repeats": bench.repeats,
        "quick": str(bench.quick).lower(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def show(head: Mapping[str, Cell], sections: Sequence[Section]) -> None:
    """Print all results as tables."""
    print_table(_as_table(Grid("Benchmarks", ("", "value"), [[name, str(value)] for name, value in head.items()])))
    for section in sections:
        for grid in section.grids:
            print_table(_as_table(grid))
        for note in section.notes:
            click.echo(f"  {note}")
    verdicts = [verdict for section in sections for verdict in section.verdicts]
    if not verdicts:
        return
    table = Table(title="Limits", title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_column()
    for verdict in verdicts:
        table.add_row(Text(str(verdict), style="green" if verdict.reached else "bold red"))
    print_table(table)
    click.echo(f"{sum(verdict.reached for verdict in verdicts)} of {len(verdicts)} reached")


def _as_table(grid: Grid) -> Table:
    table = Table(title=grid.title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, name in enumerate(grid.columns):
        left = all(isinstance(row[number], str) for row in grid.rows)
        table.add_column(name, justify="left" if left else "right")
    for row in grid.rows:
        table.add_row(*map(_text, row))
    return table


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.2f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
