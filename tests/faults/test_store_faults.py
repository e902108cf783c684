"""An object store that fails during a job: short faults are waited out, others end in one line; a rerun is exact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import load_table, open_catalog
from support.command_line import WarmCommandLine
from support.faulty_store import Fault, FaultyStore, Matches, StoreRequest, faulty_store
from support.harness import Harness
from support.late_candles import DAY, NEXT, assert_exact, assert_rerun_is_exact, build_then_load_late_trades, line_of

pytestmark = pytest.mark.faults

# Properties of S3's client in Spark. By default it tries six times in half a minute, and waits 30 s for an answer.
IMPATIENT = {"s3.retry.num-retries": "1", "s3.retry.min-wait-ms": "100", "http-client.apache.socket-timeout-ms": "2000"}


def matching(method: str, *parts: str) -> Matches:
    """Return the condition that a request has a method and all parts in its path."""

    def matches(request: StoreRequest) -> bool:
        return request.method == method and all(part in request.path for part in parts)

    return matches


# Steps of a job by the first request of each.
STEPS = {
    "plans the trades": matching("GET", "gold_crypto_trades/metadata/", ".avro"),
    "reads the trades": matching("GET", "gold_crypto_trades/data/"),
    "writes the candles": matching("PUT", "gold_ohlcv_1m/data/"),
    "writes a manifest": matching("PUT", "gold_ohlcv_1m/metadata/", "-m0.avro"),
    "writes a manifest list": matching("PUT", "gold_ohlcv_1m/metadata/snap-"),
    "writes the metadata": matching("PUT", "gold_ohlcv_1m/metadata/", ".metadata.json"),
}
# Each fault at some steps; every step has a fault.
CASES = [
    (Fault.OVERLOADED, "plans the trades"),
    (Fault.OVERLOADED, "writes a manifest"),
    (Fault.DENIED, "reads the trades"),
    (Fault.DENIED, "writes the candles"),
    (Fault.CUT, "writes the candles"),
    (Fault.CUT, "writes a manifest list"),
    (Fault.SILENT, "reads the trades"),
    (Fault.SILENT, "writes the metadata"),
]
MESSAGES = {
    Fault.OVERLOADED: "reports an error (",
    Fault.DENIED: "denies access",
    Fault.CUT: "does not answer (",
    Fault.SILENT: "does not answer (",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyStore]:
    with faulty_store(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def harness(spark: SparkSession, store: FaultyStore, tmp_path: Path) -> Iterator[Harness]:
    """Build a day in the store, then load late trades into some of its windows."""
    harness = Harness(spark, tmp_path / "home", store.environment())
    build_then_load_late_trades(harness, step=601, late=10)
    yield harness
    store.heal()


@pytest.mark.parametrize(("fault", "step"), CASES, ids=lambda value: value if isinstance(value, str) else value.name)
def test_a_job_whose_store_fails_names_it_and_its_rerun_is_exact(
    harness: Harness, store: FaultyStore, fault: Fault, step: str
) -> None:
    harness.connect(IMPATIENT)
    before = harness.stored("1m")
    store.fail(fault, STEPS[step])
    with pytest.raises(Exception) as raised:  # noqa: PT011 - any error; its text is compared
        harness.build("1m", DAY, NEXT)
    line = line_of(raised.value, harness.settings)
    print(f"{fault.name}, {store.failed} requests: {line}")
    assert MESSAGES[fault] in line
    assert store.environment()["OHLCV_S3_SECRET_KEY"] not in line
    store.heal()
    # No file of the table was deleted.
    assert harness.stored("1m") == before
    assert_rerun_is_exact(harness)


@pytest.mark.parametrize("fault", [Fault.OVERLOADED, Fault.CUT], ids=lambda fault: fault.name)
def test_a_job_waits_for_a_store_that_fails_for_a_moment(harness: Harness, store: FaultyStore, fault: Fault) -> None:
    steps = list(STEPS.values())
    store.fail(fault, lambda request: any(step(request) for step in steps), times=2)
    harness.build("1m", DAY, NEXT)
    assert store.failed == 2
    assert_exact(harness)


def test_a_job_on_a_slow_store_completes(harness: Harness, store: FaultyStore) -> None:
    store.delay = 0.3
    harness.build("1m", DAY, NEXT)
    store.heal()
    assert_exact(harness)


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
def test_commands_name_a_store_that_fails(
    store: FaultyStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Fault,
) -> None:
    environment = store.environment()
    command_line = WarmCommandLine(tmp_path, monkeypatch, capsys)
    command_line.succeed("tables", "create", "--no-views", **environment)
    command_line.succeed("trades", "sample", "--trades", "10", "--hours", "1", **environment)
    day = ["--start", "2026-03-01T00:00Z", "--end", "2026-03-01T01:00Z"]
    try:
        for command in (
            ["validate", "--timeframe", "1m", *day],
            ["build", "--timeframe", "1m", *day],
            ["trades", "sample", "--trades", "10", "--hours", "1"],
            ["coverage", "record"],
        ):
            store.fail(fault, lambda request: True)
            line = command_line.fail(1, *command, **environment)
            print(f"{fault.name}, {' '.join(command[:2])}: {line}")
            assert store.failed
            # A table whose metadata cannot be read is named with the cause.
            is_table = line.startswith("market_data.") and "AWS Error" in line and line.endswith("see 'ohlcv doctor'")
            assert MESSAGES[fault] in line or is_table
            assert environment["OHLCV_S3_SECRET_KEY"] not in line
    finally:
        store.heal()
    # The tables are as before: ten trades of the load.
    assert "10" in command_line.succeed("sql", "SELECT count(*) FROM market_data.gold_crypto_trades", **environment)


def test_a_table_whose_newest_metadata_file_is_missing_in_the_store_is_restored(
    store: FaultyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = store.environment()
    command_line = WarmCommandLine(tmp_path, monkeypatch, capsys)
    command_line.succeed("tables", "create", "--no-views", **environment)
    for seed in ("1", "2"):
        command_line.succeed("trades", "sample", "--trades", "10", "--hours", "1", "--seed", seed, **environment)
    settings = load_settings({**environment, "OHLCV_HOME": str(command_line.home)})
    table = load_table(open_catalog(settings), settings.trades_contract)
    table.io.delete(table.metadata_location)
    shown = command_line.run("tables", "restore", "gold_crypto_trades", "--yes", **environment)
    assert shown.returncode == 0, shown.stderr
    assert "restored  market_data.gold_crypto_trades" in shown.stdout
    assert "could not be renamed" not in shown.stderr
    command_line.succeed("fsck", "--trades", **environment)
    assert command_line.succeed("tables", "register", "--replace", **environment) == ""
