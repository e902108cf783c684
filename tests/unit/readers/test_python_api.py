"""The Python API: `import ohlcv` and its functions."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import ohlcv
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables
from ohlcv.model import errors
from ohlcv.readers.fill_reasons import FILL_REASON
from support.candle_rows import COLUMNS, HOUR, candle, filled_candle, unfilled, window_starts, write_candles

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Store the hours 00:00, 01:00 and 04:00 of one day, and 00:00 of the next."""
    settings = load_settings({"OHLCV_HOME": str(tmp_path_factory.mktemp("python-api"))})
    create_tables(settings)
    starts = ("2026-03-01T00:00", "2026-03-01T01:00", "2026-03-01T04:00", "2026-03-02T00:00")
    write_candles(settings, HOUR, *(candle(HOUR, start) for start in starts), candle(HOUR, starts[0], symbol="ETH"))
    return settings


@pytest.fixture
def table(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Name the catalog by the environment."""
    monkeypatch.setenv("OHLCV_HOME", str(stored.home))
    return stored


class TestImport:
    def test_the_package_imports_only_the_standard_library(self) -> None:
        """Every Spark job and Airflow task imports it."""
        code = "import sys; before = set(sys.modules); import ohlcv; print(*(set(sys.modules) - before))"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"ohlcv"}
        assert [name for name in loaded if name.startswith("ohlcv")] == ["ohlcv"]

    def test_attributes_load_no_engine_before_the_first_read(self) -> None:
        code = (
            "import sys, ohlcv; ohlcv.candles, ohlcv.series, ohlcv.timeframes(), ohlcv.InputError;"
            "print(*({'pyarrow', 'pyiceberg', 'duckdb', 'pandas'} & sys.modules.keys()))"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"

    def test_public_names_are_listed_and_exist(self) -> None:
        assert set(ohlcv.__all__) <= set(dir(ohlcv))
        assert all(hasattr(ohlcv, name) for name in ohlcv.__all__)
        assert ohlcv.InputError is errors.InputError
        assert issubclass(ohlcv.InputError, ohlcv.OhlcvError)

    def test_an_unknown_name_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError, match="module 'ohlcv' has no attribute 'candle'"):
            ohlcv.candle  # type: ignore[attr-defined]  # noqa: B018


class TestCandles:
    def test_candles_are_read_from_the_catalog_of_the_environment(self, table: Settings) -> None:
        found = ohlcv.candles("1h", symbol="BTC", exchange="X", start="2026-03-01", end="2026-03-01T04:00Z")
        assert found.to_pylist() == [candle(HOUR, "2026-03-01T00:00"), candle(HOUR, "2026-03-01T01:00")]

    def test_settings_replace_the_environment(self, table: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OHLCV_HOME", os.devnull)
        assert len(ohlcv.candles("1h", settings=table)) == 5

    @pytest.mark.parametrize(
        "start",
        [
            MIDNIGHT + timedelta(days=1),
            datetime(2026, 3, 2, 5, tzinfo=timezone(timedelta(hours=5))),
            date(2026, 3, 2),
            "2026-03-02",
            "2026-03-02T00:00",
            "2026-03-02T05:00+05:00",
            pd.Timestamp("2026-03-02", tz="UTC"),
        ],
        ids=repr,
    )
    def test_a_time_is_a_datetime_a_date_or_an_iso_text(self, table: Settings, start: Any) -> None:
        assert window_starts(ohlcv.candles("1h", start=start)) == ["2026-03-02T00:00"]
        assert len(ohlcv.candles("1h", end=start)) == 4

    def test_the_newest_windows_are_selected(self, table: Settings) -> None:
        found = ohlcv.candles("1h", "BTC", "X", newest=2)
        assert window_starts(found) == ["2026-03-01T04:00", "2026-03-02T00:00"]

    def test_windows_without_trades_are_filled(self, table: Settings) -> None:
        found = ohlcv.candles("1h", "BTC", "X", start="2026-03-01T01:00Z", end="2026-03-01T04:00Z", fill="previous")
        assert found.to_pylist() == [
            unfilled(candle(HOUR, "2026-03-01T01:00")),
            filled_candle(HOUR, "2026-03-01T02:00", "1"),
            filled_candle(HOUR, "2026-03-01T03:00", "1"),
        ]

    def test_a_result_without_candles_has_the_columns_of_the_table(self, table: Settings) -> None:
        found = ohlcv.candles("1h", symbol="XRP")
        assert found.num_rows == 0
        assert found.column_names == COLUMNS
        assert found.schema == ohlcv.candles("1h").schema
        filled = ohlcv.candles("1h", symbol="XRP", fill="previous")
        assert filled.schema == found.schema.append(pa.field("filled", pa.bool_())).append(FILL_REASON)


class TestInvalidRequests:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"timeframe": "3h"}, "unknown timeframe '3h': choose one of 1m, 5m, 15m, 30m, 1h, 2h, 4h, 1d"),
            ({"timeframe": "2h"}, "timeframe '2h' is not enabled: add it to OHLCV_TIMEFRAMES"),
            (
                {"start": MIDNIGHT.replace(tzinfo=None)},
                r"^start 2026-03-01 00:00:00 has no time zone: use a datetime with",
            ),
            ({"end": pd.Timestamp("2026-03-01")}, r"^end 2026-03-01 00:00:00 has no time zone"),
            ({"end": pd.NaT}, "'NaT' is not an ISO time"),
            ({"start": "yesterday"}, "'yesterday' is not an ISO time such as 2026-01-31T13:00:00Z"),
            ({"end": 1772323200}, "end must be a datetime, a date or an ISO time, not int"),
            ({"start": "2026-03-02", "end": "2026-03-01"}, "must be before end"),
            ({"start": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))}, "outside the years 1 to 9999"),
            ({"newest": 0}, "1 or more"),
            ({"fill": "zero"}, "unknown fill 'zero': choose one of previous"),
        ],
        ids=str,
    )
    def test_an_invalid_request_is_an_input_error_of_one_line(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ohlcv.InputError, match=message) as caught:
            ohlcv.candles(**{"timeframe": "1h", **arguments})
        assert len(str(caught.value).splitlines()) == 1

    def test_a_catalog_without_tables_is_an_error_that_names_the_remedy(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OHLCV_HOME", str(tmp_path / "new"))
        with pytest.raises(ohlcv.OhlcvError, match="run 'ohlcv tables create'"):
            ohlcv.candles("1h")


def test_series_and_timeframes_are_listed(table: Settings) -> None:
    assert ohlcv.series("1h") == [("BTC", "X"), ("ETH", "X")]
    assert ohlcv.series("1m") == []
    assert ohlcv.timeframes() == ["1m", "5m", "30m", "1h", "1d"]
