"""`ohlcv tables repair`: damaged data files are dropped, and what depends on them is rebuilt or loaded again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ohlcv.cli.tables import tables
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.snapshot_summary import read_checkpoint
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import load_trades
from ohlcv.integrity.check import Selection, check_tables
from ohlcv.integrity.repair import plan_repair, repair
from ohlcv.ledger.recording import record
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.source_hours import hour_number
from ohlcv.readers.candles import read_candles
from support.candle_rows import MINUTE, at, candle, write_candles
from support.default_tables import TRADES, candles_contract
from support.trade_files import NOON, write_generic

MINUTES = candles_contract(MINUTE)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings with candles of two days and trades of two hours, of the first hour in two files."""
    monkeypatch.setenv("OHLCV_HOME", str(tmp_path))
    settings = load_settings()
    create_tables(settings)
    for times in ((0, 3_600_000_000), (1,)):
        lines = (f"x{time},BTC-USD,{NOON + time},1,1,{time}" for time in times)
        load_trades(settings, [write_generic(tmp_path, *lines)])
    write_candles(settings, MINUTE, candle(MINUTE, "2026-01-31T12:00"), candle(MINUTE, "2026-01-30T12:00"))
    return settings


def data_files(settings: Settings, trades: bool) -> list[Path]:
    """Return the data files of trades or candles; those of the newest hour or day last."""
    table = load_table(open_catalog(settings), TRADES if trades else MINUTES)
    tasks = sorted(table.scan().plan_files(), key=lambda task: [task.file.partition[0], len(task.file.file_path)])
    return [Path(task.file.file_path.removeprefix("file://")) for task in tasks]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(tables, ["repair", *arguments], standalone_mode=False)


def test_a_damaged_candle_file_is_dropped_and_its_hours_become_pending(home: Settings) -> None:
    record(home, MINUTE)
    file = data_files(home, trades=False)[-1]
    file.write_bytes(file.read_bytes()[:-1])
    shown = run("gold_ohlcv_1m")
    assert f"damaged   {file} has" in shown.output
    assert "dropped   1 files with 1 candles of 2026-01-31T00:00:00Z to 2026-02-01T00:00:00Z" in shown.output
    assert "lost      candles of 22 hours that have no trades, if there were any" in shown.output
    assert "note: nothing was changed: add --yes to repair" in shown.output
    with pytest.raises(OhlcvError, match="Damaged files"):
        read_candles(home, MINUTE, start=at("2026-01-31T00:00"), end=at("2026-02-01T00:00"))
    assert "repaired  market_data.gold_ohlcv_1m" in run("gold_ohlcv_1m", "--yes").output
    assert read_candles(home, MINUTE)["window_start"].to_pylist() == [at("2026-01-30T12:00")]
    first = hour_number(datetime(2026, 1, 31, tzinfo=UTC))
    table = load_table(open_catalog(home), MINUTES)
    assert read_checkpoint(table).pending_hours == set(range(first, first + 24))
    # The ledger need not read the damaged file: it records that the day was deleted.
    assert record(home, MINUTE).publications == 1
    assert "no data file of the current state is damaged, nothing to repair" in run("gold_ohlcv_1m", "--yes").output


@pytest.mark.parametrize("kind", ["branch", "tag"])
def test_damage_that_only_a_branch_or_tag_needs_is_named_and_does_not_stop_a_repair_of_main(
    home: Settings, kind: str
) -> None:
    table = load_table(open_catalog(home), MINUTES)
    before = table.current_snapshot()
    assert before is not None
    write_candles(home, MINUTE, candle(MINUTE, "2026-01-31T12:01"))
    table.refresh()
    beside = table.current_snapshot()
    assert beside is not None
    manage = table.manage_snapshots()
    change = manage.create_branch if kind == "branch" else manage.create_tag
    change(beside.snapshot_id, "kept").commit()
    table.manage_snapshots().rollback_to_snapshot(before.snapshot_id).commit()
    Path(beside.manifest_list.removeprefix("file://")).unlink()
    file = data_files(home, trades=False)[-1]
    file.write_bytes(file.read_bytes()[:-1])

    (report,) = [each for each in check_tables(home, Selection(timeframes=["1m"]).choose(home), None) if each.damages]
    assert [(each.kind, each.is_beside) for each in report.damages] == [("data file", False), ("manifest list", True)]
    assert f"affects the {kind} kept only (" in report.damages[1].line
    assert f'"ALTER TABLE market_data.gold_ohlcv_1m DROP {kind.upper()} kept"' in report.damages[1].repair
    assert "dropped   1 files with 1 candles of 2026-01-31" in run("gold_ohlcv_1m", "--yes").output
    assert read_candles(home, MINUTE)["window_start"].to_pylist() == [at("2026-01-30T12:00")]


def test_of_trades_the_whole_hour_is_dropped_and_can_be_loaded_again(home: Settings) -> None:
    by_hour = [path for path in data_files(home, trades=True) if "exchange_hour=12" in str(path)]
    assert len(by_hour) == 2
    by_hour[0].unlink()
    result = run("gold_crypto_trades", "--yes")
    assert "dropped   2 files with 2 trades of 2026-01-31T12:00:00Z to 2026-01-31T13:00:00Z" in result.output
    assert "then      load the trades of these hours again; their candles stay as they are" in result.output
    table = load_table(open_catalog(home), TRADES)
    assert table.scan().to_arrow()["exchange_hour"].to_pylist() == [13]
    lines = (f"x{time},BTC-USD,{NOON + time},1,1,{time}" for time in (0, 1, 3_600_000_000))
    assert load_trades(home, [write_generic(home.home, *lines)]).loaded == 2


def test_a_table_that_changes_meanwhile_is_not_repaired(home: Settings) -> None:
    data_files(home, trades=False)[0].unlink()
    catalog = open_catalog(home)
    (checked,) = Selection(timeframes=["1m"]).choose(home)
    planned = plan_repair(home, catalog, checked, lambda _: None)
    repair(home, catalog, planned)
    with pytest.raises(OhlcvError, match=r"was changed meanwhile \(.* is gone\): repair it again"):
        repair(home, catalog, planned)


def test_a_repair_that_does_not_help_is_refused(home: Settings) -> None:
    with pytest.raises(InputError, match=r"gold_ohlcv_revisions cannot be repaired: restore the file from a backup"):
        raise run("gold_ohlcv_revisions").exception or AssertionError
    snapshot = load_table(open_catalog(home), TRADES).current_snapshot()
    assert snapshot is not None
    Path(snapshot.manifest_list.removeprefix("file://")).unlink()
    with pytest.raises(OhlcvError, match=r"or run 'ohlcv tables restore market_data.gold_crypto_trades'"):
        raise run("gold_crypto_trades").exception or AssertionError
