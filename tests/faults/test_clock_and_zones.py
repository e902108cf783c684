"""Time zones and locales of machines: jobs store the same candles and commands print the same output as in UTC."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import load_trades
from ohlcv.model.intervals import from_microseconds, iso
from ohlcv.spark.spark_submit import reprocess_job, run
from support.harness import WIDTHS, Harness, at, read_stored_candles, trade
from support.reference_model import Trade
from support.trade_files import write_generic
from support.zones import compile_locales, environment_of, run_commands

pytestmark = pytest.mark.faults
DAY = timedelta(days=1)
MASTER = "local[2]"
MONTH_END, AMERICA, EUROPE, AUSTRALIA = (
    at(f"2026-{day} 00:00") for day in ("02-28", "03-07", "03-28", "04-04")
)  # the last three: the day before clocks change
LOCALES = ("de_DE", "tr_TR", "ar_EG")
PLACES = {
    # No daylight saving time.
    "Pacific/Kiritimati": ("de_DE", MONTH_END),  # +14
    "Pacific/Niue": ("tr_TR", MONTH_END),  # -11
    "Asia/Kolkata": ("ar_EG", MONTH_END),  # +5:30
    "America/St_Johns": ("de_DE", AMERICA),  # -3:30 to -2:30
    "America/New_York": ("tr_TR", AMERICA),
    "America/Havana": ("ar_EG", AMERICA),  # there is no midnight
    "Europe/Berlin": ("de_DE", EUROPE),
    "Australia/Lord_Howe": ("tr_TR", AUSTRALIA),  # by half an hour
}


def some_trades(begin: datetime) -> list[Trade]:
    """Return trades of two days, every 13 minutes, and one microsecond before and at each midnight."""
    steps = [timedelta(minutes=n, seconds=n % 60) for n in range(0, 2 * 24 * 60, 13)]
    edges = [n * DAY - timedelta(microseconds=early) for n in (0, 1, 2) for early in (0, 1)]
    times = sorted(begin + each for each in {*steps, *edges} if timedelta(0) <= each < 2 * DAY)
    return [
        trade(time, f"{100 + n % 17}.{n % 7:02}5", f"1.{n % 89 + 1:08}", trade_id=str(n), symbol=symbol)
        for symbol in ("BTC-USD", "TITLE-I")
        for n, time in enumerate(times)
    ]


def file_of(folder: Path, trades: list[Trade]) -> Path:
    folder.mkdir()
    rows = (f"kraken,{t.symbol},{t.timestamp},{t.price},{t.quantity},{t.trade_id}" for t in trades)
    return write_generic(folder, *rows)


def built(timeframe: str, begin: datetime) -> tuple[datetime, datetime]:
    """Return the range of a timeframe: 1m both days, the others only the second one, on which clocks change."""
    return begin if timeframe == "1m" else begin + DAY, begin + 2 * DAY


def readers(begin: datetime) -> list[list[str]]:
    """Return the commands that read the candles and the coverage of two days."""
    span = ("--start", f"{begin:%Y-%m-%d}", "--end", iso(begin + 2 * DAY))
    return [
        *(
            ["candles", "--timeframe", timeframe, *span, "--format", form]
            for timeframe in WIDTHS
            for form in ("json", "csv", "table")
        ),
        ["candles", "--timeframe", "30m", *span, "--format", "csv", "--fill", "previous"],
        *(["coverage", *span, "--by", by, "--format", "json"] for by in ("series", "hour")),
        ["validate", "--start", iso(begin + DAY), "--end", iso(begin + 2 * DAY), "--format", "json"],
    ]


def without_write_times(output: str) -> str:
    """Return the output without snapshot ids and write times, the only times in a CSV file with a fraction."""
    output = re.sub(r'"(created_at|updated_at|trades_snapshot)": "[^"]*"', "", output)
    return re.sub(r"(,[0-9T:-]+\.[0-9]+Z){2}", "", output)


@dataclass
class Reference:
    """Candles that this process builds, and what the readers print in UTC: a home for each pair of days."""

    spark: SparkSession
    folder: Path
    harnesses: dict[datetime, Harness] = field(default_factory=dict)
    _output: dict[datetime, str] = field(default_factory=dict)

    @property
    def locales(self) -> Path:
        return self.folder / "locales"

    def output(self, begin: datetime) -> str:
        """Return what the readers of two days print in UTC; the first call builds their candles."""
        if begin not in self._output:
            harness = self.harnesses[begin] = Harness(self.spark, self.folder / f"home-{begin:%m-%d}")
            harness.trades += some_trades(begin)
            load_trades(harness.settings, [file_of(self.folder / f"{begin:%m-%d}", harness.trades)])
            for timeframe in WIDTHS:
                harness.build(timeframe, *built(timeframe, begin))
            variables = environment_of("UTC", "C", self.locales) | {"OHLCV_HOME": str(harness.settings.home)}
            run_commands([["coverage", "record"]], variables)
            self._output[begin] = run_commands(readers(begin), variables)
        return self._output[begin]


@pytest.fixture(scope="module")
def reference(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    compile_locales(folder / "locales", LOCALES)
    return Reference(spark, folder)


@pytest.mark.parametrize(("zone", "locale", "begin"), [(zone, *place) for zone, place in PLACES.items()], ids=PLACES)
def test_jobs_and_readers_in_a_time_zone_and_a_locale_give_the_candles_and_output_of_utc(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, locale: str, begin: datetime
) -> None:
    wanted = reference.output(begin)
    home = tmp_path / "home"
    monkeypatch.setenv("OHLCV_HOME", str(home))
    settings = load_settings()
    create_tables(settings)
    variables = environment_of(zone, locale, reference.locales)
    trades, end = some_trades(begin), begin + 2 * DAY
    # The first run builds both days, the second one the day on which clocks change again, with half of its trades late.
    late = [each for each in trades[1::2] if each.exchange_date == (begin + DAY).date()]
    first = [each for each in trades if each not in late]
    span = ("--start", f"{begin:%Y-%m-%d}", "--end", iso(end))
    printed = run_commands(
        [
            ["trades", "load", str(file_of(tmp_path / "first", first)), "--json"],
            ["build", "--timeframe", "1m", *span, "--repair", "--master", MASTER, "--json"],
            ["trades", "load", str(file_of(tmp_path / "late", late)), "--json"],
        ],
        variables,
    )
    assert json.loads(printed.splitlines()[1])["range"] == {"start": iso(begin), "end": iso(end)}
    job = reprocess_job(
        settings,
        day=f"{begin + DAY:%Y-%m-%d}",
        until=iso(end),
        timeframes=",".join(WIDTHS),
        prune="yes",
        dry_run="no",
    )
    result = run(job, MASTER, variables)
    assert result.exit_code == 0, result.error
    for timeframe in WIDTHS:
        table = load_table(open_catalog(settings), settings.candles_contract(settings.timeframe(timeframe)))
        stored = {key: row.candle for key, row in read_stored_candles(table).items()}
        assert stored == reference.harnesses[begin].expected(timeframe, built(timeframe, begin)).candles
    run_commands([["coverage", "record"]], variables)
    output = run_commands(readers(begin), variables)
    assert without_write_times(output) == without_write_times(wanted)
    check_sql(reference, begin, zone, locale, variables)


def check_sql(reference: Reference, begin: datetime, zone: str, locale: str, variables: dict[str, str]) -> None:
    """Check that SQL returns times in UTC, also within other values, in a Java process of this zone and locale."""
    java = "SELECT java_method('java.util.Locale', 'getDefault'), java_method('java.util.TimeZone', 'getDefault')"
    hours = (
        "SELECT window_start, array(window_end), date_format(window_start, 'yyyy-MM-dd HH:mm') "
        "FROM market_data.gold_ohlcv_30m WHERE symbol = 'TITLE-I' ORDER BY 1"
    )
    lines = run_commands([["sql", java, hours, "--format", "json"]], variables).splitlines()
    machine, candles = (json.loads(line)["rows"] for line in lines)
    assert machine[0][0] == locale
    assert f'id="{zone}"' in machine[0][1]
    expected = reference.harnesses[begin].expected("30m", built("30m", begin)).candles
    starts = sorted(
        from_microseconds(start).replace(tzinfo=None) for symbol, _, start in expected if symbol == "TITLE-I"
    )
    assert candles == [
        [str(start), str([start + timedelta(minutes=30)]), f"{start:%Y-%m-%d %H:%M}"] for start in starts
    ]
