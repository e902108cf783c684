"""The candle service under load: latency, throughput and memory with 50 concurrent clients.

The 1m table has a year of eight series, 525,600 candles each, in a file per day, as runs leave them. The clients are a
process of their own on the same two cores. Each sends its next request as soon as it has read an answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import api_airflow
from benchmarks.bench_catalog import KEY_ORDER, BenchCatalog, generated_candles
from benchmarks.harness import Bench, Cell, Grid, Section, Verdict, log_progress, require_equal
from benchmarks.http_load import Answers, Load, percentile, run_load
from benchmarks.memory import PeakMemory
from ohlcv.config.settings import Settings
from ohlcv.ingest.sample_data import Feed
from ohlcv.model.intervals import Range, iso
from ohlcv.model.timeframes import DAY
from ohlcv.spark.processes import start, stop, wait_for_line

END = datetime(2026, 3, 2, tzinfo=UTC)
YEAR_DAYS, QUICK_DAYS = 365, 20
CLIENTS = 50
CANDLES = 5_000
MINUTE = timedelta(minutes=1)
RUN_MICROSECONDS = 300_000_000
SECONDS, QUICK_SECONDS = 10.0, 2.0
# Distinct ranges: more than a load requests, so that none is answered twice.
RANGES = 20_000
MAX_MILLISECONDS, MAX_UNCHANGED_MILLISECONDS, MAX_MEGABYTES = 300.0, 50.0, 512.0
RATE = "100000"
COLUMNS = (
    "request",
    "clients",
    "answers",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "answers/s",
    "MB/s",
    "clients' cpu",
    "peak MB",
)


@dataclass(frozen=True)
class Market:
    """A home with candles, and the series that the clients read."""

    settings: Settings
    symbol: str
    exchange: str
    candles: Range

    def page(self, start: datetime) -> str:
        """Return the path of 5,000 candles."""
        end = start + CANDLES * MINUTE
        return (
            f"/api/v1/candles?timeframe=1m&symbol={quote(self.symbol)}&exchange={quote(self.exchange)}"
            f"&start={iso(start)}&end={iso(end)}&limit={CANDLES}"
        )

    def history(self, start: datetime) -> str:
        """Return the path of 5,000 bars in the UDF format."""
        begin, end = int(start.timestamp()), int((start + CANDLES * MINUTE).timestamp())
        ticker = quote(f"{self.exchange}:{self.symbol}")
        return f"/udf/history?symbol={ticker}&resolution=1&from={begin}&to={end}"

    def everything(self, format: str) -> str:
        """Return the path of all candles of the series."""
        return (
            f"/api/v1/candles?timeframe=1m&symbol={quote(self.symbol)}&exchange={quote(self.exchange)}&format={format}"
        )

    @property
    def newest(self) -> datetime:
        """Return the start of the newest page."""
        return self.candles.end - CANDLES * MINUTE

    def consecutive_starts(self) -> list[datetime]:
        """Return the starts of pages that cover all candles."""
        count = (self.candles.end - self.candles.start) // (CANDLES * MINUTE)
        return [self.candles.start + number * CANDLES * MINUTE for number in range(count)]

    def random_starts(self, seed: int) -> list[datetime]:
        """Return different starts of pages."""
        windows = (self.newest - self.candles.start) // MINUTE
        order = np.random.default_rng(seed).permutation(windows)[:RANGES]
        return [self.candles.start + int(number) * MINUTE for number in order]


def build_market(folder: Path, days: int) -> Market:
    """Generate the candles of all timeframes, one file per partition."""
    catalog = BenchCatalog(folder / "home")
    begin = END - days * DAY
    trades = Feed(END - DAY).batch(END, 100)
    for timeframe in map(catalog.timeframe, catalog.settings.tuning):
        table = catalog.table(timeframe.name)
        files = []
        start = begin
        while start < END:
            next_day = timeframe.next_partition(start.date())
            end = min(END, datetime(next_day.year, next_day.month, next_day.day, tzinfo=UTC))
            path = folder / f"{timeframe}-{start:%F}.parquet"
            rows = generated_candles(table, Range(start, end), timeframe, trades)
            pq.write_table(_with_run_times(rows).sort_by(KEY_ORDER), path, compression="zstd")
            files.append(path.as_uri())
            start = end
        # Not append(), which needs another package to partition by month.
        table.add_files(files, check_duplicate_files=False)
    symbol, exchange = trades["symbol"][0].as_py(), trades["exchange"][0].as_py()
    return Market(catalog.settings, symbol, exchange, Range(begin, END))


def _with_run_times(rows: pa.Table) -> pa.Table:
    """Set the times of the runs every five minutes that have written the candles, which have microseconds."""
    ends = pc.cast(rows["window_end"].combine_chunks(), pa.int64()).to_numpy()
    runs = -(-ends // RUN_MICROSECONDS) * RUN_MICROSECONDS
    times = pa.array(runs + 9_000_000 + runs // RUN_MICROSECONDS % 1_000_000)
    for name in ("created_at", "updated_at"):
        field = rows.schema.field(name)
        rows = rows.set_column(rows.schema.get_field_index(name), field, times.cast(field.type))
    return rows


@dataclass(frozen=True)
class RunningService:
    """A running candle service and the token of a client."""

    url: str
    headers: dict[str, str]
    process: subprocess.Popen[bytes]

    def load(self, targets: Sequence[str], clients: int, seconds: float | None) -> Load:
        """Return a load with the token."""
        address = urlsplit(self.url)
        assert address.hostname
        assert address.port
        return Load(address.hostname, address.port, targets, self.headers, clients, seconds)

    def get(self, path: str) -> httpx.Response:
        """Return an answer. Raise if it is an error."""
        return httpx.get(self.url + path, headers=self.headers, trust_env=False, timeout=60).raise_for_status()


@contextmanager
def candle_service(settings: Settings) -> Iterator[RunningService]:
    """Start `ohlcv serve` on a free TCP port, and stop it when the block ends."""
    program = str(Path(sys.executable).with_name("ohlcv"))
    environment = os.environ | {
        "OHLCV_HOME": str(settings.home),
        "OHLCV_API_TOKENS": str(settings.home / "tokens"),
        "OHLCV_API_RATE": RATE,
    }
    command = [program, "serve", "--new-token", f"client-{time.monotonic_ns()}"]
    token = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    log = settings.home / "candle-service.log"
    process = start([program, "serve", "--port", "0"], environment, log)
    try:
        url = wait_for_line(process, log, r"candle service: (http\S+)")
        # The answers of all clients are uncompressed. Another encoding has another ETag.
        yield RunningService(url, {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}, process)
    finally:
        stop(process)


def measure(bench: Bench) -> Section:
    """Measure the service alone, then through Airflow."""
    section = Section("api")
    market = build_market(bench.folder_for("api"), QUICK_DAYS if bench.quick else YEAR_DAYS)
    log_progress("candles generated")
    _measure_cold(bench, market, section)
    _measure_service(market, section, QUICK_SECONDS if bench.quick else SECONDS)
    api_airflow.measure(bench.folder_for("airflow"), market.settings, market.page(market.newest), section, bench.quick)
    return section


def _measure_cold(bench: Bench, market: Market, section: Section) -> None:
    """Measure the first request of a service that has just started."""
    grid = Grid("The first request of 5,000 candles after the start", ("run", "start s", "request ms"))
    for number in range(bench.repeats):
        begin = time.monotonic()
        with candle_service(market.settings) as service:
            ready = time.monotonic() - begin
            found = run_load(service.load([market.page(market.newest)], 1, None)).require(200)
        grid.rows.append((number + 1, ready, found.rows[0][2]))
    section.grids.append(grid)


def _measure_service(market: Market, section: Section, seconds: float) -> None:
    windows = (market.candles.end - market.candles.start) // MINUTE
    grid = Grid(f"The candle service, {windows:,} windows of 1m, {CLIENTS} clients", COLUMNS)
    section.grids.append(grid)
    with candle_service(market.settings) as service:
        peak = PeakMemory(service.process.pid)

        def add(name: str, load: Load, status: int = 200) -> Answers:
            found = run_load(load).require(status)
            peak.update()
            row = summary(name, load.clients, found, status)
            grid.rows.append((*row, peak.megabytes))
            section.measured[name] = [{"ms": ms} for ms in found.milliseconds(status)]
            log_progress(", ".join(f"{column} {cell}" for column, cell in zip(COLUMNS, grid.rows[-1], strict=True)))
            return found

        _check(service, market)
        page, history = market.page(market.newest), market.history(market.newest)
        first_pages = [market.page(start) for start in market.consecutive_starts()]
        add("candles, each range for the first time", service.load(first_pages, CLIENTS, None))
        limits = {
            "candles, same range": (page, MAX_MILLISECONDS),
            "UDF history, same range": (history, MAX_MILLISECONDS),
        }
        found = {name: add(name, service.load([target], CLIENTS, seconds)) for name, (target, _) in limits.items()}
        ranges = {
            "candles, different ranges": [market.page(start) for start in market.random_starts(1)],
            "UDF history, different ranges": [market.history(start) for start in market.random_starts(2)],
        }
        found |= {name: add(name, service.load(targets, CLIENTS, seconds)) for name, targets in ranges.items()}
        etag = service.get(page).headers["ETag"]
        unchanged = service.load([page], CLIENTS, seconds)
        unchanged = replace(unchanged, headers={**unchanged.headers, "If-None-Match": etag})
        not_modified = add("candles, unchanged (304)", unchanged, 304)
        _measure_csv(service, market, peak, section)
        for name, answers in found.items():
            p95 = percentile(answers.milliseconds(200), 95)
            section.verdicts.append(Verdict(f"{name}, 95th percentile", p95, MAX_MILLISECONDS, " ms"))
        p95 = percentile(not_modified.milliseconds(304), 95)
        section.verdicts.append(Verdict("unchanged (304), 95th percentile", p95, MAX_UNCHANGED_MILLISECONDS, " ms"))
        section.verdicts.append(Verdict("peak memory of the worker", peak.megabytes, MAX_MEGABYTES, " MB"))
    log = (market.settings.home / "candle-service.log").read_text()
    require_equal("workers of the service", 1, log.count(" serves"))


def _check(service: RunningService, market: Market) -> None:
    """Compare an answer with the table."""
    answer = service.get(market.page(market.newest)).json()
    require_equal("candles of a page", CANDLES, len(answer["candles"]))
    require_equal("first window", iso(market.newest), answer["candles"][0]["window_start"])
    bars = service.get(market.history(market.newest)).json()
    require_equal("bars of a history", [float(each["close_price"]) for each in answer["candles"]], bars["c"])


def _measure_csv(service: RunningService, market: Market, peak: PeakMemory, section: Section) -> None:
    begin = time.monotonic()
    lines = size = 0
    url = service.url + market.everything("csv")
    with httpx.stream("GET", url, headers=service.headers, trust_env=False, timeout=60) as answer:
        for part in answer.raise_for_status().iter_bytes():
            lines += part.count(b"\n")
            size += len(part)
    seconds = time.monotonic() - begin
    peak.update()
    require_equal("lines of the CSV file", (market.candles.end - market.candles.start) // MINUTE + 1, lines)
    columns = ("download", "candles", "s", "MB", "MB/s", "peak MB")
    row = ("all 1m candles of a series as CSV", lines - 1, seconds, size / 1e6, size / 1e6 / seconds, peak.megabytes)
    section.grids.append(Grid("A bulk download by one client", columns, [row]))


def summary(name: str, clients: int, found: Answers, status: int) -> list[Cell]:
    """Return name, clients, answers, percentiles and throughput of a load; processor time as a share of one core."""
    times = found.milliseconds(status)
    percentiles = [percentile(times, percent) for percent in (50, 95, 99)]
    rates = [len(times) / found.wall, found.bytes / 1e6 / found.wall, found.processor / found.wall]
    return [name, clients, len(times), *percentiles, *rates]
