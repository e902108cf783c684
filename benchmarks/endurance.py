"""Hundreds of consecutive scheduled runs of 1m and 5m through Airflow, under a steady feed of trades.

The schedule is compressed: the runs belong to consecutive five minutes of the past, and each starts as soon as the
previous one has ended. The feed stays one interval ahead; some trades are late by up to four hours, some are delivered
twice, some rows are invalid. Memory, files, snapshots and durations are measured every ten runs.

    make bench-endurance             300 runs of each timeframe (three hours)
    RUNS=20 make bench-endurance     fewer runs, only to check that it runs
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.endurance_plot import write_plot
from benchmarks.harness import log_progress
from ohlcv.cli.terminal import new_table, print_table
from ohlcv.config.settings import Settings, load_settings
from ohlcv.demo.local_airflow import LocalAirflow, local_airflow
from ohlcv.iceberg.retention_plan import measure_table
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, floor_time, iso
from ohlcv.quality.validator import validate_days
from ohlcv.spark.local_cluster import LocalCluster, local_cluster
from ohlcv.spark.processes import descendants

DAGS = Path(__file__).parent / "dags"
TIMEFRAMES = ("1m", "5m")
TICK = timedelta(minutes=5)
RUNS = 300
TRADES_A_TICK = 2_000
# Shares of the trades: late by one to 48 ticks, delivered twice, and invalid.
LATE, REPEATED, INVALID = 0.01, 0.005, 0.002
MAX_LATENESS = 48
# Number of ticks before the first run that have trades.
HISTORY = 12
MEASURED_RUNS = 10
POLL_SECONDS = 1.0
# Processes that live shorter belong to one task or one parse of a DAG file.
LONG_LIVED_SECONDS = 240.0


@dataclass
class SteadyFeed:
    """Trades of consecutive ticks, loaded in one commit per tick."""

    settings: Settings
    begin: datetime
    rows: int = 0
    late: int = 0
    repeated: int = 0
    invalid: int = 0
    _feed: Feed = field(init=False)
    _random: np.random.Generator = field(init=False)
    # Late trades by the number of the tick that delivers them.
    _waiting: dict[int, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    _ticks: int = 0

    def __post_init__(self) -> None:
        self._feed = Feed(self.begin)
        self._random = np.random.default_rng(7)

    @property
    def end(self) -> datetime:
        """Return the time up to which trades have been loaded."""
        return self.begin + self._ticks * TICK

    def load_until(self, end: datetime) -> None:
        """Load the ticks up to a time."""
        while self.end < end:
            self._load_tick()

    def _load_tick(self) -> None:
        self._ticks += 1
        trades = self._feed.batch(self.end, TRADES_A_TICK)
        is_delayed = pa.array(self._random.random(len(trades)) < LATE)
        delayed = trades.filter(is_delayed)
        for number in range(len(delayed)):
            self._waiting[self._ticks + int(self._random.integers(1, MAX_LATENESS + 1))].append(
                delayed.slice(number, 1)
            )
        on_time = trades.filter(pc.invert(is_delayed))
        repeated = self._sample(on_time, REPEATED)
        invalid = _without_prices(self._sample(on_time, INVALID), f"{self._ticks}")
        late = self._waiting.pop(self._ticks, [])
        self.late += len(late)
        self.repeated += len(repeated)
        self.invalid += len(invalid)
        self._append([on_time, repeated, invalid, *late])

    def _sample(self, trades: pa.Table, share: float) -> pa.Table:
        return trades.filter(pa.array(self._random.random(len(trades)) < share))

    def _append(self, tables: list[pa.Table]) -> None:
        # Another system writes the trades table, so the loader, which skips repeated rows, is not used.
        table = load_table(open_catalog(self.settings), self.settings.trades_contract)
        rows = pa.concat_tables(tables)
        table.append(rows.select(table.schema().as_arrow().names).cast(table.schema().as_arrow()))
        self.rows += len(rows)


def _without_prices(trades: pa.Table, mark: str) -> pa.Table:
    """Return rows with new ids and a negative price, which every run rejects."""
    changes = {
        "trade_id": pc.binary_join_element_wise("invalid", mark, trades["trade_id"], "-"),
        "message_id": pc.binary_join_element_wise("invalid", mark, trades["message_id"], "-"),
        "price": pc.negate(trades["price"]),
    }
    return pa.table(
        {name: changes.get(name, trades[name]).cast(trades.schema.field(name).type) for name in trades.column_names},
        schema=trades.schema,
    )


@dataclass(frozen=True)
class Measurement:
    """The state of services and tables after a number of runs."""

    runs: int
    minutes: float
    # Proportional memory of each service in MB, with its long-lived children.
    memory: Mapping[str, float]
    # Data files, snapshots, manifests and bytes of metadata of each candle table.
    tables: Mapping[str, Mapping[str, int]]
    # Median seconds of the runs since the previous measurement, by timeframe.
    aggregate: Mapping[str, float]
    validate: Mapping[str, float]
    log_megabytes: float
    open_files: Mapping[str, int]


class Endurance:
    """The running installation and what was measured."""

    def __init__(self, settings: Settings, airflow: LocalAirflow, cluster: LocalCluster, feed: SteadyFeed) -> None:
        self.settings = settings
        self.airflow = airflow
        self.cluster = cluster
        self.feed = feed
        self.measurements: list[Measurement] = []
        self.seconds: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in TIMEFRAMES}
        self.interrupted = False
        self._begin = time.monotonic()
        self._measured = dict.fromkeys(TIMEFRAMES, 0)

    def run(self, begin: datetime, runs: int) -> int:
        """Let Airflow make the runs, and measure. Return how many runs of each timeframe were made."""
        self.airflow.unpause(*(f"ohlcv_{name}" for name in TIMEFRAMES))
        self.measure(0)
        done = 0
        while done < runs and not self.interrupted:
            self.airflow.check_alive()
            ended = [self._ended(name) for name in TIMEFRAMES]
            # The next run of either timeframe finds its trades.
            self.feed.load_until(min(begin + (max(ended) + 2) * TICK, begin + runs * TICK))
            done = min(ended)
            if done >= (len(self.measurements)) * MEASURED_RUNS:
                self.measure(done)
            time.sleep(POLL_SECONDS)
        if done > self.measurements[-1].runs:
            self.measure(done)
        return done

    def interrupt(self, *_: object) -> None:
        """End after the current measurement, as after Ctrl-C."""
        self.interrupted = True

    def _ended(self, name: str) -> int:
        """Return the number of ended runs. Raise OhlcvError if one failed; report one whose task was tried again."""
        dag_id = f"ohlcv_{name}"
        newest, total = self.airflow.newest_runs(dag_id, 5, run_type="scheduled")
        for run in newest:
            if run["state"] == "failed":
                raise OhlcvError(f"{dag_id} {run['dag_run_id']} failed: see {self.airflow.folder}")
            if run["state"] == "success" and run["dag_run_id"] not in self.seconds[name]:
                tasks = self.airflow.tasks(dag_id, run["dag_run_id"])
                if any(task["try_number"] > 1 for task in tasks.values()):
                    log_progress(f"{dag_id} {run['dag_run_id']}: a task was tried again")
                self.seconds[name][run["dag_run_id"]] = tuple(  # type: ignore[assignment]
                    float(tasks[task]["duration"]) for task in ("aggregate", "validate")
                )
        return total - sum(run["state"] in ("queued", "running") for run in newest)

    def measure(self, runs: int) -> None:
        """Measure services and tables."""
        services = {**self.airflow.processes, **self.cluster.processes}
        roots = {name: process.pid for name, process in services.items()}
        roots["benchmark"] = os.getpid()
        own = set(roots.values())
        sizes = {name: self._size(name) for name in (*TIMEFRAMES, "trades")}
        new = {name: list(found.values())[self._measured[name] :] for name, found in self.seconds.items()}
        self._measured = {name: len(found) for name, found in self.seconds.items()}
        self.measurements.append(
            Measurement(
                runs,
                round((time.monotonic() - self._begin) / 60, 1),
                {name: round(_memory(pid, own - {pid}), 1) for name, pid in roots.items() if name != "benchmark"},
                sizes,
                {name: round(statistics.median(each[0] for each in found), 2) for name, found in new.items() if found},
                {name: round(statistics.median(each[1] for each in found), 2) for name, found in new.items() if found},
                round(sum(path.stat().st_size for path in _files(self.airflow.folder / "logs")) / 1e6, 1),
                {name: _open_files(pid) for name, pid in roots.items() if name != "benchmark"},
            )
        )
        found = self.measurements[-1]
        memory = ", ".join(f"{name} {value:.0f}" for name, value in found.memory.items())
        log_progress(f"{runs} runs after {found.minutes:.0f} min: {memory} MB; aggregate s {dict(found.aggregate)}")
        if path := os.environ.get("JSON"):
            Path(path).write_text(json.dumps([vars(each) for each in self.measurements], indent=1) + "\n")

    def _size(self, name: str) -> dict[str, int]:
        settings = self.settings
        contract = settings.trades_contract if name == "trades" else settings.candles_contract(settings.timeframe(name))
        size = measure_table(settings, contract)
        return {
            "rows": size.rows,
            "files": size.files,
            "snapshots": size.snapshots,
            "manifests": size.manifests,
            "metadata_bytes": size.metadata_size,
        }


def _memory(pid: int, others: set[int]) -> float:
    """Return the proportional memory of a process and its long-lived children in MB, without other services."""
    total = 0.0
    for each in (pid, *descendants(pid)):
        if each != pid and (each in others or _age(each) < LONG_LIVED_SECONDS):
            continue
        with suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return total


def _age(pid: int) -> float:
    """Return for how many seconds a process has been running."""
    with suppress(OSError):
        started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return float(Path("/proc/uptime").read_text().split()[0]) - started / os.sysconf("SC_CLK_TCK")
    return 0.0


def _open_files(pid: int) -> int:
    with suppress(OSError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


@contextmanager
def _installation(folder: Path, begin: datetime) -> Iterator[tuple[Settings, LocalAirflow, LocalCluster]]:
    environment = {"OHLCV_HOME": str(folder / "home"), "ENDURANCE_START": begin.isoformat()}
    settings = load_settings(environment)
    create_tables(settings)
    with (
        local_cluster(folder / "spark") as cluster,
        local_airflow(folder / "airflow", cluster.master, cluster.web, environment, DAGS) as airflow,
    ):
        yield settings, airflow, cluster


def _assert_exact(settings: Settings, time_range: Range) -> dict[str, int]:
    """Compare all candles with the trades by DuckDB, and return their numbers."""
    counts = {}
    for name in TIMEFRAMES:
        results = list(validate_days(settings, settings.timeframe(name), time_range))
        failures = [finding for result in results for finding in result.failures]
        if failures:
            raise OhlcvError(f"{name}: {failures[0]}")
        counts[name] = sum(result.candles for result in results)
    return counts


@click.command(help=__doc__)
@click.option("--runs", type=click.IntRange(min=1), default=int(os.environ.get("RUNS") or RUNS), show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), help="Write a plot (SVG) to this file.")
def main(runs: int, plot: Path | None) -> None:
    """Make the runs, compare all candles, and print the measurements."""
    begin = floor_time(datetime.now(UTC) - (runs + 1) * TICK, TICK)
    with tempfile.TemporaryDirectory() as folder, _installation(Path(folder), begin) as (settings, airflow, cluster):
        feed = SteadyFeed(settings, begin - HISTORY * TICK)
        feed.load_until(begin + TICK)
        endurance = Endurance(settings, airflow, cluster, feed)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, endurance.interrupt)
        runs = endurance.run(begin, runs)
        for name in TIMEFRAMES:
            airflow.pause(f"ohlcv_{name}")
        counts = _assert_exact(settings, Range(begin, begin + runs * TICK))
        _show(endurance)
        lines = f"{feed.rows:,} rows, {feed.late:,} late, {feed.repeated:,} repeated, {feed.invalid:,} invalid"
        click.echo(f"{iso(begin)} .. {iso(feed.end)}: {lines}; candles without a difference: {counts}")
        if plot:
            write_plot(plot, [vars(each) for each in endurance.measurements])


def _show(endurance: Endurance) -> None:
    first = endurance.measurements[0]
    table = new_table(
        "Endurance",
        "runs",
        "minutes",
        *(f"{name} MB" for name in first.memory),
        "1m s",
        "5m s",
        "1m files",
        "1m snapshots",
    )
    for each in endurance.measurements:
        cells: list[Any] = [each.runs, each.minutes, *each.memory.values()]
        cells += [each.aggregate.get(name, "") for name in TIMEFRAMES]
        cells += [each.tables["1m"]["files"], each.tables["1m"]["snapshots"]]
        table.add_row(*map(str, cells))
    print_table(table)


if __name__ == "__main__":
    main()
