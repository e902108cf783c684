"""`ohlcv reconcile`: its outputs, its exit codes, and input that it refuses."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from support.candle_rows import HOUR, MINUTE, write_candles
from support.command_line import WarmCommandLine
from support.published_candles import (
    GENERIC_HEADER,
    KLINE_HEADER,
    START,
    Published,
    at_minute,
    content,
    kline,
    lines,
    random_candles,
    write_file,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
CANDLES = random_candles(1, 4, MINUTE)
KRAKEN = ("--format", "kraken-ohlc", "--timeframe", "1m")
GENERIC = ("--format", "generic", "--timeframe", "1m")
KLINES = ("--format", "binance-klines")


class Site:
    """A home with candles of ours, and the command that compares them."""

    def __init__(self, warm: WarmCommandLine, settings: Settings) -> None:
        self.warm = warm
        self.settings = settings
        self.folder = warm.folder

    def arguments(self, *arguments: str) -> tuple[str, ...]:
        return ("reconcile", *arguments, "--exchange", "X", "--symbol", "BTC")

    def run(self, *arguments: str) -> Any:
        return self.warm.run(*self.arguments(*arguments), OHLCV_RETENTION_DAYS="36500")

    def fail(self, *arguments: str, **settings: str) -> str:
        return self.warm.fail(2, *self.arguments(*arguments), OHLCV_RETENTION_DAYS="36500", **settings)

    def file(self, text: str | bytes, name: str = "file") -> str:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def stored(self) -> int:
        return len(load_table(open_catalog(self.settings), self.settings.reconciliation_contract).scan().to_arrow())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with four candles, which no test of refused input changes."""
    home = tmp_path_factory.mktemp("shared") / "home"
    settings = load_settings({"OHLCV_HOME": str(home)})
    create_tables(settings)
    write_candles(settings, MINUTE, *(each.row(MINUTE) for each in CANDLES))
    return home


@pytest.fixture
def refusing(warm: WarmCommandLine, home: Path) -> Site:
    warm.home = home
    return Site(warm, load_settings({"OHLCV_HOME": str(home)}))


@pytest.fixture
def site(warm: WarmCommandLine) -> Site:
    settings = load_settings({"OHLCV_HOME": str(warm.home)})
    create_tables(settings)
    write_candles(settings, MINUTE, *(each.row(MINUTE) for each in CANDLES))
    return Site(warm, settings)


def changed(candles: Sequence[Published]) -> list[Published]:
    return [candles[0], replace(candles[1], close=candles[1].close + Decimal("0.5")), *candles[2:]]


def test_equal_candles_end_with_zero_and_others_with_one(site: Site) -> None:
    path = write_file(site.folder, "kraken csv", CANDLES, MINUTE)
    result = site.run(str(path), *KRAKEN)
    assert (result.returncode, site.stored()) == (0, 4)
    assert result.stdout.splitlines()[4].split() == [
        *("2026-03-01T00:00:00Z", "2026-03-01T00:04:00Z", "4", "0", "0", "0", "0", "4"),
    ]
    path = write_file(site.folder, "kraken csv", changed(CANDLES), MINUTE)
    result = site.run(str(path), *KRAKEN)
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "reconciling …"
    row = result.stdout.rstrip().splitlines()[-1].split()
    close = CANDLES[1].close
    assert row[:4] == ["2026-03-01T00:01:00Z", "different", "close", f"{close:f}".rstrip("0").rstrip(".")]
    assert site.run(str(path), *KRAKEN, "--tolerance", "close=0.5").returncode == 0
    assert site.run(str(path), *KRAKEN, "--tolerance", "close=50ticks", "--tick", "0.01").returncode == 0
    assert site.run(str(path), *KRAKEN, "--tolerance", "close=49ticks", "--tick", "0.01").returncode == 1


def test_csv_and_json_contain_every_difference(site: Site) -> None:
    path = str(write_file(site.folder, "kraken csv", changed(CANDLES)[:3], MINUTE))
    result = site.run(path, *KRAKEN, "--output", "csv")
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert (row["window_start"], row["result"], row["field"]) == ("2026-03-01T00:01:00Z", "different", "close")
    assert (row["difference"], row["tolerance"], row["convention"]) == ("0.5", "0", "")
    assert Decimal(row["theirs"]) - Decimal(row["ours"]) == Decimal("0.5")
    result = site.run(path, *KRAKEN, "--output", "json")
    report = json.loads(result.stdout)
    assert report["counts"] == {"equal": 2, "different": 1, "explained": 0, "only ours": 0, "only theirs": 0}
    assert report["ranges"] == [["2026-03-01T00:00:00Z", "2026-03-01T00:03:00Z"]]
    assert [window["fields"] for window in report["windows"]] == [["close"]]
    assert (result.returncode, report["venue"], report["files"]) == (1, "kraken", ["candles"])


def test_explained_differences_are_errors_only_with_strict(site: Site) -> None:
    theirs = [replace(each, own_vwap=each.vwap.quantize(Decimal("0.1"), "ROUND_DOWN")) for each in CANDLES]
    path = str(write_file(site.folder, "kraken json", theirs, MINUTE))
    result = site.run(path, *KRAKEN)
    assert result.returncode == 0
    assert "note: 4 differences explained: vwap is truncated" in result.stderr
    assert site.run(path, *KRAKEN, "--strict").returncode == 1


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_compressed_files_are_read(site: Site, kind: str) -> None:
    text = content("binance header", CANDLES, MINUTE).encode()
    if kind == "gzip":
        path = site.file(gzip.compress(text), "klines.csv.gz")
    else:
        path = str(site.folder / "klines.zip")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("klines.csv", text)
    assert site.run(path, *KLINES).returncode == 0
    assert site.stored() == 4


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000])
def test_a_generic_file_has_times_of_any_unit(site: Site, unit: int) -> None:
    rows = [(int(e.start.timestamp()) * 1_000_000 // unit, e.open, e.high, e.low, e.close, e.volume) for e in CANDLES]
    path = site.file("window_start,open,high,low,close,volume\n" + lines(rows))
    assert site.run(path, *GENERIC).returncode == 0


def test_several_files_are_one_comparison(site: Site) -> None:
    files = [
        str(write_file(site.folder, "kraken csv", part, MINUTE, str(number)))
        for number, part in enumerate((CANDLES[:1], CANDLES[2:]))
    ]
    result = site.run(*reversed(files), *KRAKEN, "--output", "json")
    # The window between the files is not compared.
    assert json.loads(result.stdout)["counts"]["equal"] == 3
    assert result.returncode == 0


def with_row(number: int, **values: str) -> str:
    """Return a generic file in which a row has other values."""
    names = GENERIC_HEADER.strip().split(",")
    rows = [line.split(",") for line in content("generic", CANDLES, MINUTE).splitlines()[1:]]
    for name, value in values.items():
        rows[number][names.index(name)] = value
    return GENERIC_HEADER + lines(rows)


def klines(*changes: tuple[int, int, str | int]) -> str:
    """Return klines in which values are replaced, given the row, the column and the value."""
    rows = [kline(each, MINUTE) for each in CANDLES]
    for row, column, value in changes:
        rows[row][column] = value
    return lines(rows)


STARTS = [int(each.start.timestamp()) for each in CANDLES]
MICRO = kline(CANDLES[2], MINUTE, 1)
INVALID: dict[str, tuple[str | bytes, tuple[str, ...], str]] = {
    "misaligned": (with_row(1, window_start=at_minute(1).isoformat()[:17] + "30+00:00"), GENERIC, "begins no window"),
    "repeated window": (with_row(2, window_start=at_minute(1).isoformat()), GENERIC, "overlaps or precedes"),
    "windows out of order": (with_row(3, window_start=START.isoformat()), GENERIC, "overlaps or precedes"),
    "mixed times": (with_row(2, window_start=str(STARTS[2])), GENERIC, "use one unit"),
    "no time": (with_row(0, window_start="yesterday"), GENERIC, "is no ISO time"),
    "mixed units": (klines((2, 0, MICRO[0]), (2, 6, MICRO[6])), KLINES, "use one unit"),
    "seconds": (klines(*((row, 0, start) for row, start in enumerate(STARTS))), KLINES, "not in milliseconds"),
    "milliseconds": (lines([(f"{STARTS[0]}000", 1, 1, 1, 1, 1, 1)]), KRAKEN, "is not in seconds"),
    "another close time": (klines((1, 6, MICRO[6])), KLINES, "ends no window of 1m"),
    "another length": (klines((0, 6, STARTS[0] * 1_000 + 599_999)), KLINES, "has windows of 10 min"),
    "another timeframe": (klines(), (*KLINES, "--timeframe", "1h"), "has candles of 1m, not of 1h"),
    "no timeframe": (content("kraken csv", CANDLES, MINUTE), KRAKEN[:2], "give --timeframe"),
    "eleven columns": (klines().replace(",0\n", "\n", 1), KLINES, "line 1: 11 fields, expected 12"),
    "header of others": (KLINE_HEADER.replace("open,", "first,", 1) + klines(), KLINES, "check --format"),
    "eight columns": (content("kraken csv", CANDLES, MINUTE) + "1,2,3,4,5,6,7,8\n", KRAKEN, "8 fields, expected 7"),
    "unknown column": (content("generic", CANDLES, MINUTE).replace("vwap", "price"), GENERIC, "no header of candles"),
    "missing column": ("window_start,open,high,low,close\n", GENERIC, "no header of candles"),
    "repeated column": (content("generic", CANDLES, MINUTE).replace("vwap", "open"), GENERIC, "no header of candles"),
    "negative amount": (with_row(1, volume="-1"), GENERIC, "line 3: volume is '-1'"),
    "not a number": (with_row(1, close="NaN"), GENERIC, "close is 'NaN'"),
    "infinite": (with_row(1, high="inf"), GENERIC, "high is 'inf'"),
    "exponent": (with_row(1, low="1e2"), GENERIC, "low is '1e2'"),
    "empty amount": (with_row(1, open=""), GENERIC, "open is ''"),
    "too many digits": (with_row(1, open="1." + "1" * 19), GENERIC, "at most 18 decimal places"),
    "price of zero": (with_row(1, low="0"), GENERIC, "low is 0: give a price above 0"),
    "high below low": (with_row(1, high="1"), GENERIC, "high 1 is below low"),
    "count of a part": (with_row(1, trade_count="1.5"), GENERIC, "trade_count is '1.5'"),
    "volume without trades": (with_row(1, trade_count="0"), GENERIC, "without trades"),
    "empty file": ("", GENERIC, "is empty"),
    "header only": (GENERIC_HEADER, GENERIC, "has no candle"),
    "binary": (b"\xff\xfe\x00", GENERIC, "is not UTF-8 text"),
    "broken gzip": (gzip.compress(klines().encode())[:40], KLINES, "is truncated"),
    "broken zip": (b"PK\x03\x04" + b"x" * 40, KLINES, "is corrupt"),
    "parquet": (b"PAR1", GENERIC, "is a Parquet file"),
    "broken JSON": ("[[1, 2", KLINES, "is no JSON document"),
    "JSON of another shape": ('[{"open": 1}]', KLINES, "candle 1: 0 values, expected 12"),
    "JSON of nothing": ("[]", KLINES, "has no candle"),
    "JSON null": ("[[" + ",".join(["null"] * 12) + "]]", KLINES, "is ''"),
    "error reply": ('{"error": ["EQuery:Unknown asset pair"]}', KRAKEN, "is an error reply of Kraken"),
    "reply of two pairs": (
        '{"result": {"A": [], "B": [], "last": 1}}',
        KRAKEN,
        "no reply with the candles of one pair",
    ),
    "reply without last": ('{"result": {"A": []}}', KRAKEN, "has no time in 'last'"),
    "unknown format": ("", ("--format", "csv"), "unknown format 'csv'"),
    "unknown timeframe": (klines(), (*KLINES, "--timeframe", "2m"), "unknown timeframe '2m'"),
    "unknown field": (klines(), (*KLINES, "--tolerance", "price=1"), "has no field of a candle"),
    "no tolerance": (klines(), (*KLINES, "--tolerance", "close=small"), "the tolerance of close is 'small'"),
    "negative tolerance": (klines(), (*KLINES, "--tolerance", "close=-1"), "the tolerance of close is '-1'"),
    "two tolerances": (klines(), (*KLINES, "--tolerance", "low=1", "--tolerance", "low=2"), "has two tolerances"),
    "ticks without a tick": (klines(), (*KLINES, "--tolerance", "low=1ticks"), "needs the tick"),
    "ticks of a volume": (klines(), (*KLINES, "--tolerance", "volume=1ticks", "--tick", "1"), "is no price"),
    "tick of zero": (klines(), (*KLINES, "--tick", "0"), "the tick is '0'"),
    "time of fetching": (klines(), (*KLINES, "--fetched-at", "now"), "is not an ISO time"),
    "fetched too early": (klines(), (*KLINES, "--fetched-at", "2026-03-01T00:01:00Z"), "has several windows that end"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_input_is_one_line_and_stores_nothing(refusing: Site, case: str) -> None:
    text, arguments, expected = INVALID[case]
    before = refusing.stored()
    message = refusing.fail(refusing.file(text), *arguments)
    assert expected in message
    assert refusing.stored() == before == 0


def test_files_that_overlap_are_refused(refusing: Site) -> None:
    files = [
        str(write_file(refusing.folder, "kraken csv", part, MINUTE, str(number)))
        for number, part in enumerate((CANDLES[:3], CANDLES[2:]))
    ]
    assert "1 and" in (message := refusing.fail(*files, *KRAKEN))
    assert "overlap at 2026-03-01T00:02:00Z" in message
    assert "overlap at" in refusing.fail(files[0], files[0], *KRAKEN)


def test_a_second_invalid_file_stores_nothing_of_the_first(refusing: Site) -> None:
    good = str(write_file(refusing.folder, "kraken csv", CANDLES, MINUTE))
    assert "is empty" in refusing.fail(good, refusing.file("", "empty"), *KRAKEN)
    assert "does not exist" in refusing.fail(good, "missing.csv", *KRAKEN)
    assert refusing.stored() == 0


def test_files_of_several_timeframes_are_refused(refusing: Site) -> None:
    hours = random_candles(2, 2, HOUR)
    files = [
        refusing.file(content("binance json", candles, timeframe), timeframe.name)
        for candles, timeframe in ((CANDLES, MINUTE), (hours, HOUR))
    ]
    assert "have several timeframes" in refusing.fail(*files, *KLINES)


@pytest.mark.parametrize("series", [("X", "ETH"), ("Y", "BTC")])
def test_an_unknown_series_is_refused(refusing: Site, series: tuple[str, str]) -> None:
    exchange, symbol = series
    path = str(write_file(refusing.folder, "kraken csv", CANDLES, MINUTE))
    message = refusing.warm.fail(2, "reconcile", path, *KRAKEN, "--exchange", exchange, "--symbol", symbol)
    assert message == f"no 1m candle has symbol '{symbol}' and exchange '{exchange}': correct the names"


def test_windows_that_cannot_be_compared_are_refused(refusing: Site) -> None:
    path = write_file(refusing.folder, "kraken csv", random_candles(3, 2, MINUTE, at_minute(60)), MINUTE)
    assert "no published candle can be compared: candles: 2 windows after" in refusing.fail(str(path), *KRAKEN)


def test_a_missing_table_is_named(warm: WarmCommandLine) -> None:
    path = str(write_file(warm.folder, "kraken csv", CANDLES, MINUTE))
    message = warm.fail(1, "reconcile", path, *KRAKEN, "--exchange", "X", "--symbol", "BTC")
    assert message == "there is no table market_data.gold_ohlcv_1m: run 'ohlcv tables create'"
