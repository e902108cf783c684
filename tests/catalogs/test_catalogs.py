"""Builds, late trades, concurrent writers, reprocessing and retention, the same on every kind of catalog and store."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pyiceberg.exceptions import CommitFailedException

from catalogs.conftest import CatalogUnderTest
from catalogs.kinds import KINDS
from ohlcv.config.maintained_tables import ExpiredPartition
from ohlcv.iceberg.retention_plan import measure_table, plan_retention
from ohlcv.iceberg.tables import load_table_to_write, open_catalog
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import Range, day_range
from ohlcv.quality.report import format_result
from ohlcv.quality.validator import built_range, validate
from ohlcv.spark.spark_submit import build_job, run
from spark_jobs.iceberg.candle_writer import CommitGuard
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from spark_jobs.jobs.table_maintenance import ORPHAN_AGE, Request, maintain
from support.command_line import ColdCommandLine
from support.default_tables import NAMESPACE, TRADES, candles_contract
from support.harness import Harness, at, total_changes, trade
from support.processes import running_job
from support.reference_model import Trade
from support.stores import ObjectStore

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

NOON = at("2026-03-31 12:00")
HOUR = timedelta(hours=1)
MASTER = "local[1]"
# Number of secrets in the settings.
SECRETS = {"sqlite and files": 0, "postgresql and s3": 3, "nessie and s3": 3, "rest and s3": 1, "glue and s3": 2}
WITHOUT_LOCK = [kind for kind, (_, features) in KINDS.items() if not features.has_lock]


def trades_each_minute(begin: datetime, minutes: int = 60, symbol: str = "BTC-USD") -> list[Trade]:
    return [
        trade(begin + timedelta(minutes=n, seconds=n % 50), f"{100 + n % 7}", symbol=symbol) for n in range(minutes)
    ]


def late_trade(time: datetime, price: str = "5000") -> Trade:
    """Return a trade of any time that is ingested now."""
    return trade(time, price, trade_id=f"late-{price}", ingested=datetime.now(UTC))


def scheduled_run(harness: Harness, end: datetime, timeframe: str = "1m") -> dict[str, Any]:
    """Build as a scheduled run does: the lookback up to `end`, and pending hours."""
    return harness.build(timeframe, end - harness.settings.timeframe(timeframe).lookback, end, rebuild_pending=True)


def matches_reference(harness: Harness, begin: datetime, end: datetime, timeframe: str = "1m") -> bool:
    return harness.candles(timeframe) == harness.expected(timeframe, (begin, end)).candles


def test_a_build_is_exact_and_its_rerun_changes_nothing(catalog: CatalogUnderTest) -> None:
    harness = catalog.harness
    harness.load(trades_each_minute(NOON - 2 * HOUR), trades_each_minute(NOON - HOUR, symbol="ETH-USD"))
    for timeframe in ("1m", "1h"):
        first = harness.build(timeframe, NOON - 2 * HOUR, NOON)
        assert matches_reference(harness, NOON - 2 * HOUR, NOON, timeframe)
        assert harness.snapshots(timeframe)[-1] == first["snapshot"]
        before = harness.table(timeframe).metadata_location
        again = harness.build(timeframe, NOON - 2 * HOUR, NOON)
        assert (again["snapshot"], total_changes(again["candles"])) == (None, 0)
        assert harness.table(timeframe).metadata_location == before
    catalog.observations.append("no second commit")


@pytest.mark.parametrize("age", [timedelta(minutes=30), timedelta(days=30)], ids=["half an hour", "a month"])
def test_late_trades_are_found_and_their_windows_rebuilt(catalog: CatalogUnderTest, age: timedelta) -> None:
    harness = catalog.harness
    old = NOON - age - timedelta(minutes=5)
    begin = old.replace(minute=0)
    harness.load(trades_each_minute(begin), trades_each_minute(NOON - HOUR))
    harness.build("1m", begin, NOON)
    scheduled_run(harness, NOON)
    harness.load([late_trade(old)])
    report = scheduled_run(harness, NOON)
    assert report["candles"]["updated"] == 1
    assert matches_reference(harness, begin, NOON)
    assert harness.checkpoint("1m").trades_snapshot == harness.snapshots()[-1]
    # Nessie exposes only the newest snapshot, so the run reports that it searched by ingestion time.
    assert any("ingestion time" in note for note in report["notes"]) != catalog.features.shows_history
    # The next run finds nothing to change, even where it rebuilds the same hours again.
    before = harness.table("1m").metadata_location
    assert scheduled_run(harness, NOON)["snapshot"] is None
    assert harness.table("1m").metadata_location == before
    catalog.observations.append("by file lists" if catalog.features.shows_history else "by ingestion time")


def test_the_checkpoint_advances_when_no_candle_changed(catalog: CatalogUnderTest) -> None:
    harness = catalog.harness
    harness.load(trades_each_minute(NOON - HOUR))
    harness.build("1m", NOON - HOUR, NOON)
    scheduled_run(harness, NOON)
    harness.load([replace(late_trade(NOON - HOUR), price=None)])  # rejected, so no candle changes
    before = harness.snapshots("1m")
    assert scheduled_run(harness, NOON)["snapshot"] is None
    assert harness.snapshots("1m") == before
    assert harness.checkpoint("1m").trades_snapshot == harness.snapshots()[-1]


def test_validation_reads_the_trades_snapshot_of_the_build(catalog: CatalogUnderTest) -> None:
    harness = catalog.harness
    timeframe, own_range = harness.settings.timeframe("1m"), Range(NOON - HOUR, NOON)
    harness.load(trades_each_minute(NOON - HOUR))
    harness.build("1m", own_range.start, own_range.end, run_id="run")
    for new_trade in (None, late_trade(NOON - HOUR)):
        if new_trade:
            # Loaded between the build and its validation.
            harness.load([new_trade])
        # The validation of the run, and one that recomputes the candles.
        for run_id, notes in (("run", ["recomputed from the trades before publication"]), ("", [])):
            result = validate(harness.settings, timeframe, own_range, run_id)
            assert (result.failures, result.notes) == ([], notes), format_result(result)
            assert (result.candles, result.trades) == (60, 60)
    # The range to validate does not end at the newest commit, which can be that of a backfill.
    harness.load(trades_each_minute(NOON - 5 * HOUR))
    harness.build("1m", NOON - 5 * HOUR, NOON - 4 * HOUR)
    assert built_range(harness.settings, timeframe, Range(NOON - 5 * HOUR, NOON + HOUR)) == Range(NOON - 5 * HOUR, NOON)
    # A wrong candle is found.
    row = harness.table("1m").scan().to_arrow().to_pylist()[0]
    harness.overwrite("1m", [{**row, "high_price": row["high_price"] + 1}])
    assert validate(harness.settings, timeframe, own_range).failures
    catalog.observations.append("late trade is no failure")


@pytest.mark.parametrize("spans", [[(0, 24), (0, 24)], [(0, 14), (10, 24)]], ids=["same range", "overlapping ranges"])
def test_concurrent_writers_store_each_candle_once(catalog: CatalogUnderTest, spans: list[tuple[int, int]]) -> None:
    harness = catalog.harness
    day = at("2026-03-01 00:00")
    harness.load(
        trade(day + timedelta(seconds=second), f"{100 + second % 13}.{second % 7}", f"0.{second % 97 + 1}", symbol=s)
        for s in ("BTC-USD", "ETH-USD")
        for second in range(0, 86_400, 53)
    )
    jobs = [build_job(harness.settings, "1m", Range(day + a * HOUR, day + b * HOUR)) for a, b in spans]
    with ExitStack() as stack:
        runs = [stack.enter_context(running_job(job, MASTER)) for job in jobs]
        codes = [run.wait() for run in runs]
    assert codes == [0, 0], [run.log + run.output for run in runs]
    assert matches_reference(harness, day, day + timedelta(days=1))  # a key stored twice is an error there
    conflicts = sum((run.log + run.output).count("another writer committed first") for run in runs)
    catalog.observations.append("lock" if catalog.features.has_lock else f"{conflicts} conflicts")


@pytest.mark.parametrize("catalog", WITHOUT_LOCK, indirect=True)
def test_a_run_with_a_conflict_right_before_its_commit_starts_again(
    catalog: CatalogUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process commits to the same day after this run has read and computed everything."""
    harness = catalog.harness
    harness.load(trades_each_minute(NOON - 2 * HOUR), trades_each_minute(NOON - HOUR))
    jobs = [build_job(harness.settings, "1m", Range(NOON - 2 * HOUR, NOON - HOUR))]
    guards: list[CommitGuard] = []
    for_table = CommitGuard.for_table

    def conflicting(*arguments: Any, **options: Any) -> CommitGuard:
        def assert_lock_held() -> None:
            if jobs:
                result = run(jobs.pop(), MASTER)
                assert result.exit_code == 0, result.log

        guards.append(replace(for_table(*arguments, **options), assert_lock_held=assert_lock_held))
        return guards[-1]

    monkeypatch.setattr(CommitGuard, "for_table", conflicting)
    report = harness.build("1m", NOON - HOUR, NOON)
    assert (len(guards), report["candles"]["inserted"]) == (2, 60)
    assert matches_reference(harness, NOON - 2 * HOUR, NOON)
    catalog.observations.append("started again once")


@pytest.mark.parametrize("catalog", WITHOUT_LOCK, indirect=True)
def test_a_new_table_refuses_a_commit_that_does_not_follow_the_newest_one(catalog: CatalogUnderTest) -> None:
    """Nessie checks this only if the table has a snapshot, so `create_tables` adds the first one."""
    harness = catalog.harness
    first, second = (harness.table("1m") for _ in range(2))
    rows = first.schema().as_arrow().empty_table()
    late = second.transaction()
    late.append(rows)
    first.append(rows)
    second.metadata.properties["commit.retry.num-retries"] = "0"
    with pytest.raises(CommitFailedException):
        second.catalog.commit_table(second, late._requirements, late._updates)
    catalog.observations.append("the second commit is refused")


@pytest.mark.parametrize("catalog", WITHOUT_LOCK, indirect=True)
def test_a_table_without_a_snapshot_is_not_written(catalog: CatalogUnderTest) -> None:
    harness = catalog.harness
    harness.load(trades_each_minute(NOON - HOUR))
    service = open_catalog(harness.settings)
    for contract in (candles_contract(harness.settings.timeframe("1m")), TRADES):
        table = service.load_table((NAMESPACE, contract.name))
        service.drop_table(table.name())
        service.create_table(
            table.name(), table.schema(), partition_spec=table.spec(), properties=dict(contract.properties)
        )
        with pytest.raises(OhlcvError, match=f"{contract.name} has no first snapshot, .*: drop the empty table"):
            load_table_to_write(harness.settings, contract)
    with pytest.raises(OhlcvError, match="gold_ohlcv_1m has no first snapshot"):
        harness.build("1m", NOON - HOUR, NOON)


def test_reprocessing_a_day_twice_changes_nothing_the_second_time(catalog: CatalogUnderTest) -> None:
    harness = catalog.harness
    harness.load(trades_each_minute(NOON - HOUR))
    request = DayRequest(
        NOON.date(), {harness.settings.timeframe(name): day_range(NOON.date()) for name in ("1m", "30m", "1d")}
    )
    counts = [
        [total_changes(each["candles"]) for each in reprocess(harness.spark, harness.settings, request)["timeframes"]]
        for _ in range(2)
    ]
    assert counts == [[60, 2, 1], [0, 0, 0]]
    catalog.observations.append("rerun changes nothing")


def test_retention_and_maintenance_run_or_report_why_not(
    catalog: CatalogUnderTest, request: pytest.FixtureRequest
) -> None:
    harness = catalog.harness
    timeframe = harness.settings.timeframe("1m")
    today = NOON.date() + timedelta(days=1)
    for day in (120, 119, 2):
        noon = NOON - timedelta(days=day)
        for hour in (0, 1):
            harness.load(trades_each_minute(noon + hour * HOUR, 10))
            harness.build("1m", noon + hour * HOUR, noon + (hour + 1) * HOUR)
    progress = harness.checkpoint("1m")
    retained = {
        key: value for key, value in harness.stored("1m").items() if key[2] > (NOON - timedelta(days=3)).timestamp()
    }
    plan = plan_retention(harness.settings, timeframe, today, today, max_share=0.9)
    expired = tuple(ExpiredPartition("1m", partition.day) for partition in plan.expired)
    assert len(expired) == 2
    orphan = write_orphan_file(harness, request)
    report = maintain(
        harness.spark,
        harness.settings,
        Request(plan.table, ("delete", "compact", "expire"), datetime.now(UTC).date(), expired),
    )
    assert (report["delete"]["partitions"], report["delete"]["rows"]) == (2, 40)
    assert harness.stored("1m") == {key: value for key, value in retained.items() if key in harness.stored("1m")}
    assert len(harness.stored("1m")) == 20
    assert harness.checkpoint("1m") == progress
    remaining = measure_table(harness.settings, plan.table.contract)
    assert (remaining.rows, remaining.files) == (20, 1)
    if not catalog.features.shows_history:
        assert "gc.enabled=false" in report["expire"]["note"]
        assert orphan.exists()
    else:
        assert report["expire"]["orphans_deleted"] == 1
        assert not orphan.exists()
    catalog.observations.append(
        "deleted, compacted, expired" if catalog.features.shows_history else "expiry left to the catalog"
    )


def write_orphan_file(harness: Harness, request: pytest.FixtureRequest) -> Path:
    """Write an old file that no snapshot references into the table's folder. A bucket is a folder, too."""
    location = harness.table("1m").location()
    if location.startswith("s3://"):
        store: ObjectStore = request.getfixturevalue("store")
        folder = store.folder / location.removeprefix("s3://")
    else:
        folder = Path(urlsplit(location).path)
    old = folder / "data" / "old.parquet"
    old.write_bytes(b"left by a killed job")
    long_ago = time.time() - ORPHAN_AGE.total_seconds() - 3600
    os.utime(old, (long_ago, long_ago))
    return old


def aws_environment(catalog: CatalogUnderTest) -> dict[str, str]:
    """Return the S3 keys of one catalog in the variables of the AWS SDK instead of the catalog's properties."""
    if not catalog.kind.startswith("nessie"):
        return {}
    names = {
        name: name.rpartition("__")[2] for name in catalog.environment if name.endswith(("_KEY_ID", "_ACCESS_KEY"))
    }
    aws = {f"AWS_{name}": catalog.environment[setting] for setting, name in names.items()}
    return {**dict.fromkeys(names, ""), **aws}


def secrets_of(environment: dict[str, str]) -> list[str]:
    names = ("_PASSWORD", "_KEY", "_KEY_ID", "__CREDENTIAL")
    found = [value for name, value in environment.items() if name.endswith(names) and not name.startswith("AWS_")]
    return [value.rpartition(":")[2] for value in found]


def test_cli_commands_work_and_spark_shows_no_secrets(catalog: CatalogUnderTest, tmp_path: Path) -> None:
    command_line = ColdCommandLine(tmp_path)
    command_line.environment |= catalog.environment
    created = command_line.succeed("tables", "create")
    assert (f"created  {NAMESPACE}.ohlcv_latest (view)" in created) == catalog.features.has_views
    assert "created" not in command_line.succeed("tables", "create")
    command_line.succeed("trades", "sample", "--trades", "2000", "--hours", "2", "--end", "2026-03-31T12:00:00Z")
    # The event log contains the settings of the job, like the environment page of Spark's web UI.
    events = tmp_path / "events"
    events.mkdir()
    job = build_job(catalog.harness.settings, "1m", Range(NOON - 2 * HOUR, NOON))
    event_log = {"enabled": "true", "compress": "false", "dir": f"file://{events}"}
    event_log = {f"spark.eventLog.{name}": value for name, value in event_log.items()}
    result = run(replace(job, conf={**job.conf, **event_log}), MASTER, aws_environment(catalog))
    assert result.exit_code == 0, result.log
    candles = json.loads(result.last_line)["candles"]["inserted"]
    text = "".join(path.read_text() for path in events.rglob("*") if path.is_file())
    visible = text + result.log + " ".join(job.command(MASTER))
    secrets = secrets_of(catalog.environment)
    assert len(secrets) == SECRETS.get(catalog.kind, 0)
    assert not [secret for secret in secrets if secret in visible]
    name = catalog.harness.settings.catalog.name
    assert f"spark.sql.catalog.{name}" in text
    if catalog.features.has_store_keys and not catalog.kind.startswith("nessie"):
        assert f'"spark.sql.catalog.{name}.s3.access-key-id":"*********(redacted)"' in text
    span = ("--timeframe", "1m", "--start", "2026-03-31T10:00Z", "--end", "2026-03-31T12:00Z")
    assert len(command_line.succeed("candles", *span, "--format", "csv").splitlines()) == candles + 1
    command_line.succeed("validate", *span)
    catalog.observations.append(f"{candles} candles")
