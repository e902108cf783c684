"""Trades of files without trade ids: the table has each trade once, however the files are cut, mixed and repeated.

Most tests use the staging database with a list as table, because that is fast; the last ones load files.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest

from ohlcv.config.settings import Settings
from ohlcv.ingest.content_matching import EDGE_KEY, match_file
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.ingest.loader import LoadReport, append_trades, load_trades
from ohlcv.ingest.staging import StagingDatabase, open_staging
from ohlcv.model.errors import InputError
from support.trade_files import NOON, stored_trades, write_lines


class Trade(NamedTuple):
    """A row of a dump: seconds after noon, price, volume."""

    second: int
    price: int
    volume: int


class Stored(NamedTuple):
    """A row of the table."""

    trade: Trade
    sequence: int
    message_id: str
    edge: str | None


def generate_dump(generator: random.Random) -> list[Trade]:
    """Return a dump with many trades of one time and many equal trades, in the order of the exchange."""
    trades = []
    for second in range(generator.randint(3, 8)):
        prices = generator.randint(1, 3)
        for _ in range(generator.choice((1, 1, 2, 4, 8))):
            trades.append(Trade(second, generator.randint(1, prices), generator.randint(1, 2)))
    return trades


@pytest.fixture(scope="module")
def staging() -> Iterator[StagingDatabase]:
    with open_staging() as connection:
        yield connection


def load(staging: StagingDatabase, table: list[Stored], *files: Sequence[Trade]) -> None:
    """Load files in one command, as `stage_new_trades` does, with a list as table."""
    for name in ("known", "file_rows", "staged"):
        staging.execute(f"DELETE FROM {name}")
    known = [
        {
            "timestamp": each.trade.second,
            "price": each.trade.price,
            "quantity": each.trade.volume,
            "source_sequence": each.sequence,
            "edge": each.edge,
        }
        for each in table
    ]
    rows = [
        {"timestamp": trade.second, "price": trade.price, "quantity": trade.volume, "file": file, "line": line}
        for file, trades in enumerate(files)
        for line, trade in enumerate(trades)
    ]
    for name, values in (("known", known), ("file_rows", rows)):
        if values:
            staging.register("rows", pa.Table.from_pylist(values))
            columns = ", ".join(values[0])
            staging.execute(f"INSERT INTO {name} ({columns}, exchange, symbol) SELECT *, 'x', 's' FROM rows")
    for number in range(len(files)):
        match_file(staging, number, f"file {number}")
    found = staging.execute(
        "SELECT timestamp, price::INTEGER, quantity::INTEGER, source_sequence, message_id, "
        f"vendor_data['{EDGE_KEY}'] FROM staged"
    ).fetchall()
    table += [Stored(Trade(*row[:3]), *row[3:]) for row in found]
    assert len({each.message_id for each in table}) == len(table)
    for second in {each.trade.second for each in table}:
        sequences = sorted(each.sequence for each in table if each.trade.second == second)
        # No gaps and no repetitions: the rule sequences_have_no_gaps also reads these numbers.
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def counts(table: list[Stored]) -> Counter[Trade]:
    return Counter(each.trade for each in table)


def in_order(table: list[Stored]) -> list[Trade]:
    return [each.trade for each in sorted(table, key=lambda each: (each.trade.second, each.sequence))]


def split(dump: list[Trade], cuts: Sequence[int]) -> list[list[Trade]]:
    bounds = [0, *sorted(cuts), len(dump)]
    return [dump[start:end] for start, end in pairwise(bounds)]


def has_several_times(trades: Sequence[Trade]) -> bool:
    return len({trade.second for trade in trades}) > 1


def assert_ambiguous(trades: Sequence[Trade], loaded: Sequence[Sequence[Trade]]) -> None:
    """Check that an equal trade is at opposite edges of the file and of one that was loaded."""
    first, last = min(trades).second, max(trades).second
    opposite = [
        (edge, other)
        for other in loaded
        for edge, other_edge in ((first, max(other).second), (last, min(other).second))
        if edge == other_edge
    ]
    assert any(trade.second == edge and trade in other for edge, other in opposite for trade in trades)


@pytest.mark.parametrize("seed", range(20))
def test_any_files_of_a_dump_add_up_to_the_dump_or_are_refused(staging: StagingDatabase, seed: int) -> None:
    generator = random.Random(seed)
    dump = generate_dump(generator)
    table: list[Stored] = []
    loaded: list[list[Trade]] = []
    covered: set[int] = set()
    for _ in range(6):
        start = generator.randrange(len(dump))
        end = generator.randint(start + 1, len(dump))
        file = dump[start:end]
        if not has_several_times(file):
            continue
        if generator.random() < 0.5:
            generator.shuffle(file)
        try:
            load(staging, table, file)
        except InputError:
            assert_ambiguous(file, loaded)
            continue
        loaded.append(file)
        covered.update(range(start, end))
        assert counts(table) == Counter(dump[index] for index in covered)
    for file in loaded[-2:]:
        size = len(table)
        load(staging, table, generator.sample(file, len(file)))
        assert len(table) == size
    # The way out of every refusal: a file in which the time is not at an edge.
    before, after = Trade(-1, 1, 1), Trade(99, 1, 1)
    load(staging, table, [before, *dump, after])
    assert counts(table) == Counter([before, *dump, after])


@pytest.mark.parametrize("seed", range(30))
def test_the_parts_of_a_dump_give_its_trades_in_its_order_or_are_refused(staging: StagingDatabase, seed: int) -> None:
    generator = random.Random(seed)
    dump = generate_dump(generator)
    cuts = generator.sample(range(1, len(dump)), min(len(dump) - 1, 3))
    while not all(map(has_several_times, parts := split(dump, cuts))):
        cuts.pop()
    generator.shuffle(parts)
    table: list[Stored] = []
    is_cut_between_equal_trades = any(
        {trade for trade in dump[:cut] if trade.second == dump[cut].second} & set(dump[cut:]) for cut in cuts
    )
    try:
        if generator.random() < 0.5:
            load(staging, table, *parts)
        else:
            for part in parts:
                load(staging, table, part)
    except InputError:
        assert is_cut_between_equal_trades
    else:
        assert in_order(table) == dump


def test_the_parts_of_one_time_keep_their_order_if_they_are_loaded_in_it(staging: StagingDatabase) -> None:
    dump = [Trade(0, 9, 1), *(Trade(1, price, 1) for price in (5, 3, 8, 1, 7)), Trade(2, 9, 1)]
    for cuts in ([2, 3, 4, 5], [1, 3, 4], [3], [4, 6]):
        parts = split(dump, cuts)
        table: list[Stored] = []
        load(staging, table, *parts)
        assert in_order(table) == dump
        table = []
        for part in parts:
            load(staging, table, part)
        assert in_order(table) == dump


def test_a_time_that_a_file_has_completely_is_no_longer_ambiguous(staging: StagingDatabase) -> None:
    before, same, after = Trade(0, 1, 1), Trade(1, 1, 1), Trade(2, 1, 1)
    table: list[Stored] = []
    load(staging, table, [before, same])
    with pytest.raises(InputError):
        load(staging, table, [same, after])
    load(staging, table, [before, same, same, after])
    load(staging, table, [same, after])
    assert in_order(table) == [before, same, same, after]


def test_a_file_of_one_time_is_compared_with_the_largest_part(staging: StagingDatabase) -> None:
    before, same, other, after = Trade(0, 1, 1), Trade(1, 1, 1), Trade(1, 2, 1), Trade(2, 1, 1)
    table: list[Stored] = []
    for file in ([same], [same], [same, other], [same, other, after]):
        load(staging, table, file)
    assert in_order(table) == [same, other, after]
    # It may continue a file that ends with an equal trade.
    table = []
    load(staging, table, [before, same])
    with pytest.raises(InputError, match=r"file 0 begins and ends at .* a file loaded before ends"):
        load(staging, table, [same])


def kraken_line(trade: Trade) -> str:
    return f"{NOON // 10**6 + trade.second},{trade.price},{trade.volume}"


def load_kraken(settings: Settings, folder: Path, *files: Sequence[Trade], symbol: str = "XBT/USD") -> LoadReport:
    paths = [write_lines(folder / f"{number}.csv", *map(kraken_line, file)) for number, file in enumerate(files)]
    return load_trades(settings, paths, format="kraken", symbol=symbol)


def stored_contents(settings: Settings, symbol: str = "XBT/USD") -> list[Trade]:
    rows = [row for row in stored_trades(settings) if row["symbol"] == symbol]
    rows.sort(key=lambda row: (row["timestamp"], row["source_sequence"]))
    return [Trade((row["timestamp"] - NOON) // 10**6, int(row["price"]), int(row["quantity"])) for row in rows]


def test_files_without_ids_are_loaded_once_in_any_cut_and_order(settings: Settings, tmp_path: Path) -> None:
    dump = [Trade(0, 1, 1), Trade(1, 1, 1), Trade(1, 2, 1), Trade(1, 1, 1), Trade(1, 3, 1), Trade(4000, 1, 1)]
    # Another series with the same contents is not compared.
    load_kraken(settings, tmp_path, dump, symbol="ETH/USD")
    report = load_kraken(settings, tmp_path, dump[4:], dump[:3])
    assert (report.loaded, report.already_there) == (5, 0)
    assert stored_contents(settings) == [trade for index, trade in enumerate(dump) if index != 3]
    report = load_kraken(settings, tmp_path, list(reversed(dump)), dump)
    assert (report.loaded, report.already_there) == (1, 11)
    assert Counter(stored_contents(settings)) == Counter(dump)
    assert load_kraken(settings, tmp_path, dump[1:4], dump[2:]).loaded == 0


def test_an_ambiguous_file_is_refused_with_time_price_and_volume(settings: Settings, tmp_path: Path) -> None:
    load_kraken(settings, tmp_path, [Trade(0, 100, 20), Trade(1, 100, 20)])
    with pytest.raises(InputError) as raised:
        load_kraken(settings, tmp_path, [Trade(5, 1, 1), Trade(6, 1, 1)], [Trade(2, 1, 1), Trade(1, 100, 20)])
    assert str(raised.value) == (
        f"{tmp_path / '1.csv'} begins at 2026-01-31T12:00:01Z, where a file loaded before ends, and both have a trade "
        "of price 100 and volume 20: without trade ids it may be the same trade or one more. Load a file that has all "
        "trades of this time between earlier and later ones, for example both files joined; nothing was loaded"
    )
    assert len(stored_contents(settings)) == 2


def test_rows_of_earlier_versions_are_not_loaded_again(settings: Settings, tmp_path: Path) -> None:
    """Earlier versions hashed the place of a trade among those of its time, and recorded no edge."""
    dump = [Trade(0, 1, 1), Trade(1, 1, 1), Trade(1, 2, 1), Trade(1, 1, 1)]
    rows = []
    for trade, place in zip(dump, (1, 1, 2, 3), strict=True):
        time, price, quantity = NOON + trade.second * 10**6, Decimal(trade.price), Decimal(trade.volume)
        texts = ("kraken", "XBT/USD", None, str(time), f"{price:.8f}", f"{quantity:.8f}", None, str(place))
        text = "".join("-" if each is None else f"{len(each)}:{each}" for each in texts)
        rows.append(
            dict.fromkeys(TRADE_SCHEMA.names)
            | {"message_id": hashlib.sha256(text.encode()).hexdigest()[:32], "symbol": "XBT/USD", "exchange": "kraken"}
            | {"timestamp": time, "price": price, "quantity": quantity, "source_sequence": place}
            | {"exchange_date": date(2026, 1, 31), "exchange_hour": 12}
        )
    append_trades(settings, pa.Table.from_pylist(rows, schema=TRADE_SCHEMA))
    more = [*dump[1:], Trade(1, 1, 1), Trade(2, 1, 1)]
    report = load_kraken(settings, tmp_path, dump, more)
    assert (report.loaded, report.already_there) == (2, 7)
    assert stored_contents(settings) == [dump[0], *more]


def test_a_conflicting_load_of_the_same_trades_is_counted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohlcv.ingest.commit.FIRST_WAIT_SECONDS", 0.0)
    folder = tmp_path / "other"
    folder.mkdir()
    file = write_lines(tmp_path / "mine.csv", *map(kraken_line, [Trade(0, 1, 1), Trade(1, 1, 1), Trade(1, 1, 1)]))
    messages: list[str] = []

    def other_writer_commits_first(message: str) -> None:
        messages.append(message)
        if message == "3 trades written" and messages.count(message) == 1:
            load_kraken(settings, folder, [Trade(0, 1, 1), Trade(1, 1, 1)])

    report = load_trades(settings, [file], format="kraken", symbol="XBT/USD", progress=other_writer_commits_first)
    assert "another writer committed first: trying again in 0.0 s" in messages
    assert (report.loaded, report.already_there) == (1, 2)
    assert stored_contents(settings) == [Trade(0, 1, 1), Trade(1, 1, 1), Trade(1, 1, 1)]
