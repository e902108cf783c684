"""Random histories of the real jobs and of an administrator: every answer about the past is exactly what a reader saw.

Trades are delivered late, corrected, moved and deleted. Runs, reprocessing, rollbacks, other writers, compaction and
expiry alternate, and the ledger is recorded at random moments.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from ohlcv.config.settings import Settings
from ohlcv.model.ledger_records import Publication
from ohlcv.readers.point_in_time import KNOWN_UNTIL, read_past_candles
from ohlcv.readers.recorded_table import open_recorded_table
from ohlcv.readers.revisions import AFTER, BEFORE, FeedQuery, read_feed
from spark_jobs.jobs import table_maintenance
from support.candle_rows import COLUMNS, MINUTE, Row
from support.harness import Harness
from support.ledger import seen
from support.random_ledger import Change, RandomLedger, Rows

pytestmark = pytest.mark.crash_recovery

# Kinds of steps that every history has, and the number of steps of the short and the long ones.
KINDS = ["scheduled", "reprocess", "rollback", "duplicate", "scheduled", "compact", "maintain"]
SHORT, LONG = 2, 25
# Ages of vintages in seconds.
AGES = (300, *range(30, 960, 31))
TRIGGERS = {"duplicate": "other writer", "writer": "other writer", "compact": "maintenance"}


@pytest.fixture(
    scope="module",
    params=[(1, SHORT), *((seed, LONG) for seed in range(2, 6))],
    ids=lambda each: f"seed {each[0]}",
)
def history(
    request: pytest.FixtureRequest, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RandomLedger]:
    """Yield a history of which not all publications are recorded."""
    seed, steps = request.param
    chance = random.Random(seed)
    home: Path = tmp_path_factory.mktemp("random-ledger") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_maintenance, "MIN_SNAPSHOTS_TO_KEEP", 1)
        patch.setattr(table_maintenance, "SNAPSHOT_AGE", timedelta(0))
        history = RandomLedger(Harness(spark, home), chance)
        history.begin(is_empty=seed % 2 == 1)
        kinds = [*KINDS, *[""] * steps]
        chance.shuffle(kinds)
        for kind in kinds:
            history.step(kind)
            if chance.random() < 0.3:
                history.record()
        # Something that is not recorded.
        history.step("scheduled")
        history.step("rollback")
        yield history


def past(settings: Settings, moment: datetime) -> Rows:
    return seen(read_past_candles(settings, MINUTE, as_of=moment).to_pylist())


def test_the_past_is_what_readers_saw(history: RandomLedger) -> None:
    settings = history.harness.settings

    def assert_equal() -> None:
        for observation in history.observations:
            assert past(settings, observation.moment) == observation.rows, observation.moment
        for state in history.states:
            # At the first moment of each state.
            assert past(settings, state.seen_at) == state.rows, state

    assert_equal()
    history.record()
    assert_equal()
    # The snapshots after one to which the table was rolled back do not expire before the next run.
    history.step("scheduled")
    history.record()
    before = len(history.harness.table("1m").snapshots())
    history.expire()
    after = len(history.harness.table("1m").snapshots())
    assert after < before
    assert_equal()
    moments = 3 * (len(history.observations) + len(history.states))
    print(f"{moments} moments compared, {dict(history.kinds)}, {before - after} snapshots expired at the end")


def test_every_publication_is_recorded_once(history: RandomLedger) -> None:
    history.record()
    found = [each for each in history.publications() if each.snapshot is not None]
    states = [state for state in history.states if state.snapshot is not None]
    assert [(each.visible_at, each.snapshot) for each in found] == [(each.seen_at, each.snapshot) for each in states]
    assert [each.trigger for each in found] == [TRIGGERS.get(state.kind, state.kind) for state in states]
    assert [each.number for each in history.publications()] == list(range(1, len(history.states) + 1))
    changes: dict[int, Counter[str]] = {}
    for change in history.changes():
        changes.setdefault(change.publication, Counter())[change.change] += 1
    assert {each.number: _counts(each) for each in history.publications() if _counts(each)} == changes


def _counts(publication: Publication) -> Counter[str]:
    return +Counter({name: getattr(publication, name) for name in ("inserted", "updated", "deleted")})


def test_the_feed_has_every_change_with_its_causes(history: RandomLedger) -> None:
    history.record()
    page = read_feed(open_recorded_table(history.harness.settings, MINUTE), FeedQuery(insertions=True), 1_000_000)
    rows: dict[object, list[Row]] = {}
    for row in page.table.to_pylist():
        rows.setdefault((row["publication"], row["symbol"], row["exchange"], row["window_start"]), []).append(row)
    found = {key: _change(each) for key, each in rows.items()}
    expected = {(each.publication, *each.key): each for each in history.changes()}
    assert found == expected
    causes = Counter(cause for each in expected.values() for cause in each.causes)
    assert {"trade added", "trade corrected", "trade removed", "trade moved", "unknown"} <= causes.keys()
    print(f"{len(expected)} changes compared, causes {dict(causes)}")


def _change(rows: list[Row]) -> Change:
    (first, *_) = rows
    key = first["symbol"], first["exchange"], first["window_start"]
    sides = [seen(row for each in rows for row in _side(each, prefix)) for prefix in (BEFORE, AFTER)]
    return Change(first["publication"], key, first["change"], frozenset(first["causes"]), first["lateness"], *sides)


def _side(event: Row, prefix: str) -> list[Row]:
    if event[prefix + "window_end"] is None:
        return []
    return [{name: event[name] if name in event else event[prefix + name] for name in COLUMNS}]


def test_the_first_vintage_is_what_readers_saw_first(history: RandomLedger) -> None:
    history.record()
    first: dict[tuple[object, ...], Rows] = {}
    for state in history.states:
        known = set(first)
        for row, copies in state.rows.items():
            if row[:3] not in known:
                first.setdefault(row[:3], Counter())[row] += copies
    start = history.end - timedelta(days=1)
    found = read_past_candles(history.harness.settings, MINUTE, vintage="first", start=start)
    assert seen(found.to_pylist()) == sum(first.values(), Counter())
    print(f"{len(found)} first candles compared")


def test_a_vintage_is_what_readers_saw_at_that_age(history: RandomLedger) -> None:
    history.record()
    begin = history.publications()[0].visible_at
    total = 0
    for age in AGES:
        found = read_past_candles(history.harness.settings, MINUTE, vintage=f"{age}s")
        known_until = datetime.fromisoformat(found.schema.metadata[KNOWN_UNTIL.encode()].decode())
        expected: Rows = Counter()
        for start in {row[2] for state in history.states for row in state.rows}:
            moment = start + MINUTE.length + timedelta(seconds=age)
            if begin <= moment < known_until and (state := history.state_at(moment)):
                expected += Counter({row: copies for row, copies in state.rows.items() if row[2] == start})
        assert seen(found.to_pylist()) == expected, age
        total += len(found)
    assert total
    print(f"{total} candles of {len(AGES)} vintages compared")
