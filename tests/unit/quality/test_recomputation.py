"""The recomputation in chunks of trades has the candles of the reference model, and its memory is limited."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from concurrent.futures import CancelledError
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ingest.formats import TRADE_SCHEMA
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import HOUR, MICROSECOND, Range, to_microseconds
from ohlcv.model.source_hours import hour_number
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, TIMEFRAMES, Timeframe
from ohlcv.quality import rule_database
from ohlcv.quality.recomputation import Recomputation, common_step
from ohlcv.quality.rule_database import load_candles, load_stored, ranges_condition
from ohlcv.readers.trades import TradesTable, load_trades
from support.candle_rows import DAY, MINUTE, at, candle, write_candles
from support.default_tables import TRADES, candles_contract
from support.mapped_trades import SHAPES, Shape, append_rows, mapped_settings, random_rows, reference_trades
from support.reference_model import Trade, reference_candles
from support.strategies import DEFECTS, MAX_AMOUNT, MIN_AMOUNT, SYMBOLS, with_defect

START = datetime(2026, 3, 1, 22, tzinfo=UTC)
SPAN = Range(START, START + 4 * HOUR)
# Ranges that cut hours.
PARTS = [Range(START + timedelta(minutes=5), START + timedelta(minutes=70)), Range(SPAN.end - HOUR, SPAN.end)]
# Trades at a time: with one, every hour is a chunk.
CHUNKS = (1, 10**6)

Candles = dict[tuple[str, str, int], tuple[int, ...]]


def append(settings: Settings, trades: Iterable[Trade]) -> None:
    rows = [{name: value for name, value in asdict(each).items() if name != "amount_fault"} for each in trades]
    load_table(open_catalog(settings), TRADES).append(pa.Table.from_pylist(rows, schema=TRADE_SCHEMA))


def source(settings: Settings) -> TradesTable:
    return load_trades(open_catalog(settings), settings.trades_contract)


def computed(recomputation: Recomputation, timeframe: Timeframe, ranges: list[Range]) -> Candles:
    recomputation.create_expected(timeframe, ranges)
    rows = recomputation.connection.execute(
        "SELECT symbol, exchange, window_start, open_price, high_price, low_price, close_price, volume, trade_count, "
        "vwap FROM expected"
    ).fetchall()
    assert len(rows) == len({row[:3] for row in rows})
    return {row[:3]: row[3:] for row in rows}


def bounds(ranges: list[Range]) -> list[tuple[int, int]]:
    return [(to_microseconds(each.start), to_microseconds(each.end)) for each in ranges]


def expected(trades: list[Trade], timeframe: Timeframe, ranges: list[Range], *, every_row: bool = False) -> Candles:
    found = reference_candles(trades, timeframe.microseconds, bounds(ranges), None, every_row=every_row).candles

    def units(value: Decimal) -> int:
        return int(value.scaleb(8))

    return {
        key: (
            *map(units, (each.open, each.high, each.low, each.close, each.volume)),
            each.trade_count,
            units(each.vwap),
        )
        for key, each in found.items()
    }


def trade(time: datetime, sequence: int, price: str = "1", trade_id: str | None = None) -> Trade:
    return Trade(
        message_id=f"m {sequence}",
        trade_id=trade_id or str(sequence),
        symbol="BTC",
        exchange="X",
        timestamp=to_microseconds(time),
        price=Decimal(price),
        quantity=Decimal(2),
        source_sequence=sequence,
        ingestion_timestamp=sequence,
        platform_sequence=None,
        exchange_date=time.date(),
        exchange_hour=time.hour,
    )


def random_trades(chance: random.Random) -> list[Trade]:
    """Return trades of two series with equal times, repeated deliveries, corrections and rejected trades."""
    trades = []
    for number in range(120):
        time = START + chance.randrange(4 * 60) * timedelta(minutes=1) + chance.choice((0, 1, 59_999_999)) * MICROSECOND
        first = replace(
            trade(time, chance.randrange(5), f"{chance.randrange(1, 10**18)}E-8", str(number)),
            symbol=chance.choice(SYMBOLS),
            trade_id=chance.choice((None, str(number))),
            quantity=chance.choice((MIN_AMOUNT, MAX_AMOUNT, Decimal(2))),
        )
        corrected = replace(first, price=Decimal(chance.randrange(1, 10)), ingestion_timestamp=chance.randrange(9))
        rejected = with_defect(first, chance.choice(DEFECTS))
        trades += [first, *chance.choices((first, corrected, rejected), k=2)]
    chance.shuffle(trades)
    return trades


@pytest.mark.parametrize("max_rows", CHUNKS)
@pytest.mark.parametrize("seed", [1, 2])
def test_chunks_have_the_candles_of_the_reference_model(settings: Settings, seed: int, max_rows: int) -> None:
    trades = random_trades(random.Random(seed))
    # Two files of each hour.
    append(settings, trades[:200])
    append(settings, trades[200:])
    days = [Range(at("2026-03-01T00:00"), at("2026-03-03T00:00"))]
    with Recomputation(days, common_step(DEFAULT_TIMEFRAMES.values()), "512m") as recomputation:
        recomputation.run(source(settings), None, max_rows)
        for timeframe in DEFAULT_TIMEFRAMES.values():
            found = computed(recomputation, timeframe, days)
            assert found == expected(trades, timeframe, days)
            assert found
        reference = reference_candles(trades, DAY.microseconds, bounds(days))
        rejected = recomputation.connection.execute("SELECT sum(rejected) FROM trade_counts").fetchall()
        assert (recomputation.trades, rejected) == (reference.trades_read, [(reference.rejected.total(),)])
    with Recomputation(PARTS, common_step([MINUTE])) as recomputation:
        recomputation.run(source(settings), None, max_rows)
        assert computed(recomputation, MINUTE, PARTS) == expected(trades, MINUTE, PARTS)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("max_rows", CHUNKS)
def test_chunks_of_mapped_tables_have_the_candles_of_the_reference_model(
    tmp_path: Path, shape: Shape, max_rows: int
) -> None:
    settings = mapped_settings(tmp_path, shape)
    mapping = settings.trades_mapping
    rows = random_rows(mapping, shape, random.Random(5), START, 4)
    table = load_table(open_catalog(settings), settings.trades_contract)
    append_rows(table, rows[:150])
    append_rows(table, rows[150:])
    trades = reference_trades(rows, mapping)
    with Recomputation([SPAN], common_step([MINUTE, TIMEFRAMES["1h"]])) as recomputation:
        recomputation.run(source(settings), None, max_rows)
        for timeframe, ranges in ((MINUTE, [SPAN]), (MINUTE, PARTS), (TIMEFRAMES["1h"], [SPAN])):
            found = computed(recomputation, timeframe, ranges)
            assert found == expected(trades, timeframe, ranges, every_row=mapping.every_row)
            assert found
        assert recomputation.trades == reference_candles(trades, MINUTE.microseconds, bounds([SPAN])).trades_read


@pytest.mark.parametrize("max_rows", CHUNKS)
def test_rules_on_trades_have_the_same_findings_in_chunks(settings: Settings, max_rows: int) -> None:
    # Sequence 4 is missing, between two hours; the second hour has a rejected trade.
    moments = [START + timedelta(minutes=20 * number) for number in range(7)]
    trades = [trade(time, n + 1, "0" if n == 5 else "1") for n, time in enumerate(moments) if n != 3]
    append(settings, [*trades, replace(trades[0], price=Decimal(3))])
    candles = load_table(open_catalog(settings), candles_contract(MINUTE))
    with Recomputation([SPAN], HOUR) as recomputation, pytest.raises(ValueError, match="1m is not a multiple"):
        recomputation.create_expected(MINUTE, [SPAN])
    with Recomputation([SPAN], common_step([MINUTE])) as recomputation:
        recomputation.run(source(settings), None, max_rows)
        load_stored(recomputation.connection, MINUTE, candles, [SPAN])
        assert {each.rule for each in recomputation.find_violations(MINUTE, [SPAN])} == {"none_is_missing"}
        found = list(map(str, recomputation.find_source_violations()))
        assert (recomputation.stored, recomputation.trades) == (0, 7)
    assert found == [
        "few_trades_are_rejected: BTC X 2026-03-01T23:00:00Z: stored 1 of 2 trades rejected, expected at most 1%",
        "sequences_have_no_gaps: BTC X 2026-03-01T22:00:00Z: stored 5 numbers, expected 7 from 1 to 7",
    ]


def test_a_chunk_has_the_files_of_whole_hours(settings: Settings) -> None:
    for minute in (1, 2, 3):
        append(settings, [trade(START + hour * HOUR + timedelta(minutes=minute), minute) for hour in (0, 1, 3)])
    first = hour_number(START)

    def chunks(hours: Iterable[int], max_rows: int) -> list[tuple[list[int], list[int]]]:
        return [
            ([hour - first for hour in chunk], [len(table) for table in tables])
            for chunk, tables in source(settings).read_chunks(hours, None, max_rows)
        ]

    hours = range(first - 1, first + 4)
    assert chunks(hours, 9) == [([0, 1, 3], [9])]
    assert chunks(hours, 8) == [([0, 1], [6]), ([3], [3])]
    assert chunks(hours, 2) == [([0], [2, 1]), ([1], [2, 1]), ([3], [2, 1])]
    assert chunks([first + 2], 1) == []


def test_trades_are_read_in_their_stored_hour(tmp_path: Path) -> None:
    shape = SHAPES["date and hour under other names"]
    settings = mapped_settings(tmp_path, shape)
    row = random_rows(settings.trades_mapping, shape, random.Random(1), START, 1)[0]
    row |= {"dt": START.date(), "hr": START.hour, "time of trade": to_microseconds(START - HOUR) // 1000}
    append_rows(load_table(open_catalog(settings), settings.trades_contract), [row])
    with Recomputation([Range(START, START + HOUR)], HOUR) as recomputation:
        recomputation.run(source(settings), None)
        assert recomputation.trades == 1


def test_too_little_memory_is_reported(settings: Settings) -> None:
    append(settings, (trade(START + n * MICROSECOND, n, trade_id=f"{n:0200}") for n in range(20_000)))
    with Recomputation([SPAN], HOUR, "2m") as recomputation, pytest.raises(OhlcvError) as caught:
        recomputation.run(source(settings), None)
    assert re.fullmatch(
        r"the recomputation of \[2026-03-01T22:00:00Z, .* needs more memory than 2m, or more disk in .*: "
        "raise OHLCV_AUDIT_MEMORY",
        str(caught.value),
    )


def test_temporary_files_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Recomputation([SPAN], HOUR, "512m"):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_recomputation_can_be_cancelled(settings: Settings) -> None:
    append(settings, [trade(START, 1)])
    with Recomputation([SPAN], HOUR) as recomputation:
        recomputation.cancel()
        with pytest.raises(CancelledError):
            recomputation.run(source(settings), None)


def test_only_the_ranges_of_candles_are_read(settings: Settings) -> None:
    days = [START + timedelta(days=number) for number in range(5)]
    write_candles(settings, MINUTE, *(candle(MINUTE, day) for day in days))
    table = load_table(open_catalog(settings), candles_contract(MINUTE))
    first = table.current_snapshot()
    assert first is not None
    write_candles(settings, MINUTE, candle(MINUTE, days[4], symbol="ETH"))
    table = load_table(open_catalog(settings), candles_contract(MINUTE))
    ranges = [Range(day, day + HOUR) for day in (days[0], days[4])]
    assert len(list(table.scan(ranges_condition(ranges)).plan_files())) == 3
    with rule_database.rule_database() as connection:
        for snapshot, count in ((first.snapshot_id, 2), (None, 3)):
            load_candles(connection, "stored", table, ranges, snapshot)
            assert connection.execute("SELECT count(*) FROM stored").fetchall() == [(count,)]
