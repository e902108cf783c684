"""Days at the edges of the calendar: candles of all timeframes are exact, and every reader prints them."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.model.intervals import Range, from_microseconds, iso, to_microseconds
from ohlcv.model.timeframes import TIMEFRAMES
from ohlcv.quality.validator import validate
from ohlcv.readers.latest import newest_trade
from ohlcv.web.data import CandleData
from ohlcv.web.service import Service
from support.candle_service import TOKEN, client_of
from support.command_line import WarmCommandLine
from support.harness import Harness, at, read_stored_candles, trade
from support.reference_model import Candle, Trade, reference_candles

pytestmark = pytest.mark.faults
DAY = timedelta(days=1)
ALL = ",".join(TIMEFRAMES)
# Two days each.
DAYS = {
    "before 1970": at("1969-12-31 00:00"),
    "leap day": at("2024-02-28 00:00"),
    "year end": at("2024-12-31 00:00"),
    "month end": at("2026-04-30 00:00"),
    "last days": at("9998-12-30 00:00"),
}


def some_trades(begin: datetime) -> list[Trade]:
    """Return trades of two days: every 47 minutes, at each midnight and one microsecond before."""
    steps = {timedelta(minutes=n, seconds=n % 60) for n in range(0, 2 * 24 * 60, 47)}
    steps |= {DAY, DAY - timedelta(microseconds=1), 2 * DAY - timedelta(microseconds=1)}
    return [
        trade(
            begin + step,
            f"{100 + n % 7}.{n % 90 + 10}",
            f"0.{n % 11 + 1}",
            trade_id=str(n),
            ingested=at("2026-05-02 00:00"),
        )
        for n, step in enumerate(sorted(steps))
    ]


def expected(harness: Harness, timeframe: str, begin: datetime) -> list[Candle]:
    """Return the reference candles of two days, in the order of their windows."""
    span = (to_microseconds(begin), to_microseconds(begin + 2 * DAY))
    found = reference_candles(harness.trades, TIMEFRAMES[timeframe].microseconds, [span]).candles
    return [found[key] for key in sorted(found, key=lambda key: key[2])]


@pytest.fixture(scope="module")
def calendar(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """Return tables with the candles of all timeframes of all days."""
    folder = tmp_path_factory.mktemp("calendar")
    (folder / "tokens").write_text(f"client {TOKEN}\n")
    settings = {"OHLCV_TIMEFRAMES": ALL, "OHLCV_API_TOKENS": str(folder / "tokens")}
    harness = Harness(spark, folder / "home", settings)
    harness.load(*map(some_trades, DAYS.values()))
    for begin in DAYS.values():
        for timeframe in TIMEFRAMES:
            harness.build(timeframe, begin, begin + 2 * DAY)
    return harness


def test_candles_of_all_timeframes_equal_the_reference_model(calendar: Harness) -> None:
    for timeframe in TIMEFRAMES:
        stored = {key: row.candle for key, row in read_stored_candles(calendar.table(timeframe)).items()}
        wanted = [each for begin in DAYS.values() for each in expected(calendar, timeframe, begin)]
        assert stored == {(each.symbol, each.exchange, each.window_start_us): each for each in wanted}
        assert len(stored) == len(wanted)


@pytest.mark.parametrize("begin", DAYS.values(), ids=DAYS)
def test_readers_print_the_candles_and_find_no_fault(
    calendar: Harness,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    begin: datetime,
) -> None:
    warm = WarmCommandLine(tmp_path, monkeypatch, capsys)
    data = CandleData(calendar.settings)
    data.refresh()
    service = Service(calendar.settings, data)
    settings = {"OHLCV_HOME": str(calendar.settings.home), "OHLCV_TIMEFRAMES": ALL}
    span = {"start": iso(begin), "end": iso(begin + 2 * DAY)}
    options = ("--start", span["start"], "--end", span["end"])
    for name, timeframe in TIMEFRAMES.items():
        wanted = [iso(from_microseconds(each.window_start_us)) for each in expected(calendar, name, begin)]
        command = ("candles", "--timeframe", name, *options, "--format")
        assert [row["window_start"] for row in json.loads(warm.succeed(*command, "json", **settings))] == wanted
        rows = csv.DictReader(io.StringIO(warm.succeed(*command, "csv", **settings)))
        assert [row["window_start"] for row in rows] == wanted
        lines = warm.succeed(*command, "table", **settings)
        assert [time for time in wanted if time not in lines] == []
        page = client_of(service).get(
            "/api/v1/candles",
            params={"timeframe": name, "symbol": "BTC-USD", "exchange": "kraken", "limit": 5000, **span},
        )
        assert page.status_code == 200, page.text
        assert [row["window_start"] for row in page.json()["candles"]] == wanted
        assert [row["close_price"] for row in page.json()["candles"]] == [
            str(each.close) for each in expected(calendar, name, begin)
        ]
        assert validate(calendar.settings, timeframe, Range(begin, begin + 2 * DAY)).findings == []
    service.close()


def test_trades_of_the_year_9999_are_of_no_hour_and_stop_nothing(harness: Harness) -> None:
    begin = at("2026-03-01 00:00")
    harness.load(some_trades(begin)[:31])
    last = datetime.max.replace(tzinfo=begin.tzinfo)
    harness.load([trade(each, ingested=begin) for each in (at("9999-01-01 00:00"), at("9999-12-31 23:59"), last)])
    report = harness.build("1m", begin, begin + DAY, rebuild_pending=True)
    assert report["rejected"] == {"no_hour": 3}
    assert harness.candles("1m") == harness.expected("1m", (begin, begin + DAY)).candles
    assert newest_trade(harness.settings) == begin + timedelta(minutes=47 * 30, seconds=47 * 30 % 60)
