"""What `ohlcv tables adopt` says about candle tables of other programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, StringType

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.adoption import Adoption, find_view_problems, plan_adoption
from ohlcv.iceberg.table_definitions import ICEBERG_TYPES
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.model.source_checkpoint import SourceCheckpoint, SourceIdentity
from ohlcv.model.summary_keys import CHECKPOINT
from ohlcv.model.table_contracts import MEASURE_COLUMNS, MEASURES
from ohlcv.model.timeframes import get_timeframe
from support.candle_rows import candle, write_candles
from support.default_tables import CANDLES_VIEW, NAMESPACE, candles_contract

MINUTE = get_timeframe("1m")
TODAY = date(2026, 3, 1)
OLD, NEW = datetime(2025, 11, 1, 12, tzinfo=UTC), datetime(2026, 2, 28, 12, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    settings = load_settings({"OHLCV_HOME": str(tmp_path / "home")})
    create_tables(settings)
    return settings


def minutes(settings: Settings) -> Adoption:
    return next(iter(plan_adoption(settings, TODAY)))


def test_candles_of_another_program_stay_until_a_run_or_retention_reaches_them(site: Settings) -> None:
    write_candles(site, MINUTE, candle(MINUTE, OLD), candle(MINUTE, NEW))
    before = load_table(open_catalog(site), candles_contract(MINUTE)).metadata_location
    found = minutes(site)
    assert (found.state, found.candles, found.expired) == ("adopted", 2, 1)
    assert (found.oldest, found.newest) == (OLD.date(), NEW.date())
    text = "\n".join(found.effects)
    assert "the first scheduled run builds only its lookback (10 minutes)" in text
    assert "retention (90 days) deletes the candles before 2025-12-01: 1" in text
    assert f"deletes files in {site.warehouse}/{NAMESPACE}/gold_ohlcv_1m that no snapshot references" in text
    assert load_table(open_catalog(site), candles_contract(MINUTE)).metadata_location == before


def test_tables_are_empty_or_missing_or_in_use(site: Settings) -> None:
    open_catalog(site).drop_table((NAMESPACE, "gold_ohlcv_1d"))
    table = load_table(open_catalog(site), candles_contract(MINUTE))
    table.append(table.schema().as_arrow().empty_table(), snapshot_properties={"ohlcv.run-id": "x"})
    assert [each.state for each in plan_adoption(site, TODAY)] == ["in use", "empty", "empty", "empty", "missing"]


def rename_column(site: Settings) -> None:
    with load_table(open_catalog(site), candles_contract(MINUTE)).update_schema() as update:
        update.rename_column("vwap", "average")


def add_required_column(site: Settings) -> None:
    catalog = open_catalog(site)
    table = load_table(catalog, candles_contract(MINUTE))
    shutil.rmtree(site.home / "warehouse" / NAMESPACE / "gold_ohlcv_1m")
    spec = table.spec()
    catalog.drop_table((NAMESPACE, "gold_ohlcv_1m"))
    fields = table.schema().fields
    note = fields[0].model_copy(update={"field_id": 99, "name": "note", "required": True, "field_type": StringType()})
    catalog.create_table((NAMESPACE, "gold_ohlcv_1m"), Schema(*fields, note), partition_spec=spec)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (rename_column, "gold_ohlcv_1m does not match its contract: column vwap is missing; unexpected column average"),
        (add_required_column, "does not allow null in the additional column note: allow it with ALTER TABLE"),
    ],
)
def test_a_table_that_jobs_refuse_is_named_with_the_reason(
    site: Settings, change: Callable[[Settings], None], reason: str
) -> None:
    change(site)
    found = minutes(site)
    assert found.state == "refused"
    assert len(found.effects) == 1
    assert reason in found.effects[0]


def test_a_table_outside_the_warehouse_is_refused(site: Settings, tmp_path: Path) -> None:
    other = load_settings({"OHLCV_HOME": str(site.home), "OHLCV_WAREHOUSE": str(tmp_path / "other")})
    found = minutes(other)
    assert found.state == "refused"
    assert "outside the warehouse" in found.effects[0]


def test_candles_of_another_trades_table_are_refused(site: Settings) -> None:
    table = load_table(open_catalog(site), candles_contract(MINUTE))
    checkpoint = SourceCheckpoint(trades_snapshot=1, committed_at=1, source=SourceIdentity("another-table"))
    table.append(table.schema().as_arrow().empty_table(), snapshot_properties={CHECKPOINT: checkpoint.to_text()})
    found = minutes(site)
    assert found.state == "refused"
    assert "the 1m candles were built from another trades table (its UUID was another-table, now" in found.effects[0]


def test_additional_columns_and_tables_named_like_views_are_reported(site: Settings) -> None:
    with load_table(open_catalog(site), candles_contract(MINUTE)).update_schema() as update:
        update.add_column("note", LongType())
    assert "candles that a run rebuilds have null in the additional column note" in minutes(site).effects
    assert find_view_problems(site) == []
    open_catalog(site).create_table(CANDLES_VIEW, Schema())
    (problem,) = find_view_problems(site)
    assert problem.startswith("market_data.ohlcv is a table, so the view of this name cannot be created: ")


def with_columns(site: Settings, names: tuple[str, ...], *, required: tuple[str, ...] = ()) -> Adoption:
    with load_table(open_catalog(site), candles_contract(MINUTE)).update_schema(allow_incompatible_changes=True) as up:
        for column in (each for each in MEASURE_COLUMNS if each.name in names):
            up.add_column(column.name, ICEBERG_TYPES[column.type], required=column.name in required)
    return minutes(site)


def test_a_table_of_another_program_with_all_measures_is_an_extended_table(site: Settings) -> None:
    found = with_columns(site, MEASURES)
    assert found.state == "empty"
    assert found.effects == [
        "it has measures: candles that a run rebuilds get those of their trades, others keep what is stored"
    ]


def test_a_table_with_some_of_the_measures_is_refused(site: Settings) -> None:
    found = with_columns(site, MEASURES[:1])
    assert found.state == "refused"
    assert "does not match its contract: column taker_buy_volume is missing" in found.effects[0]


def test_measures_that_allow_no_null_are_refused(site: Settings) -> None:
    found = with_columns(site, MEASURES, required=("first_trade_at",))
    assert found.state == "refused"
    assert "does not allow null in the additional column first_trade_at" in found.effects[0]
