"""Tables through pyiceberg: created by the contract, never changed afterwards, differences reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pyiceberg.table import Table

from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, extend, load_table, open_catalog, widen_volume
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES, get_timeframe
from support.default_tables import NAMESPACE, TRADES, candles_contract, contracts

NAMES = [contract.name for contract in contracts()]
FULL_NAMES = [f"{NAMESPACE}.{name}" for name in NAMES]
# A second copy of the contract, so that an accidental change of the contract fails here.
TRADE_FIELDS = {
    "message_id": "string",
    "trade_id": "string",
    "symbol": "string",
    "exchange": "string",
    "asset_class": "string",
    "timestamp": "long",
    "price": "decimal(18, 8)",
    "quantity": "decimal(18, 8)",
    "currency": "string",
    "side": "string",
    "trade_conditions": "list<string>",
    "source_sequence": "long",
    "ingestion_timestamp": "long",
    "platform_sequence": "long",
    "vendor_data": "map<string, string>",
    "exchange_date": "date",
    "exchange_hour": "int",
}
CANDLE_FIELDS = {
    "symbol": "string",
    "exchange": "string",
    "window_start": "timestamptz",
    "window_end": "timestamptz",
    "window_date": "date",
    "open_price": "decimal(18, 8)",
    "high_price": "decimal(18, 8)",
    "low_price": "decimal(18, 8)",
    "close_price": "decimal(18, 8)",
    "volume": "decimal(18, 8)",
    "trade_count": "long",
    "vwap": "decimal(18, 8)",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}

MEASURE_FIELDS = {
    "quote_volume": "decimal(38, 16)",
    "taker_buy_volume": "decimal(38, 8)",
    "taker_buy_quote_volume": "decimal(38, 16)",
    "first_trade_at": "timestamptz",
    "last_trade_at": "timestamptz",
}

PUBLICATION_FIELDS = {
    "timeframe": "string",
    "number": "long",
    "trigger": "string",
    "snapshot": "long",
    "visible_at": "timestamptz",
    "dag_id": "string",
    "run_id": "string",
    "trades_snapshot": "long",
    "written_at": "timestamptz",
    "inserted": "long",
    "updated": "long",
    "deleted": "long",
    "deleted_partitions": "list<string>",
}
REVISION_FIELDS = {
    "timeframe": "string",
    "publication": "long",
    "symbol": "string",
    "exchange": "string",
    "window_start": "timestamptz",
    "change": "string",
    "window_end": "timestamptz",
    "window_date": "date",
    "open_price": "decimal(18, 8)",
    "high_price": "decimal(18, 8)",
    "low_price": "decimal(18, 8)",
    "close_price": "decimal(18, 8)",
    "volume": "decimal(38, 8)",
    "trade_count": "long",
    "vwap": "decimal(18, 8)",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "causes": "list<string>",
    "lateness": "long",
    "held_since": "timestamptz",
    "waived": "boolean",
}
COVERAGE_FIELDS = {
    "exchange": "string",
    "symbol": "string",
    "hour": "timestamptz",
    "trades_snapshot": "long",
    "deliveries": "long",
    "accepted": "long",
    "duplicates": "long",
    "superseded": "long",
    "rejected_null_key": "long",
    "rejected_not_a_number": "long",
    "rejected_infinite": "long",
    "rejected_overflow": "long",
    "rejected_bad_price": "long",
    "rejected_bad_quantity": "long",
    "rejected_wrong_partition": "long",
    "first_trade": "timestamptz",
    "last_trade": "timestamptz",
    "lowest_sequence": "long",
    "highest_sequence": "long",
    "sequences": "long",
    "minutes": "long",
    "delays": "list<long>",
    "source_expired": "boolean",
}
NOTE_FIELDS = {
    "note": "string",
    "kind": "string",
    "exchange": "string",
    "symbol": "string",
    "start_time": "timestamptz",
    "end_time": "timestamptz",
    "author": "string",
    "reason": "string",
    "recorded_at": "timestamptz",
    "withdrawn_at": "timestamptz",
    "withdrawn_by": "string",
}
RECONCILIATION_FIELDS = {
    "venue": "string",
    "symbol": "string",
    "exchange": "string",
    "timeframe": "string",
    "window_start": "timestamptz",
    "result": "string",
    "fields": "list<string>",
    "differences": "string",
    "evidence": "list<string>",
    "file": "string",
    "compared_at": "timestamptz",
    "candles_snapshot": "long",
}
FIELDS = {
    "gold_crypto_trades": TRADE_FIELDS,
    "gold_ohlcv_publications": PUBLICATION_FIELDS,
    "gold_ohlcv_revisions": REVISION_FIELDS,
    "gold_ohlcv_coverage": COVERAGE_FIELDS,
    "gold_ohlcv_coverage_notes": NOTE_FIELDS,
    "gold_ohlcv_reconciliation": RECONCILIATION_FIELDS,
}


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    return load_settings({"OHLCV_HOME": str(tmp_path / "home")})


def tables(settings: Settings) -> dict[str, Table]:
    catalog = open_catalog(settings)
    return {name: catalog.load_table((NAMESPACE, name)) for name in NAMES}


def partitions(table: Table) -> list[tuple[str, str, str]]:
    schema = table.schema()
    return [
        (field.name, str(field.transform), str(schema.find_column_name(field.source_id)))
        for field in table.spec().fields
    ]


def test_created_tables_match_the_contract(site: Settings) -> None:
    assert create_tables(site) == (FULL_NAMES, [])
    assert NAMES == [
        "gold_crypto_trades",
        "gold_ohlcv_1m",
        "gold_ohlcv_5m",
        "gold_ohlcv_30m",
        "gold_ohlcv_1h",
        "gold_ohlcv_1d",
        "gold_ohlcv_publications",
        "gold_ohlcv_revisions",
        "gold_ohlcv_coverage",
        "gold_ohlcv_coverage_notes",
        "gold_ohlcv_reconciliation",
    ]
    for name, table in tables(site).items():
        fields = table.schema().fields
        expected = FIELDS.get(name, CANDLE_FIELDS)
        assert [(field.name, str(field.field_type)) for field in fields] == list(expected.items())
        assert not any(field.required for field in fields)
        megabytes = 256 if name == "gold_crypto_trades" else 64
        assert table.properties == {
            "write.format.default": "parquet",
            "write.parquet.compression-codec": "zstd",
            "write.target-file-size-bytes": str(megabytes * 2**20),
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "100",
            **({} if name in FIELDS else {"write.wap.enabled": "true"}),
        }
        assert table.format_version == 2
        assert table.location() == f"{site.warehouse}/market_data/{name}"
        assert table.sort_order().is_unsorted
    created = tables(site)
    # Spark SQL names partition fields the same way.
    assert partitions(created["gold_crypto_trades"]) == [
        ("exchange_date", "identity", "exchange_date"),
        ("exchange_hour", "identity", "exchange_hour"),
    ]
    for name in ("1m", "5m", "30m", "1h"):
        assert partitions(created[f"gold_ohlcv_{name}"]) == [("window_date_day", "day", "window_date")]
    assert partitions(created["gold_ohlcv_1d"]) == [("window_date_month", "month", "window_date")]
    assert partitions(created["gold_ohlcv_coverage"]) == [("hour_day", "day", "hour")]
    assert partitions(created["gold_ohlcv_coverage_notes"]) == [("recorded_at_month", "month", "recorded_at")]
    for name, time in (
        *(("publications", "visible_at"), ("revisions", "window_start")),
        ("reconciliation", "window_start"),
    ):
        assert partitions(created[f"gold_ohlcv_{name}"]) == [
            ("timeframe", "identity", "timeframe"),
            (f"{time}_month", "month", time),
        ]


def test_creating_existing_tables_changes_nothing(site: Settings) -> None:
    create_tables(site)
    before = {name: table.metadata_location for name, table in tables(site).items()}
    assert create_tables(site) == ([], FULL_NAMES)
    assert {name: table.metadata_location for name, table in tables(site).items()} == before


def test_only_missing_tables_are_created(site: Settings) -> None:
    create_tables(site)
    before = {name: table.metadata_location for name, table in tables(site).items()}
    open_catalog(site).drop_table((NAMESPACE, "gold_ohlcv_30m"))
    shutil.rmtree(site.home / "warehouse" / NAMESPACE / "gold_ohlcv_30m")
    assert create_tables(site).created == ["market_data.gold_ohlcv_30m"]
    after = {name: table.metadata_location for name, table in tables(site).items()}
    assert {name for name in NAMES if before[name] != after[name]} == {"gold_ohlcv_30m"}


def test_changed_table_properties_are_preserved(site: Settings) -> None:
    create_tables(site)
    with tables(site)["gold_ohlcv_1m"].transaction() as transaction:
        transaction.set_properties({"write.target-file-size-bytes": "1"})
    create_tables(site)
    assert tables(site)["gold_ohlcv_1m"].properties["write.target-file-size-bytes"] == "1"


def test_a_table_that_differs_from_the_contract_is_refused_and_not_changed(site: Settings) -> None:
    create_tables(site)
    with tables(site)["gold_ohlcv_5m"].update_schema() as update:
        update.rename_column("vwap", "average")
    before = tables(site)["gold_ohlcv_5m"].metadata_location
    message = (
        "^market_data.gold_ohlcv_5m does not match its contract: column vwap is missing; unexpected column average: "
        "undo this change, nothing is changed by itself$"
    )
    with pytest.raises(OhlcvError, match=message):
        create_tables(site)
    with pytest.raises(OhlcvError, match=message):
        load_table(open_catalog(site), candles_contract(get_timeframe("5m")))
    assert tables(site)["gold_ohlcv_5m"].metadata_location == before


def test_a_changed_partition_spec_is_refused(site: Settings) -> None:
    create_tables(site)
    with tables(site)["gold_crypto_trades"].update_spec() as update:
        update.add_identity("symbol")
    with pytest.raises(
        OhlcvError,
        match=r"partitioned by identity\(exchange_date\), identity\(exchange_hour\), identity\(symbol\), not",
    ):
        create_tables(site)


def test_a_missing_table_is_reported_with_the_command_that_creates_it(site: Settings) -> None:
    with pytest.raises(
        OhlcvError, match=r"^there is no table market_data.gold_crypto_trades: run 'ohlcv tables create'$"
    ):
        load_table(open_catalog(site), TRADES)


def test_a_missing_warehouse_is_distinguished_from_a_missing_table(site: Settings) -> None:
    create_tables(site)
    Path(site.home / "warehouse").rename(site.home / "elsewhere")
    with pytest.raises(
        OhlcvError,
        match=r"^the metadata file of market_data.gold_crypto_trades is missing .*: run 'ohlcv tables relocate' if",
    ):
        load_table(open_catalog(site), TRADES)


@pytest.mark.parametrize("name", DEFAULT_TIMEFRAMES)
def test_the_volume_column_is_widened_once(site: Settings, name: str) -> None:
    create_tables(site)
    contract = candles_contract(get_timeframe(name))
    assert widen_volume(site, contract)
    table = load_table(open_catalog(site), contract)
    assert str(table.schema().find_field("volume").field_type) == "decimal(38, 8)"
    assert table.schema().column_names[:14] == list(CANDLE_FIELDS)
    assert not widen_volume(site, contract)
    assert load_table(open_catalog(site), contract).metadata_location == table.metadata_location


def test_a_table_is_extended_once(site: Settings) -> None:
    create_tables(site)
    contract = candles_contract(get_timeframe("1m"))
    extend(site, contract)
    table = load_table(open_catalog(site), contract)
    fields = {field.name: str(field.field_type) for field in table.schema().fields}
    assert fields == {**CANDLE_FIELDS, **MEASURE_FIELDS}
    assert list(fields)[: len(CANDLE_FIELDS)] == list(CANDLE_FIELDS)
    with pytest.raises(InputError, match="gold_ohlcv_1m already has measures: nothing to extend"):
        extend(site, contract)
    assert load_table(open_catalog(site), contract).metadata_location == table.metadata_location


@pytest.mark.parametrize(("setting", "role"), [("OHLCV_WAREHOUSE", "the warehouse"), ("OHLCV_HOME", "the ")])
def test_an_unwritable_folder_is_reported_before_anything_is_created(tmp_path: Path, setting: str, role: str) -> None:
    (tmp_path / "file").write_text("in the way")
    site = load_settings({"OHLCV_HOME": str(tmp_path / "home"), setting: str(tmp_path / "file" / "below")})
    with pytest.raises(InputError, match=f"^{role}.* is not writable .Not a directory.: choose another"):
        create_tables(site)
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]
