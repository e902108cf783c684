"""The same promises on every kind of catalog and store: what a run does may not depend on where it is kept."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalogs.conftest import House
from ohlcv.iceberg.retention_plan import measure_table, plan_retention
from ohlcv.model.intervals import Range, day_range
from ohlcv.model.table_contracts import NAMESPACE
from ohlcv.quality.report import format_result
from ohlcv.quality.validator import built_range, validate
from ohlcv.spark.spark_submit import build_job, run
from spark_jobs.iceberg.candle_writer import CommitGuard
from spark_jobs.jobs.reprocess_day import DayRequest, reprocess
from spark_jobs.jobs.table_maintenance import ORPHAN_AGE, Request, maintain
from support.harness import Harness, at, total, trade
from support.processes import running
from support.reference_model import Trade
from support.stores import ObjectStore

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

NOON = at("2026-03-31 12:00")
HOUR = timedelta(hours=1)
MASTER = "local[1]"


def minutely(begin: datetime, minutes: int = 60, symbol: str = "BTC-USD") -> list[Trade]:
    return [
        trade(begin + timedelta(minutes=n, seconds=n % 50), f"{100 + n % 7}", symbol=symbol) for n in range(minutes)
    ]


def late(time: datetime, price: str = "5000") -> Trade:
    """Make a trade that is ingested now, whenever it was made."""
    return trade(time, price, trade_id=f"late-{price}", ingested=datetime.now(UTC))


def scheduled(harness: Harness, end: datetime, timeframe: str = "1m") -> dict[str, Any]:
    """Run what the schedule runs: the lookback up to `end`, and repairs."""
    return harness.build(timeframe, end - harness.settings.timeframe(timeframe).lookback, end, repair=True)


def is_right(harness: Harness, begin: datetime, end: datetime, timeframe: str = "1m") -> bool:
    return harness.candles(timeframe) == harness.expected(timeframe, (begin, end)).candles


def test_a_build_is_exact_and_its_rerun_changes_nothing(house: House) -> None:
    harness = house.harness
    harness.load(minutely(NOON - 2 * HOUR), minutely(NOON - HOUR, symbol="ETH-USD"))
    for timeframe in ("1m", "1h"):
        first = harness.build(timeframe, NOON - 2 * HOUR, NOON)
        assert is_right(harness, NOON - 2 * HOUR, NOON, timeframe)
        assert harness.snapshots(timeframe) == [first["snapshot"]]
        before = harness.table(timeframe).metadata_location
        again = harness.build(timeframe, NOON - 2 * HOUR, NOON)
        assert (again["snapshot"], total(again["candles"])) == (None, 0)
        assert harness.table(timeframe).metadata_location == before
    house.told.append("no second commit")


@pytest.mark.parametrize("age", [timedelta(minutes=30), timedelta(days=30)], ids=["half an hour", "a month"])
def test_late_trades_are_found_and_repaired(house: House, age: timedelta) -> None:
    harness = house.harness
    old = NOON - age - timedelta(minutes=5)
    begin = old.replace(minute=0)
    harness.load(minutely(begin), minutely(NOON - HOUR))
    harness.build("1m", begin, NOON)
    scheduled(harness, NOON)
    harness.load([late(old)])
    report = scheduled(harness, NOON)
    assert report["candles"]["updated"] == 1
    assert is_right(harness, begin, NOON)
    assert harness.progress("1m").trades_snapshot == harness.snapshots()[-1]
    # Nessie shows no snapshot but the newest: the run says that it looked by time of ingestion.
    assert any("changed hours are found by ingestion time" in note for note in report["notes"]) == house.is_rest
    # Nothing more to do: not even where the hours are looked at again.
    before = harness.table("1m").metadata_location
    assert scheduled(harness, NOON)["snapshot"] is None
    assert harness.table("1m").metadata_location == before
    house.told.append("by ingestion time" if house.is_rest else "by the snapshots' files")


def test_progress_is_kept_where_no_candle_changed(house: House) -> None:
    harness = house.harness
    harness.load(minutely(NOON - HOUR))
    harness.build("1m", NOON - HOUR, NOON)
    scheduled(harness, NOON)
    harness.load([replace(late(NOON - HOUR), price=None)])  # rejected: nothing to change
    before = harness.snapshots("1m")
    assert scheduled(harness, NOON)["snapshot"] is None
    assert harness.snapshots("1m") == before
    assert harness.progress("1m").trades_snapshot == harness.snapshots()[-1]


def test_the_check_reads_the_trades_the_candles_were_built_from(house: House) -> None:
    harness = house.harness
    timeframe, own = harness.settings.timeframe("1m"), Range(NOON - HOUR, NOON)
    harness.load(minutely(NOON - HOUR))
    harness.build("1m", own.start, own.end, run_id="run")
    for arrived in (None, late(NOON - HOUR)):
        if arrived:
            # Between the build and its check.
            harness.load([arrived])
        verdict = validate(harness.settings, timeframe, own, run_id="run")
        assert (verdict.failures, verdict.notes) == ([], []), format_result(verdict)
        assert (verdict.candles, verdict.trades) == (60, 60)
    # What is there to be checked does not end where the newest commit does, which may be a backfill's.
    harness.load(minutely(NOON - 5 * HOUR))
    harness.build("1m", NOON - 5 * HOUR, NOON - 4 * HOUR)
    assert built_range(harness.settings, timeframe, Range(NOON - 5 * HOUR, NOON + HOUR)) == Range(NOON - 5 * HOUR, NOON)
    # What is wrong is found.
    row = harness.table("1m").scan().to_arrow().to_pylist()[0]
    harness.overwrite("1m", [{**row, "high_price": row["high_price"] + 1}])
    assert validate(harness.settings, timeframe, own).failures
    house.told.append("late trade is no failure")


@pytest.mark.parametrize("spans", [[(0, 24), (0, 24)], [(0, 14), (10, 24)]], ids=["same range", "overlapping ranges"])
def test_two_writers_at_once(house: House, spans: list[tuple[int, int]]) -> None:
    harness = house.harness
    day = at("2026-03-01 00:00")
    harness.load(
        trade(day + timedelta(seconds=second), f"{100 + second % 13}.{second % 7}", f"0.{second % 97 + 1}", symbol=s)
        for s in ("BTC-USD", "ETH-USD")
        for second in range(0, 86_400, 53)
    )
    jobs = [build_job(harness.settings, "1m", Range(day + a * HOUR, day + b * HOUR)) for a, b in spans]
    with ExitStack() as stack:
        runs = [stack.enter_context(running(job, MASTER)) for job in jobs]
        codes = [run.wait() for run in runs]
    assert codes == [0, 0], [run.log + run.output for run in runs]
    assert is_right(harness, day, day + timedelta(days=1))  # a key stored twice is an error there
    overtaken = sum((run.log + run.output).count("another writer came first") for run in runs)
    house.told.append(f"{overtaken} overtaken" if house.is_rest else "lease")


@pytest.mark.parametrize("house", ["rest and s3"], indirect=True)
def test_one_who_is_overtaken_right_before_its_commit_starts_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process commits to the same day after all was read and computed: the worst moment there is."""
    harness = house.harness
    harness.load(minutely(NOON - 2 * HOUR), minutely(NOON - HOUR))
    jobs = [build_job(harness.settings, "1m", Range(NOON - 2 * HOUR, NOON - HOUR))]
    guards: list[CommitGuard] = []
    of = CommitGuard.of

    def overtaken(*arguments: Any, **options: Any) -> CommitGuard:
        def assert_lock_held() -> None:
            if jobs:
                outcome = run(jobs.pop(), MASTER)
                assert outcome.exit_code == 0, outcome.log

        guards.append(replace(of(*arguments, **options), assert_lock_held=assert_lock_held))
        return guards[-1]

    monkeypatch.setattr(CommitGuard, "of", overtaken)
    report = harness.build("1m", NOON - HOUR, NOON)
    assert (len(guards), report["candles"]["inserted"]) == (2, 60)
    assert is_right(harness, NOON - 2 * HOUR, NOON)
    house.told.append("started over once")


def test_a_day_is_reprocessed(house: House) -> None:
    harness = house.harness
    harness.load(minutely(NOON - HOUR))
    request = DayRequest(
        NOON.date(), {harness.settings.timeframe(name): day_range(NOON.date()) for name in ("1m", "30m", "1d")}
    )
    counts = [
        [total(each["candles"]) for each in reprocess(harness.spark, harness.settings, request)["timeframes"]]
        for _ in range(2)
    ]
    assert counts == [[60, 2, 1], [0, 0, 0]]
    house.told.append("rerun changes nothing")


def test_retention_and_maintenance_run_or_say_why_not(house: House, request: pytest.FixtureRequest) -> None:
    harness = house.harness
    timeframe = harness.settings.timeframe("1m")
    today = NOON.date() + timedelta(days=1)
    for day in (120, 119, 2):
        noon = NOON - timedelta(days=day)
        for hour in (0, 1):
            harness.load(minutely(noon + hour * HOUR, 10))
            harness.build("1m", noon + hour * HOUR, noon + (hour + 1) * HOUR)
    progress = harness.progress("1m")
    kept = {
        key: value for key, value in harness.stored("1m").items() if key[2] > (NOON - timedelta(days=3)).timestamp()
    }
    plan = plan_retention(harness.settings, timeframe, today, today, max_share=0.9)
    days = tuple(partition.day for partition in plan.expired)
    assert len(days) == 2
    orphan = left_by_a_killed_job(harness, request)
    report = maintain(
        harness.spark, Request(timeframe, ("delete", "compact", "expire"), datetime.now(UTC).date(), days)
    )
    assert (report["delete"]["partitions"], report["delete"]["rows"]) == (2, 40)
    assert harness.stored("1m") == {key: value for key, value in kept.items() if key in harness.stored("1m")}
    assert len(harness.stored("1m")) == 20
    assert harness.progress("1m") == progress
    left = measure_table(harness.settings, timeframe)
    assert (left.rows, left.files) == (20, 1)
    if house.is_rest:
        assert "gc.enabled=false" in report["expire"]["note"]
        assert orphan.exists()
    else:
        assert report["expire"]["orphans_deleted"] == 1
        assert not orphan.exists()
    house.told.append("expiry is the catalog's" if house.is_rest else "deleted, compacted, expired")


def left_by_a_killed_job(harness: Harness, request: pytest.FixtureRequest) -> Path:
    """Put an old file nobody names into the table's folder; a bucket is a folder, too."""
    location = harness.table("1m").location()
    if location.startswith("s3://"):
        store: ObjectStore = request.getfixturevalue("store")
        folder = store.folder / location.removeprefix("s3://")
    else:
        folder = Path(location.removeprefix("file://"))
    old = folder / "data" / "old.parquet"
    old.write_bytes(b"left by a killed job")
    long_ago = time.time() - ORPHAN_AGE.total_seconds() - 3600
    os.utime(old, (long_ago, long_ago))
    return old


def keys_as_aws_names_them(house: House) -> dict[str, str]:
    """Leave the keys of one kind to what the SDKs look for by themselves, in the job."""
    if not house.is_rest:
        return {}
    keys = {"OHLCV_S3_ACCESS_KEY": "AWS_ACCESS_KEY_ID", "OHLCV_S3_SECRET_KEY": "AWS_SECRET_ACCESS_KEY"}
    return {**dict.fromkeys(keys, ""), **{theirs: house.environment[ours] for ours, theirs in keys.items()}}


def test_the_command_line_and_no_secret_in_what_spark_shows(house: House, tmp_path: Path) -> None:
    from integration.test_cli import User

    user = User(tmp_path)
    user.environment |= house.environment
    made = user.gets("tables", "create")
    assert f"created  {NAMESPACE}.ohlcv_latest (view)" in made
    assert "created" not in user.gets("tables", "create")
    user.gets("trades", "sample", "--trades", "2000", "--hours", "2", "--end", "2026-03-31T12:00:00Z")
    # The job's own account of its settings: what the environment page shows, and the event log holds.
    events = tmp_path / "events"
    events.mkdir()
    job = build_job(house.harness.settings, "1m", Range(NOON - 2 * HOUR, NOON))
    shown = {"enabled": "true", "compress": "false", "dir": f"file://{events}"}
    shown = {f"spark.eventLog.{name}": value for name, value in shown.items()}
    outcome = run(replace(job, conf={**job.conf, **shown}), MASTER, keys_as_aws_names_them(house))
    assert outcome.exit_code == 0, outcome.log
    candles = json.loads(outcome.last_line)["candles"]["inserted"]
    text = "".join(path.read_text() for path in events.rglob("*") if path.is_file())
    told = text + outcome.log + " ".join(job.command(MASTER))
    secrets = [value for name, value in house.environment.items() if name.endswith(("_PASSWORD", "_KEY"))]
    assert len(secrets) == {"sqlite and files": 0, "postgresql and s3": 3, "rest and s3": 2}[house.kind]
    assert not [secret for secret in secrets if secret in told]
    assert "spark.sql.catalog.iceberg" in text
    if house.kind == "postgresql and s3":
        assert '"spark.sql.catalog.iceberg.s3.access-key-id":"*********(redacted)"' in text
    span = ("--timeframe", "1m", "--start", "2026-03-31T10:00Z", "--end", "2026-03-31T12:00Z")
    assert len(user.gets("candles", *span, "--format", "csv").splitlines()) == candles + 1
    user.gets("validate", *span)
    house.told.append(f"{candles} candles")
