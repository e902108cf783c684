"""The command line: help, exit codes and one-line errors."""

from __future__ import annotations

import json
import socket

import pytest

from ohlcv.cli.commands import COMMANDS
from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables
from support.command_line import ColdCommandLine, WarmCommandLine

DAY = ("--start", "2026-03-01T00:00:00Z", "--end", "2026-03-02T00:00:00Z")
KNOWN = "choose one of 1m, 5m, 15m, 30m, 1h, 2h, 4h, 1d"
# Libraries that take a second to import: --help answers without them.
SLOW_LIBRARIES = ("airflow", "duckdb", "numpy", "pyarrow", "pyiceberg", "pyspark", "sqlalchemy")


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# `ohlcv airflow` passes all its arguments to airflow, --help included.
HELP_ARGUMENTS = [
    (),
    *((name,) for name in COMMANDS if name != "airflow"),
    *(("tables", name) for name in ("create", "widen-volume")),
    *(("trades", name) for name in ("load", "sample", "feed")),
]
any_help = pytest.mark.parametrize("arguments", HELP_ARGUMENTS, ids=" ".join)


@any_help
def test_help_imports_no_slow_library(cold: ColdCommandLine, arguments: tuple[str, ...]) -> None:
    result = cold.run(*arguments, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(" ".join(("Usage: ohlcv", *arguments)))
    imported = {
        line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if line.startswith("import time:")
    }
    assert "click" in imported
    assert imported.isdisjoint(SLOW_LIBRARIES)
    assert cold.files() == set()


@any_help
def test_the_short_help_option_prints_the_same_help(warm: WarmCommandLine, arguments: tuple[str, ...]) -> None:
    assert warm.succeed(*arguments, "-h") == warm.succeed(*arguments, "--help")


def test_the_help_lists_every_command_with_its_text(warm: WarmCommandLine) -> None:
    output = warm.succeed("--help")
    for name, text in COMMANDS.items():
        assert f"  {name} " in output
        assert text in output
    assert warm.succeed("--version").startswith("ohlcv, version ")


@pytest.mark.parametrize("arguments", [(), ("tables",), ("trades",)], ids=["ohlcv", "tables", "trades"])
def test_a_group_without_a_command_prints_its_help(warm: WarmCommandLine, arguments: tuple[str, ...]) -> None:
    result = warm.run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.strip() == warm.succeed(*arguments, "--help").strip()


def test_errors_set_the_exit_code_of_the_process(cold: ColdCommandLine) -> None:
    assert cold.fail(2, "candles", "--timeframe", "2m").startswith("unknown timeframe '2m'")
    assert cold.fail(1, "candles", "--timeframe", "1m").startswith("there is no table market_data.gold_ohlcv_1m")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "No such command 'nope'. (see 'ohlcv --help')"),
        (("build", "--nope"), "No such option '--nope'"),
        (("build", "--timeframe", "1m"), "Missing option '--start'. (see 'ohlcv build --help')"),
        (("build", "--timeframe", "2m", *DAY), f"unknown timeframe '2m': {KNOWN}"),
        (("candles", "--timeframe", "2m"), f"unknown timeframe '2m': {KNOWN}"),
        (("tables", "widen-volume", "--timeframe", "2m"), f"unknown timeframe '2m': {KNOWN}"),
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
        (("candles", "--timeframe", "1m", "--limit", "0"), "Invalid value for '--limit': 0 is not in the range 1<=x<="),
        (("build", "--timeframe", "1m", "--start", "0001-01-01T00:00Z", "--end", "2026-03-01T00:00Z"), "start 0001-"),
        (("validate", "--run", "r", "--range", "1m=0001-01-01T00:00Z/9999-12-31T23:59Z"), "start 0001-01-01T00:00:00Z"),
        (("retention", "--as-of", "0001-01-01"), "as-of 0001-01-01 is before 1970: give "),
        (("maintain", "--as-of", "1969-12-31"), "as-of 1969-12-31 is before 1970: give "),
        (("trades", "sample", "--trades", "7"), "Invalid value for '--trades': 7 is not in the range 8<=x<=10000000."),
        (("trades", "sample", "--duplicates", "nan"), "--duplicates is nan: give a share below 1 or a number"),
        (("trades", "sample", "--hours", "8785"), "Invalid value for '--hours': 8785 is not in the range 1<=x<=8784."),
        (
            ("trades", "sample", "--end", "1960-01-01T00:00Z"),
            "13 hours up to 1960-01-01T00:00:00Z are not in the years 2009 to 2099: give another end",
        ),
        (("demo", "--trades", "7"), "Invalid value for '--trades': 7 is not in the range x>=8."),
        (("validate", "--timeframe", "7m"), f"unknown timeframe '7m': {KNOWN}"),
        (("validate", "--start", "2026-03-01T00:00Z"), "give --lookback-days, or both --start and --end"),
        (
            ("validate", "--start", "2026-03-02T00:00Z", "--end", "2026-03-01T00:00Z"),
            "start 2026-03-02T00:00Z must be before end 2026-03-01T00:00Z",
        ),
        (("validate", "--run", "r"), "give both --run and --range, such as --range 1m="),
        (
            ("validate", "--run", "r", "--range", "1m"),
            "--range 1m is invalid: give a range such as 1m=2026-01-31T10:00:00Z/",
        ),
        (
            ("validate", "--run", "r", "--range", "1m=2026-03-02T00:00Z/2026-03-01T00:00Z"),
            "start 2026-03-02T00:00Z must be before end 2026-03-01T00:00Z",
        ),
        (("retention", "--as-of", "2999-01-01"), "as-of 2999-01-01 is in the future: give today ("),
        (("retention", "--as-of", "soon"), "'soon' is not an ISO date"),
        (("retention", "--max-share", "0"), "max-share is 0: give a share above 0 and up to 1"),
        (("maintain", "--as-of", "2999-01-01"), "as-of 2999-01-01 is in the future: give today ("),
        (("maintain", "--timeframe", "7m"), f"unknown timeframe '7m': {KNOWN}"),
        (("sql",), "Missing argument 'STATEMENT...'."),
        (("trades", "load"), "Missing argument 'FILE...'."),
        (("trades", "load", "x.csv", "--format", "nope"), "Invalid value for '--format': 'nope' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_invalid_input_is_one_line_of_error(warm: WarmCommandLine, arguments: tuple[str, ...], message: str) -> None:
    assert warm.fail(2, *arguments).startswith(message)
    assert warm.files() == set()


def test_a_time_without_a_time_zone_is_utc_and_prints_a_note(warm: WarmCommandLine) -> None:
    result = warm.run("build", "--timeframe", "1m", "--start", "2026-03-02", "--end", "2026-03-01T12:00")
    assert result.stderr.splitlines() == [
        "note: --start 2026-03-02 has no time zone: UTC is assumed",
        "note: --end 2026-03-01T12:00 has no time zone: UTC is assumed",
        "error: start 2026-03-02T00:00:00Z must be before end 2026-03-01T12:00:00Z",
    ]
    arguments = ("candles", "--timeframe", "1m", "--start", "2026-03-02", "--end", "2026-03-01T00:00Z")
    assert "--start 2026-03-02 has no time zone: UTC is assumed\n" in warm.run(*arguments).stderr


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
any_command = pytest.mark.parametrize("arguments", COMMAND_LINES, ids=lambda arguments: " ".join(arguments[:2]))


@pytest.mark.parametrize("arguments", [("env",), ("airflow", "dags", "list")], ids=" ".join)
def test_commands_on_a_demo_that_does_not_run_fail(warm: WarmCommandLine, arguments: tuple[str, ...]) -> None:
    assert warm.fail(1, *arguments).startswith(f"no demo runs in {warm.home}: start it with ")
    assert warm.files() == set()


INVALID_SETTINGS: list[tuple[dict[str, str], str]] = [
    ({"OHLCV_WAREHOSE": "/x"}, "unknown setting OHLCV_WAREHOSE: did you mean OHLCV_WAREHOUSE?"),
    (
        {"OHLCV_CATALOG_URI": "postgresql://u:hunter2@127.0.0.1/d"},
        "OHLCV_CATALOG_URI contains a password: set OHLCV_CATALOG_PASSWORD or …_FILE instead",
    ),
    ({"OHLCV_EXECUTOR_CORES": "0"}, "OHLCV_EXECUTOR_CORES must be a whole number from 1 to 1024, not '0'"),
]


@any_command
def test_invalid_settings_stop_every_command(warm: WarmCommandLine, arguments: tuple[str, ...]) -> None:
    # All commands load the settings with the same function, so each is tested with one of the faults.
    settings, message = INVALID_SETTINGS[COMMAND_LINES.index(arguments) % len(INVALID_SETTINGS)]
    assert warm.fail(2, *arguments, **settings) == message
    assert warm.files() == set()


@any_command
def test_an_unreachable_catalog_is_named_without_its_password(
    warm: WarmCommandLine, arguments: tuple[str, ...]
) -> None:
    (warm.folder / "x.csv").write_text("symbol\n")
    before = warm.files()
    address = f"postgresql://candles@127.0.0.1:{closed_port()}/market"
    message = warm.fail(1, *arguments, OHLCV_CATALOG_URI=address, OHLCV_CATALOG_PASSWORD="hunter2")
    assert message.startswith(f"the catalog {address} does not answer (")
    assert "refused" in message
    assert message.endswith("): check OHLCV_CATALOG_URI")
    assert "hunter2" not in message
    assert warm.files() == before


@pytest.mark.parametrize(
    "arguments",
    [arguments for arguments in COMMAND_LINES if arguments[0] not in ("demo", "sql") and "create" not in arguments],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_missing_table_is_an_error_that_names_the_command_to_create_it(
    warm: WarmCommandLine, arguments: tuple[str, ...]
) -> None:
    message = warm.fail(1, *arguments)
    assert message.startswith("there is no table market_data.gold_")
    assert message.endswith(": run 'ohlcv tables create'")
    # Opening the embedded catalog creates its database but no table.
    assert warm.files() <= {"home/catalog.db"}


@pytest.mark.parametrize("setting", ["OHLCV_WAREHOUSE", "OHLCV_HOME"])
@pytest.mark.parametrize("arguments", [("tables", "create"), ("demo", "--trades", "8")], ids=" ".join)
def test_a_folder_that_cannot_be_created_is_named(
    warm: WarmCommandLine, setting: str, arguments: tuple[str, ...]
) -> None:
    file = warm.folder / "file"
    file.write_text("not a folder")
    message = warm.fail(2, *arguments, **{setting: str(file / "below")})
    assert f"{file}/below" in message
    assert message.endswith(" is not writable (Not a directory): choose another folder or grant access")
    assert warm.files() == {"file"}


def test_an_unreachable_spark_master_is_named_before_a_job_starts(warm: WarmCommandLine) -> None:
    master = f"spark://127.0.0.1:{closed_port()}"
    for arguments, settings in (
        (("--master", master), {}),
        ((), {"OHLCV_SPARK_MASTER": master}),
        (("--master", master), {"OHLCV_SPARK_MASTER": "local[*]"}),
    ):
        message = warm.fail(1, "build", "--timeframe", "1m", *DAY, *arguments, **settings)
        assert message.startswith(f"the Spark master {master} does not answer (")
        assert message.endswith("): start it or check the address")
    assert warm.files() == set()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.csv", None, "gone.csv does not exist"),
        ("folder", b"", "folder is a directory: give the files in it"),
        ("empty.csv", b"", "empty.csv is empty"),
        ("short.csv", b"symbol,price\nBTC-USD,1\n", "short.csv has no column timestamp, quantity"),
        ("bad.parquet", bytes(range(100)), "bad.parquet is not a Parquet file"),
    ],
    ids=["missing", "folder", "empty", "columns", "parquet"],
)
def test_an_unreadable_trade_file_is_named_and_nothing_is_written(
    warm: WarmCommandLine, name: str, content: bytes | None, message: str
) -> None:
    create_tables(load_settings({"OHLCV_HOME": str(warm.home)}))
    if name == "folder":
        (warm.folder / name).mkdir()
    elif content is not None:
        (warm.folder / name).write_bytes(content)
    before = warm.files()
    assert warm.fail(2, "trades", "load", name).startswith(message)
    assert warm.files() == before


def test_a_refused_row_is_reported_and_nothing_is_written(warm: WarmCommandLine) -> None:
    create_tables(load_settings({"OHLCV_HOME": str(warm.home)}))
    (warm.folder / "trades.csv").write_text(
        "timestamp,symbol,exchange,trade_id,price,quantity\n"
        "1772366400000000,BTC-USD,kraken,1,100,1\n"
        "1772366401000000,BTC-USD,kraken,2,-100,1\n"
    )
    before = warm.files()
    result = warm.run("trades", "load", "trades.csv", "--json")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    report = json.loads(result.stdout)
    assert (report["loaded"], report["refused_count"], report["refused"][0]["line"]) == (0, 1, 3)
    assert warm.files() == before
