"""The ledger on every kind of catalog: the past reads as it was seen, and what a catalog expired by itself is a gap."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalogs.conftest import CatalogUnderTest
from catalogs.kinds import KINDS
from ohlcv.iceberg.ledger_tables import read_publications
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ledger.recording import record
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import iso
from ohlcv.monitoring.doctor import run_checks
from ohlcv.readers.candles import read_candles
from ohlcv.readers.point_in_time import read_past_candles
from support.candle_rows import MINUTE
from support.command_line import OHLCV, ColdCommandLine
from support.harness import Harness, at, trade
from support.ledger import seen
from support.processes import WAIT_SECONDS

pytestmark = [
    pytest.mark.catalogs,
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
]

NOON = at("2026-03-31 12:00")
HOUR = timedelta(hours=1)
# What a reader saw at a moment.
Seen = tuple[datetime, Counter[tuple[Any, ...]]]
WITH_HISTORY = [kind for kind, (_, features) in KINDS.items() if features.shows_history]
WITHOUT_HISTORY = [kind for kind, (_, features) in KINDS.items() if not features.shows_history]


def build(harness: Harness, number: int) -> Seen:
    """Deliver a trade in every minute, the first time, and then one late trade; build, and read what was built."""
    minutes = range(60) if number == 0 else [number]
    harness.load(
        [
            trade(NOON + timedelta(minutes=n, seconds=number), f"{100 + number}", trade_id=f"{number}-{n}")
            for n in minutes
        ]
    )
    report = harness.build("1m", NOON, NOON + HOUR, rebuild_pending=True, run_id=f"scheduled__{number}")
    assert report["snapshot"] is not None
    return observe(harness)


def observe(harness: Harness) -> Seen:
    rows = seen(read_candles(harness.settings, MINUTE).to_pylist())
    return datetime.now(UTC), rows


def assert_readable(harness: Harness, *states: Seen) -> None:
    for moment, rows in states:
        assert seen(read_past_candles(harness.settings, MINUTE, as_of=moment).to_pylist()) == rows


def expire(harness: Harness) -> None:
    """Expire all snapshots but the newest, as a catalog or another client does by itself."""
    name = harness.settings.catalog.name
    now = datetime.now(UTC) + timedelta(minutes=1)
    harness.sql(
        f"CALL {name}.system.expire_snapshots(table => 'market_data.gold_ohlcv_1m', "
        f"older_than => TIMESTAMP '{now:%Y-%m-%d %H:%M:%S}', retain_last => 1)"
    )
    assert len(harness.table("1m").snapshots()) == 1


@pytest.mark.parametrize("catalog", WITH_HISTORY, indirect=True)
def test_the_past_is_what_readers_saw(catalog: CatalogUnderTest, tmp_path: Path) -> None:
    harness = catalog.harness
    states = [build(harness, 0)]
    record(harness.settings, MINUTE)
    states += [build(harness, number) for number in (1, 2)]
    # A correction.
    harness.load([trade(NOON + timedelta(minutes=7), "999", trade_id="0-7", ingested=datetime.now(UTC))])
    harness.build("1m", NOON, NOON + HOUR, rebuild_pending=True, run_id="scheduled__3")
    states.append(observe(harness))
    assert_readable(harness, *states)
    report = record(harness.settings, MINUTE)
    assert (report.publications, report.revisions) == (3, {"updated": 3})
    assert report.causes == {"trade added": 2, "trade corrected": 1}
    assert_readable(harness, *states)
    # What is recorded needs no snapshot.
    expire(harness)
    assert_readable(harness, *states)
    states.append(build(harness, 4))
    assert record(harness.settings, MINUTE).gap is None
    assert_readable(harness, *states)
    command_line = ColdCommandLine(tmp_path)
    command_line.environment |= catalog.environment
    as_of = ("--timeframe", "1m", "--as-of", iso(states[0][0]), "--start", iso(NOON), "--format", "csv")
    lines = command_line.succeed("candles", *as_of).splitlines()
    assert len(lines) == 1 + states[0][1].total()
    catalog.observations.append(f"{len(states)} moments")


@pytest.mark.parametrize("catalog", WITH_HISTORY, indirect=True)
def test_what_a_catalog_expired_by_itself_is_a_gap(catalog: CatalogUnderTest) -> None:
    harness = catalog.harness
    before = build(harness, 0)
    record(harness.settings, MINUTE)
    lost = build(harness, 1)
    newest = build(harness, 2)
    expire(harness)
    # Refused at once, and after the recording.
    (entry,) = harness.table("1m").metadata.snapshot_log
    begin = datetime.fromtimestamp(entry.timestamp_ms / 1000, UTC)
    for _ in range(2):
        for moment, _ in (before, lost):
            with pytest.raises(InputError, match=f"not known.* available from {iso(begin)}"):
                read_past_candles(harness.settings, MINUTE, as_of=moment)
        assert_readable(harness, newest)
        gap = record(harness.settings, MINUTE).gap
    assert gap is None  # the second recording has none
    triggers = [each.trigger for each in read_publications(harness.settings, open_catalog(harness.settings), MINUTE)]
    assert triggers == ["first", "gap"]
    later = build(harness, 3)
    assert record(harness.settings, MINUTE).revisions == {"updated": 1}
    assert_readable(harness, newest, later)
    catalog.observations.append("gap recorded, earlier reads refused")


@pytest.mark.parametrize("catalog", WITH_HISTORY, indirect=True)
def test_two_recordings_at_once_record_each_publication_once(catalog: CatalogUnderTest) -> None:
    harness = catalog.harness
    states = [build(harness, 0)]
    record(harness.settings, MINUTE)
    states += [build(harness, number) for number in (1, 2, 3)]
    command = [str(OHLCV), "ledger", "record", "--timeframe", "1m", "--format", "json"]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            for _ in range(2)
        ]
        results = [process.communicate(timeout=WAIT_SECONDS) for process in processes]
    done = [process.returncode == 0 for process in processes]
    assert any(done), results
    # Without a lock one of them may fail, which the message says.
    assert all(done) or not catalog.features.has_lock
    for is_done, (_, log) in zip(done, results, strict=True):
        assert is_done or "another task has changed market_data.gold_ohlcv_" in log
    counts = [json.loads(output)["publications"] for is_done, (output, _) in zip(done, results, strict=True) if is_done]
    record(harness.settings, MINUTE)
    publications = read_publications(harness.settings, open_catalog(harness.settings), MINUTE)
    assert [each.number for each in publications] == [1, 2, 3, 4]
    revisions = load_table(open_catalog(harness.settings), harness.settings.revisions_contract).scan().to_arrow()
    assert sorted(revisions["publication"].to_pylist()) == [2, 3, 4]
    assert_readable(harness, *states)
    catalog.observations.append(f"{sum(done)} of 2 succeeded, {sum(counts)} publications")


@pytest.mark.parametrize("catalog", WITHOUT_HISTORY, indirect=True)
def test_a_catalog_without_history_has_no_ledger(catalog: CatalogUnderTest, tmp_path: Path) -> None:
    harness = catalog.harness
    states = [build(harness, number) for number in range(2)]
    reason = (
        "the catalog shows only the newest snapshot of market_data.gold_ohlcv_1m, so its history cannot be recorded"
    )
    for _ in range(2):
        report = record(harness.settings, MINUTE)
        assert (report.publications, report.gap, report.unavailable) == (0, None, reason)
    states_of_checks = {
        check.state
        for check in run_checks(catalog.environment, tmp_path)
        if check.name == "ledger" and reason in check.found
    }
    assert states_of_checks == {"warning"}
    command_line = ColdCommandLine(tmp_path)
    command_line.environment |= catalog.environment
    (status,) = map(
        json.loads, command_line.succeed("ledger", "status", "--timeframe", "1m", "--format", "json").splitlines()
    )
    assert status["unavailable"] == reason
    recorded = command_line.succeed("ledger", "record", "--timeframe", "1m", "--format", "json")
    assert json.loads(recorded)["unavailable"] == reason
    # Only the present state is known.
    assert_readable(harness, states[-1])
    message = command_line.fail(2, "candles", "--timeframe", "1m", "--as-of", iso(states[0][0]))
    assert "not known" in message
    catalog.observations.append("unavailable, and says so")
