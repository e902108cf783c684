"""Random histories of a candle table: every answer about the past is exactly what a reader saw."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from ohlcv.config.settings import load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ledger.recording import record
from ohlcv.model.intervals import MICROSECOND
from ohlcv.readers.candle_history import read_candle_history
from ohlcv.readers.point_in_time import read_past_candles
from ohlcv.readers.recorded_table import open_recorded_table
from ohlcv.readers.revisions import AFTER, BEFORE, FeedQuery, read_feed
from support.candle_rows import COLUMNS, HOUR, Row, candle
from support.documents import named_blocks
from support.ledger import BEGIN, RecordedHistory, at_state, key_of, seen

HOURS = 30
STEPS = 16
# Recorded states; the others are in the snapshot log only.
RECORDED = 13


@pytest.fixture(scope="module", params=range(2))
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RecordedHistory:
    """Return a table after random inserts, updates, deletions, rollbacks, duplicates and compactions."""
    chance = random.Random(request.param)
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("past"))})
    create_tables(settings)
    history = RecordedHistory(settings, HOUR, BEGIN + timedelta(hours=6))
    history.job([random_candle(chance) for _ in range(6)])
    record(settings, HOUR)
    while len(history.states) < STEPS:
        history.advance(timedelta(minutes=chance.randrange(90)))
        random_step(history, chance)
        if len(history.states) == RECORDED or (len(history.states) < RECORDED and chance.random() < 0.3):
            record(settings, HOUR)
    history.expire(*history.states[RECORDED - 1 :])
    return history


def random_candle(chance: random.Random) -> Row:
    start = BEGIN + chance.randrange(HOURS) * HOUR.length
    row = candle(HOUR, start, str(chance.randrange(1, 4)), exchange=chance.choice("XY"))
    return {**row, "vwap": chance.choice([None, Decimal("1.25")])}


def random_step(history: RecordedHistory, chance: random.Random) -> None:
    stored = list(history.rows)
    step = chance.choice(["job"] * 4 + ["rollback", "duplicate", "compact", "writer"])
    if step == "job":
        # A job rebuilds duplicates as one row.
        single = list({key_of(row): row for row in stored}.values())
        deleted = chance.sample(single, min(len(single), chance.randrange(3)))
        updated = [{**row, "close_price": row["close_price"] + 1} for row in single if chance.random() < 0.2]
        new = {key_of(row): row for row in (random_candle(chance) for _ in range(chance.randrange(5)))}
        history.job([*(row for row in updated if row not in deleted), *new.values()], deleted)
    elif step == "rollback":
        history.rollback(chance.choice(history.states))
    elif step == "duplicate" and stored:
        row = chance.choice(stored)
        copies = [row, {**row, "close_price": row["close_price"] + 5}]
        history.commit([*stored, *copies[: chance.randrange(1, 3)]], trigger="other writer")
    elif step == "writer":
        history.commit([*stored, random_candle(chance)], trigger="other writer")
    else:
        history.compact()


def test_a_read_returns_what_a_reader_saw_then(history: RecordedHistory) -> None:
    following = [state.seen_at for state in history.states[1:]]
    for number, state in enumerate(history.states):
        # At the first and at the last moment of the state.
        moment = following[number] - MICROSECOND if number % 2 and number < len(following) else state.seen_at
        assert at_state(history, moment) == state
        table = read_past_candles(history.settings, HOUR, as_of=moment)
        assert seen(table.to_pylist()) == seen(state.rows)
        assert table.schema.metadata[b"ohlcv.snapshot"] == str(state.snapshot).encode()


def test_a_vintage_is_what_a_reader_saw_at_that_age(history: RecordedHistory) -> None:
    total = 0
    for hours in (2, 6, 14):
        table = read_past_candles(history.settings, HOUR, vintage=f"{hours}h")
        expected: Counter[tuple[Any, ...]] = Counter()
        known = history.states[: RECORDED + 1]
        for number in range(HOURS):
            start = BEGIN + number * HOUR.length
            moment = start + HOUR.length + timedelta(hours=hours)
            state = at_state(history, moment)
            if state is not None and moment < known[-1].seen_at:
                expected += seen(row for row in state.rows if row["window_start"] == start)
        assert seen(table.to_pylist()) == expected
        total += len(table)
    assert total


def test_the_first_vintage_is_what_was_published_first(history: RecordedHistory) -> None:
    first: dict[tuple[Any, ...], list[Row]] = {}
    for state in history.states[:RECORDED]:
        known = set(first)
        for row in state.rows:
            if key_of(row) not in known:
                first.setdefault(key_of(row), []).append(row)
    table = read_past_candles(history.settings, HOUR, start=BEGIN, vintage="first")
    assert seen(table.to_pylist()) == seen(row for rows in first.values() for row in rows)


def test_the_feed_turns_the_first_state_into_the_last_one(history: RecordedHistory) -> None:
    recorded = open_recorded_table(history.settings, HOUR)
    rows = seen(history.states[0].rows)
    key = None
    pages = 0
    while True:
        page = read_feed(recorded, FeedQuery(insertions=True), 5, key)
        for event in page.table.to_pylist():
            rows -= seen(side(event, BEFORE))
            rows += seen(side(event, AFTER))
        pages += 1
        if page.next_key is None:
            break
        key = page.next_key
    assert rows == seen(history.states[RECORDED - 1].rows)
    assert pages > 3


def test_a_history_has_each_version(history: RecordedHistory) -> None:
    states = history.states[:RECORDED]
    changed = Counter(key_of(row) for state in states for row in state.rows)
    for symbol, exchange, start in list(changed)[:4]:
        expected = []
        before = seen(())
        for number, state in enumerate(states, 1):
            now = seen(row for row in state.rows if key_of(row) == (symbol, exchange, start))
            if now != before:
                expected.append((number, now))
            before = now
        found: dict[int, Counter[tuple[Any, ...]]] = {}
        for event in read_candle_history(history.settings, HOUR, symbol, exchange, start).events.to_pylist():
            found[event["publication"]] = found.get(event["publication"], Counter()) + seen(side(event, AFTER))
        assert list(found.items()) == expected


def test_the_sql_recipe_returns_what_a_reader_saw_then(history: RecordedHistory) -> None:
    recorded = open_recorded_table(history.settings, HOUR)
    publications = load_table(open_catalog(history.settings), history.settings.publications_contract)
    checkpoint = history.states[RECORDED - 1].snapshot
    tables = {
        "revisions": recorded.revisions.scan(),
        "publications": publications.scan(),
        "1h": recorded.table.scan(snapshot_id=checkpoint),
    }
    names = ("symbol", "exchange", "window_start", "close_price", "created_at")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA market_data")
        for name, scan in tables.items():
            connection.register("rows", scan.to_arrow())
            connection.execute(f"CREATE TABLE market_data.gold_ohlcv_{name} AS FROM rows")
        for number, state in enumerate(history.states[:RECORDED], 1):
            found = connection.execute(named_blocks("reading.md")["as-of-sql"].code, {"number": number}).fetchall()
            assert Counter(found) == Counter(tuple(row[name] for name in names) for row in state.rows)


def side(event: Row, prefix: str) -> list[Row]:
    """Return the candle of an event before or after it, if there was one."""
    if event[prefix + "window_end"] is None:
        return []
    return [{name: event[name] if name in event else event[prefix + name] for name in COLUMNS}]
