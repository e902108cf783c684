"""The command line as a user meets it: a process of its own, judged by what it prints and what it leaves behind."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from ohlcv.cli.main import COMMANDS
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.model.intervals import EPOCH, MICROSECOND, to_microseconds
from support.harness import WIDTHS, Harness, at
from support.reference_model import Candle, Trade, reference_candles

OHLCV = Path(sys.executable).with_name("ohlcv")
DAY = ("--start", "2026-03-01T00:00:00Z", "--end", "2026-03-02T00:00:00Z")
# --help loads none of the heavy libraries; Python alone starts in 0.1 s.
HELP_CPU_SECONDS = 1.0


class User:
    """Someone at a shell in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("OHLCV_")}
        self.environment["OHLCV_HOME"] = str(self.home)

    def types(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run `ohlcv` with those words."""
        return subprocess.run(
            [OHLCV, *words],
            cwd=self.folder,
            env={**self.environment, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,  # five spark-submits on a busy machine
            check=False,
        )

    def gets(self, *words: str, **settings: str) -> str:
        """Run a command that must succeed; give its stdout."""
        result = self.types(*words, **settings)
        assert result.returncode == 0, result.stderr
        assert "Traceback" not in result.stderr
        return result.stdout

    def fails(self, code: int, *words: str, **settings: str) -> str:
        """Run a command that must fail as agreed; give its error without the prefix."""
        result = self.types(*words, **settings)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stdout + result.stderr
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, result.stderr
        assert result.stderr.splitlines()[-1] == errors[0]
        assert result.stdout == ""
        return errors[0].removeprefix("error: ")

    def files(self) -> set[str]:
        """Give the files that are there now."""
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    "words",
    [
        (),
        *((name,) for name in COMMANDS),
        *(("tables", name) for name in ("create", "widen-volume")),
        *(("trades", name) for name in ("load", "sample")),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_there_and_quick(user: User, words: tuple[str, ...], flag: str) -> None:
    # Processor time: a wall clock would also measure the other tests of a busy machine.
    before = os.times()
    shown = user.gets(*words, flag)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert shown.startswith(" ".join(("Usage: ohlcv", *words)))
    assert spent < HELP_CPU_SECONDS
    assert user.files() == set()


def test_every_command_is_in_the_help_with_what_it_does(user: User) -> None:
    shown = user.gets("--help")
    for name, text in COMMANDS.items():
        assert f"  {name} " in shown
        assert text in shown
    assert user.gets("--version").startswith("ohlcv, version ")


@pytest.mark.parametrize("words", [(), ("tables",), ("trades",)], ids=["ohlcv", "tables", "trades"])
def test_a_group_alone_shows_its_help_as_it_is(user: User, words: tuple[str, ...]) -> None:
    result = user.types(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.strip() == user.gets(*words, "--help").strip()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("nope",), "No such command 'nope'. (see 'ohlcv --help')"),
        (("build", "--nope"), "No such option '--nope'"),
        (("build", "--timeframe", "1m"), "Missing option '--start'. (see 'ohlcv build --help')"),
        (("build", "--timeframe", "2m", *DAY), "unknown timeframe '2m': choose one of 1m, 5m, 30m, 1h, 1d"),
        (("candles", "--timeframe", "2m"), "unknown timeframe '2m': choose one of 1m, 5m, 30m, 1h, 1d"),
        (("tables", "widen-volume", "--timeframe", "2m"), "unknown timeframe '2m': choose one of 1m, 5m, 30m, 1h, 1d"),
        (
            ("build", "--timeframe", "1m", "--start", "soon", "--end", "2026-03-01T00:00Z"),
            "'soon' is not an ISO time such as 2026-01-31T13:00:00Z",
        ),
        (
            ("candles", "--timeframe", "1m", "--start", "1772323200"),
            "'1772323200' is not an ISO time such as 2026-01-31T13:00:00Z",
        ),
        (("trades", "sample", "--end", "soon"), "'soon' is not an ISO time such as 2026-01-31T13:00:00Z"),
        (
            ("build", "--timeframe", "1m", "--start", "0001-01-01T00:00+05:00", "--end", "2026-03-01T00:00Z"),
            "'0001-01-01T00:00+05:00' lies outside the years 1 to 9999 in UTC",
        ),
        (
            ("build", "--timeframe", "all", "--start", "2026-03-02T00:00Z", "--end", "2026-03-02T00:00Z"),
            "start 2026-03-02T00:00:00Z must be before end 2026-03-02T00:00:00Z",
        ),
        (
            ("candles", "--timeframe", "1m", "--start", "2026-03-02T00:00Z", "--end", "2026-03-01T00:00Z"),
            "start 2026-03-02T00:00:00Z must be before end 2026-03-01T00:00:00Z",
        ),
        (
            ("build", "--timeframe", "1h", "--start", "9000-01-01T00:00Z", "--end", "9999-12-31T23:59Z"),
            "no 1h window is complete yet between 9000-01-01T00:00:00Z and 9999-12-31T23:59:00Z: the last complete",
        ),
        (
            ("build", "--timeframe", "all", "--start", "9000-01-01T00:00Z", "--end", "9999-12-31T23:59Z"),
            "nothing to build: no window is complete yet between 9000-01-01",
        ),
        (("candles", "--timeframe", "1m", "--limit", "0"), "Invalid value for '--limit': 0 is not in the range x>=1."),
        (("trades", "sample", "--trades", "7"), "Invalid value for '--trades': 7 is not in the range x>=8."),
        (("trades", "sample", "--duplicates", "nan"), "--duplicates is nan: give a share below 1 or a count"),
        (("trades", "sample", "--hours", "100000000"), "100,000,000 hours up to "),
        (("demo", "--trades", "7"), "Invalid value for '--trades': 7 is not in the range x>=8."),
        (("validate", "--timeframe", "7m"), "unknown timeframe '7m': choose one of 1m, 5m, 30m, 1h, 1d"),
        (("validate", "--start", "2026-03-01T00:00Z"), "give --lookback-days, or both --start and --end"),
        (
            ("validate", "--start", "2026-03-02T00:00Z", "--end", "2026-03-01T00:00Z"),
            "start 2026-03-02T00:00Z must be before end 2026-03-01T00:00Z",
        ),
        (("validate", "--run", "r"), "give both --run and --range, as in --range 1m="),
        (("validate", "--run", "r", "--range", "1m"), "--range 1m is not as in 1m=2026-01-31T10:00:00Z/"),
        (
            ("validate", "--run", "r", "--range", "1m=2026-03-02T00:00Z/2026-03-01T00:00Z"),
            "start 2026-03-02T00:00Z must be before end 2026-03-01T00:00Z",
        ),
        (("retention", "--as-of", "2999-01-01"), "as-of 2999-01-01 is in the future: give today ("),
        (("retention", "--as-of", "soon"), "'soon' is not an ISO date"),
        (("retention", "--max-share", "0"), "max-share 0 is not a share above 0 and up to 1"),
        (("maintain", "--as-of", "2999-01-01"), "as-of 2999-01-01 is in the future: give today ("),
        (("maintain", "--timeframe", "7m"), "unknown timeframe '7m': choose one of 1m, 5m, 30m, 1h, 1d"),
        (("sql",), "Missing argument 'STATEMENT...'."),
        (("trades", "load"), "Missing argument 'FILE...'."),
        (("trades", "load", "x.csv", "--format", "nope"), "Invalid value for '--format': 'nope' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_told_in_one_line(user: User, words: tuple[str, ...], complaint: str) -> None:
    assert user.fails(2, *words).startswith(complaint)
    assert user.files() == set()


def test_a_time_without_a_zone_is_taken_as_utc_and_that_is_said(user: User) -> None:
    result = user.types("build", "--timeframe", "1m", "--start", "2026-03-02", "--end", "2026-03-01T12:00")
    assert result.stderr.splitlines() == [
        "note: --start 2026-03-02 names no zone: taken as UTC",
        "note: --end 2026-03-01T12:00 names no zone: taken as UTC",
        "error: start 2026-03-02T00:00:00Z must be before end 2026-03-01T12:00:00Z",
    ]
    words = ("candles", "--timeframe", "1m", "--start", "2026-03-02", "--end", "2026-03-01T00:00Z")
    assert "--start 2026-03-02 names no zone: taken as UTC\n" in user.types(*words).stderr


COMMAND_LINES = [
    ("tables", "create"),
    ("tables", "widen-volume", "--timeframe", "1d"),
    ("trades", "sample", "--trades", "8"),
    ("trades", "load", "x.csv"),
    ("build", "--timeframe", "all", *DAY),
    ("candles", "--timeframe", "1m"),
    ("validate", "--timeframe", "1m"),
    ("retention", "--dry-run"),
    ("maintain", "--timeframe", "1m"),
    ("sql", "SELECT 1"),
    ("health",),
    ("demo", "--trades", "8"),
]
any_command = pytest.mark.parametrize("words", COMMAND_LINES, ids=lambda words: " ".join(words[:2]))


IMPOSSIBLE: list[tuple[dict[str, str], str]] = [
    ({"OHLCV_WAREHOSE": "/x"}, "unknown setting OHLCV_WAREHOSE: did you mean OHLCV_WAREHOUSE?"),
    (
        {"OHLCV_CATALOG_URI": "postgresql://u:hunter2@127.0.0.1/d"},
        "OHLCV_CATALOG_URI contains a password: set OHLCV_CATALOG_PASSWORD or …_FILE instead",
    ),
    ({"OHLCV_EXECUTOR_CORES": "0"}, "executor_cores must be 1 or more, not 0"),
]


@any_command
def test_settings_that_cannot_be_meant_stop_every_command(user: User, words: tuple[str, ...]) -> None:
    # All commands read the settings at one place: each is tried with one of the faults.
    settings, complaint = IMPOSSIBLE[COMMAND_LINES.index(words) % len(IMPOSSIBLE)]
    assert user.fails(2, *words, **settings) == complaint
    assert user.files() == set()


@any_command
def test_a_catalog_that_is_down_is_named_without_its_password(user: User, words: tuple[str, ...]) -> None:
    (user.folder / "x.csv").write_text("symbol\n")
    before = user.files()
    address = f"postgresql://candles@127.0.0.1:{closed_port()}/market"
    complaint = user.fails(1, *words, OHLCV_CATALOG_URI=address, OHLCV_CATALOG_PASSWORD="hunter2")
    assert complaint.startswith(f"the catalog {address} does not answer (")
    assert "refused" in complaint
    assert complaint.endswith("): check OHLCV_CATALOG_URI")
    assert "hunter2" not in complaint
    assert user.files() == before


@pytest.mark.parametrize(
    "words",
    [words for words in COMMAND_LINES if words[0] not in ("demo", "sql") and "create" not in words],
    ids=lambda words: " ".join(words[:2]),
)
def test_missing_tables_say_how_to_make_them(user: User, words: tuple[str, ...]) -> None:
    complaint = user.fails(1, *words)
    assert complaint.startswith("there is no table market_data.gold_")
    assert complaint.endswith(": run 'ohlcv tables create'")
    # The embedded catalog is made by opening it; no table is.
    assert user.files() <= {"home/catalog.db", "home/catalog.db-wal", "home/catalog.db-shm"}


@pytest.mark.parametrize("setting", ["OHLCV_WAREHOUSE", "OHLCV_HOME"])
@pytest.mark.parametrize("words", [("tables", "create"), ("demo", "--trades", "8")], ids=" ".join)
def test_a_folder_below_a_file_is_not_writable_and_named(user: User, setting: str, words: tuple[str, ...]) -> None:
    in_the_way = user.folder / "file"
    in_the_way.write_text("in the way")
    complaint = user.fails(2, *words, **{setting: str(in_the_way / "below")})
    assert f"{in_the_way}/below" in complaint
    assert complaint.endswith(" is not writable (Not a directory): choose another folder or grant access")
    assert user.files() == {"file"}


def test_an_unreachable_master_is_named_at_once(user: User) -> None:
    master = f"spark://127.0.0.1:{closed_port()}"
    for words, settings in (
        (("--master", master), {}),
        ((), {"OHLCV_SPARK_MASTER": master}),
        (("--master", master), {"OHLCV_SPARK_MASTER": "local[*]"}),
    ):
        complaint = user.fails(1, "build", "--timeframe", "1m", *DAY, *words, **settings)
        assert complaint.startswith(f"the Spark master {master} does not answer (")
        assert complaint.endswith("): start it or check the address")
    assert user.files() == set()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("gone.csv", None, "gone.csv is not there"),
        ("folder", b"", "folder is a directory: name the files in it"),
        ("empty.csv", b"", "empty.csv is empty"),
        ("short.csv", b"symbol,price\nBTC-USD,1\n", "short.csv has no column timestamp, quantity"),
        ("bad.parquet", bytes(range(100)), "bad.parquet is not a Parquet file"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named_and_nothing_is_written(
    user: User, name: str, content: bytes | None, complaint: str
) -> None:
    # In this process, to save one: the command under test is `load`.
    create_tables(load_settings({"OHLCV_HOME": str(user.home)}))
    if name == "folder":
        (user.folder / name).mkdir()
    elif content is not None:
        (user.folder / name).write_bytes(content)
    before = user.files()
    assert user.fails(2, "trades", "load", name).startswith(complaint)
    assert user.files() == before


def test_a_refused_row_is_shown_and_nothing_is_written(user: User) -> None:
    create_tables(load_settings({"OHLCV_HOME": str(user.home)}))
    (user.folder / "trades.csv").write_text(
        "timestamp,symbol,exchange,trade_id,price,quantity\n"
        "1772366400000000,BTC-USD,kraken,1,100,1\n"
        "1772366401000000,BTC-USD,kraken,2,-100,1\n"
    )
    before = user.files()
    result = user.types("trades", "load", "trades.csv", "--json")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    report = json.loads(result.stdout)
    assert (report["loaded"], report["refused_count"], report["refused"][0]["line"]) == (0, 1, 3)
    assert user.files() == before


def prepare(user: User) -> None:
    """Make the tables and the sample, each twice."""
    first = user.gets("tables", "create").splitlines()
    assert len(first) == 8
    assert all(line.startswith("created  market_data.") for line in first)
    assert user.gets("tables", "create").splitlines() == [line.replace("created ", "exists  ") for line in first]
    sample = ("trades", "sample", "--trades", "3000", "--end", "2026-03-02T00:00:00Z", "--hours", "13", "--json")
    flaws = ("--duplicates", "200", "--bad-rows", "24")
    assert json.loads(user.gets(*sample, *flaws))["loaded"] == 3224
    assert json.loads(user.gets(*sample, *flaws))["loaded"] == 0


def trades_of(harness: Harness) -> list[Trade]:
    names = Trade.__dataclass_fields__
    rows = harness.table().scan(selected_fields=tuple(names)).to_arrow().to_pylist()
    return [Trade(**row) for row in rows]


def exactly(candle: Candle) -> dict[str, Any]:
    """Give a candle's fields as the table names them."""
    return {
        "symbol": candle.symbol,
        "exchange": candle.exchange,
        "window_start": EPOCH + candle.window_start_us * MICROSECOND,
        "window_end": EPOCH + candle.window_end_us * MICROSECOND,
        "open_price": candle.open,
        "high_price": candle.high,
        "low_price": candle.low,
        "close_price": candle.close,
        "volume": candle.volume,
        "trade_count": candle.trade_count,
        "vwap": candle.vwap,
    }


def read(row: Mapping[str, str]) -> dict[str, Any]:
    """Give the fields of a candle from its text, in csv or json."""
    times = ("window_start", "window_end")
    amounts = ("open_price", "high_price", "low_price", "close_price", "volume", "vwap")
    return {
        "symbol": row["symbol"],
        "exchange": row["exchange"],
        **{name: datetime.fromisoformat(row[name]) for name in times},
        **{name: Decimal(row[name]) for name in amounts},
        "trade_count": int(row["trade_count"]),
    }


def key(row: Mapping[str, Any]) -> tuple[str, str, datetime]:
    return row["symbol"], row["exchange"], row["window_start"]


def test_a_day_from_nothing_to_exact_candles(user: User, spark: SparkSession) -> None:
    """Everything a user does the first time. Six spark-submits: the one slow test here."""
    user.environment["OHLCV_SPARK_MASTER"] = "local[2]"
    prepare(user)
    lines = user.gets("build", "--timeframe", "all", *DAY, "--json").splitlines()
    reports = {report["timeframe"]: report for report in map(json.loads, lines)}
    assert list(reports) == list(WIDTHS)

    harness = Harness(spark, user.home)
    trades = trades_of(harness)
    span = (to_microseconds(at("2026-03-01")), to_microseconds(at("2026-03-02")))
    for name, width in WIDTHS.items():
        answer = reference_candles(trades, width * 1_000_000, [span])
        wanted = sorted((exactly(candle) for candle in answer.candles.values()), key=key)
        assert reports[name]["candles"]["inserted"] == len(wanted) > 0
        assert (reports[name]["trades_read"], reports[name]["rejected"]) == (answer.trades_read, answer.rejected)
        assert reports[name]["withheld"] == []

        as_csv = list(csv.DictReader(io.StringIO(user.gets("candles", "--timeframe", name, "--format", "csv"))))
        as_json = json.loads(user.gets("candles", "--timeframe", name, "--format", "json", *DAY))
        assert sorted(map(read, as_csv), key=key) == wanted
        assert sorted(map(read, as_json), key=key) == wanted
    shown = user.types("candles", "--timeframe", "1d", "--symbol", "BTC-USD")
    assert (shown.returncode, "window start" in shown.stdout, "2026-03-01T00:00:00Z" in shown.stdout) == (0, True, True)
    assert "Traceback" not in shown.stderr
    views_are_readable(harness, {name: report["candles"]["inserted"] for name, report in reports.items()})
    validation_tells_good_from_bad(user)
    what_is_old_goes_as_planned(user)


def what_is_old_goes_as_planned(user: User) -> None:
    # The sample's day is 1 March 2026: with a day's retention all of it would go, and that is refused.
    words = ("retention", "--timeframe", "1h", "--as-of", "2026-03-31", "--format", "json")
    assert "have expired" in user.fails(2, *words, OHLCV_RETENTION_DAYS="1")
    insert = "INSERT INTO market_data.gold_ohlcv_1h SELECT symbol, exchange, window_start + INTERVAL 30 DAY, "
    rest = "* EXCEPT (symbol, exchange, window_start, window_end, window_date)"
    user.gets("sql", f"{insert} window_end + INTERVAL 30 DAY, window_date + 30, {rest} FROM market_data.gold_ohlcv_1h")
    settings = {"OHLCV_RETENTION_DAYS": "1"}
    assert "(50.0%) would be deleted, more than 40%: nothing" in user.fails(2, *words, "--max-share", "0.4", **settings)
    (plan,) = map(json.loads, user.gets(*words, "--dry-run", **settings).splitlines())
    assert (plan["partitions"], plan["oldest"], plan["newest"], plan["deleted"]) == (
        1,
        "2026-03-01",
        "2026-03-01",
        None,
    )
    (done,) = map(json.loads, user.gets(*words, **settings).splitlines())
    assert done["deleted"] == {"partitions": 1, "files": plan["files"], "rows": plan["rows"]}
    (kept,) = map(json.loads, user.gets("maintain", "--timeframe", "1h", "--format", "json").splitlines())
    assert kept["after"]["rows"] == plan["rows"]


def validation_tells_good_from_bad(user: User) -> None:
    verdicts = [json.loads(line) for line in user.gets("validate", *DAY, "--format", "json").splitlines()]
    assert [verdict["timeframe"] for verdict in verdicts] == list(WIDTHS)
    # The sample's bad rows and repeated deliveries are worth a warning, and no more.
    assert [verdict["failures"] for verdict in verdicts] == [0] * 5
    assert {finding["rule"] for verdict in verdicts for finding in verdict["findings"]} <= {
        "few_trades_are_rejected",
        "sequences_have_no_gaps",
    }
    hour = "FROM market_data.gold_ohlcv_1h WHERE window_start = TIMESTAMP '2026-03-01 20:00:00'"
    answers = user.gets("sql", f"SELECT count(*) AS candles {hour}", f"DELETE {hour};", "--format", "json").splitlines()
    assert json.loads(answers[0]) == {"columns": ["candles"], "rows": [["8"]], "more": False}
    mistaken = user.types("sql", "SELECT nothing FROM nowhere")
    assert (mistaken.returncode, mistaken.stdout) == (1, "")
    assert mistaken.stderr.splitlines()[-1].startswith("error: Spark failed: [TABLE_OR_VIEW_NOT_FOUND]")
    result = user.types("validate", "--timeframe", "1h", *DAY)
    assert result.returncode == 1
    assert "FAIL 1h none_is_missing: BTC-USD binance 2026-03-01T20:00:00Z: stored nothing, expected " in result.stderr
    assert "every window with trades has its candle" in result.stdout
    never = user.types("validate", "--start", "2026-02-01T00:00Z", "--end", "2026-02-02T00:00Z", "--timeframe", "1d")
    assert never.returncode == 0
    assert "note: 1d: there are no trades in [2026-02-01T00:00:00Z, 2026-02-02T00:00:00Z)" in never.stderr


def views_are_readable(harness: Harness, counts: Mapping[str, int]) -> None:
    def rows(statement: str) -> list[Row]:
        return harness.spark.sql(statement).collect()

    found = rows("SELECT timeframe, count(*) AS candles FROM iceberg.market_data.ohlcv GROUP BY timeframe")
    assert {row.timeframe: row.candles for row in found} == counts
    latest = rows("SELECT timeframe, symbol, exchange, window_start FROM iceberg.market_data.ohlcv_latest")
    newest = rows(
        "SELECT timeframe, symbol, exchange, max(window_start) AS window_start "
        "FROM iceberg.market_data.ohlcv GROUP BY timeframe, symbol, exchange"
    )
    assert sorted(latest) == sorted(newest)
    assert len(latest) == 5 * 8
