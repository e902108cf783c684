"""Files and partitions that the candle reader reads."""

from __future__ import annotations

from datetime import timedelta

from ohlcv.config.settings import Settings
from ohlcv.iceberg import tables as iceberg_tables
from ohlcv.readers.candles import read_candles
from ohlcv.readers.latest import LOOKBACK_PARTITIONS, recent_series
from support.candle_rows import (
    DAY,
    MINUTE,
    Scan,
    at,
    candle,
    dates_read,
    filled_candle,
    unfilled,
    window_starts,
    write_candles,
)
from support.default_tables import candles_contract


class TestPruning:
    days = tuple(f"2026-03-{day:02}" for day in range(1, 9))

    def test_a_range_reads_only_the_files_of_its_days(self, settings: Settings, scans: list[Scan]) -> None:
        table = iceberg_tables.load_table(iceberg_tables.open_catalog(settings), candles_contract(MINUTE))
        # Without column bounds of window_start in the files, only the partitions can be pruned.
        with table.transaction() as transaction:
            transaction.set_properties({"write.metadata.metrics.column.window_start": "none"})
        write_candles(settings, MINUTE, *(candle(MINUTE, f"{day}T23:30") for day in self.days))
        # The range ends at midnight (exclusive), so the next day is not read.
        read_candles(settings, MINUTE, start=at("2026-03-03T23:00"), end=at("2026-03-06T00:00"))
        assert dates_read(scans) == ["2026-03-03", "2026-03-04", "2026-03-05"]

    def test_files_of_other_symbols_and_exchanges_are_not_read(self, settings: Settings, scans: list[Scan]) -> None:
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-01T10:00", symbol="A", exchange="X"))
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-02T10:00", symbol="B", exchange="X"))
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-03T10:00", symbol="A", exchange="Y"))
        read_candles(settings, MINUTE, symbol="A", exchange="X")
        assert dates_read(scans) == ["2026-03-01"]

    def test_the_newest_window_of_one_series_reads_one_partition(self, settings: Settings, scans: list[Scan]) -> None:
        write_candles(settings, MINUTE, *(candle(MINUTE, f"{day}T10:00") for day in self.days))
        found = read_candles(settings, MINUTE, symbol="BTC", exchange="X", newest=1)
        assert window_starts(found) == ["2026-03-08T10:00"]
        assert dates_read(scans, "symbol") == ["2026-03-08"]

    def test_the_newest_windows_read_only_the_newest_partitions(self, settings: Settings, scans: list[Scan]) -> None:
        write_candles(settings, MINUTE, *(candle(MINUTE, f"{day}T10:00") for day in self.days))
        found = read_candles(settings, MINUTE, newest=3)
        assert window_starts(found) == [f"{day}T10:00" for day in self.days[-3:]]
        assert dates_read(scans) == list(self.days[-3:])

    def test_the_newest_windows_before_an_end_read_only_partitions_before_it(
        self, settings: Settings, scans: list[Scan]
    ) -> None:
        write_candles(settings, MINUTE, *(candle(MINUTE, f"{day}T10:00") for day in self.days))
        found = read_candles(settings, MINUTE, newest=1, end=at("2026-03-04T10:00"))
        assert window_starts(found) == ["2026-03-03T10:00"]
        # By its date, 4 March could contain a candle before 10:00. The column bounds of its file exclude it.
        assert dates_read(scans) == ["2026-03-03"]

    def test_older_partitions_are_read_only_for_series_without_recent_candles(
        self, settings: Settings, scans: list[Scan]
    ) -> None:
        write_candles(settings, MINUTE, *(candle(MINUTE, f"{day}T10:00") for day in self.days))
        write_candles(settings, MINUTE, candle(MINUTE, "2026-03-05T10:00", symbol="QUIET"))
        found = read_candles(settings, MINUTE, newest=1)
        assert list(zip(found["symbol"].to_pylist(), window_starts(found), strict=True)) == [
            ("BTC", "2026-03-08T10:00"),
            ("QUIET", "2026-03-05T10:00"),
        ]
        # Series are searched with two columns of every partition; complete rows are read only from the needed ones.
        assert dates_read(scans) == ["2026-03-05", "2026-03-08"]

    def test_series_are_searched_in_a_limited_number_of_partitions(self, settings: Settings, scans: list[Scan]) -> None:
        first = at("2026-01-01T10:00")
        rows = [candle(MINUTE, first + timedelta(days=day)) for day in range(1, LOOKBACK_PARTITIONS + 5)]
        too_old = candle(MINUTE, first, symbol="OLD")
        write_candles(settings, MINUTE, too_old, *rows)
        assert set(read_candles(settings, MINUTE, newest=1)["symbol"].to_pylist()) == {"BTC"}
        assert len(dates_read(scans, "symbol")) == LOOKBACK_PARTITIONS + 1
        assert recent_series(settings, MINUTE) == [("BTC", "X")]
        # With a start, all partitions after it are read.
        assert read_candles(settings, MINUTE, start=first, newest=1).to_pylist() == [rows[-1], too_old]

    def test_missing_candles_are_searched_in_a_limited_number_of_partitions(
        self, settings: Settings, scans: list[Scan]
    ) -> None:
        first = at("2026-01-01T10:00")
        days = 2 * LOOKBACK_PARTITIONS
        others = [candle(MINUTE, first + timedelta(days=day), symbol=name) for day in range(days) for name in "AC"]
        write_candles(settings, MINUTE, *others, candle(MINUTE, first + timedelta(days=days - 1), symbol="B"))
        found = read_candles(settings, MINUTE, symbol="B", exchange="X", newest=5)
        assert len(found) == 1
        assert len(dates_read(scans)) == 1 + LOOKBACK_PARTITIONS

    def test_monthly_partitions_are_pruned(self, settings: Settings, scans: list[Scan]) -> None:
        write_candles(
            settings,
            DAY,
            *(candle(DAY, day) for day in ("2025-12-31", "2026-01-01", "2026-01-31", "2026-02-01", "2026-02-03")),
        )
        found = read_candles(settings, DAY, newest=3)
        assert window_starts(found) == ["2026-01-31T00:00", "2026-02-01T00:00", "2026-02-03T00:00"]
        # February 2026 is the 673rd month after January 1970; each further scan reads more partitions.
        assert [partitions for columns, partitions in scans if "close_price" in columns] == [[673], [671, 672]]

        found = read_candles(settings, DAY, start=at("2025-12-31"), end=at("2026-01-31"))
        assert window_starts(found) == ["2025-12-31T00:00", "2026-01-01T00:00"]

    def test_filling_monthly_partitions_across_a_year_boundary(self, settings: Settings) -> None:
        write_candles(settings, DAY, candle(DAY, "2025-12-30", "3"), candle(DAY, "2026-01-02", "4"))
        found = read_candles(settings, DAY, start=at("2026-01-01"), fill="previous").to_pylist()
        assert found == [filled_candle(DAY, "2026-01-01", "3"), unfilled(candle(DAY, "2026-01-02", "4"))]
