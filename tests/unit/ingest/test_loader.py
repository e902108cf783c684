"""The loader (all or nothing, each trade once, one commit) and the `trades` command."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner
from pyiceberg.types import StringType

from ohlcv.cli.trades import trades as trades_group
from ohlcv.config.settings import Settings, load_settings
from ohlcv.ingest.loader import LoadReport, RefusedRow, load_trades
from ohlcv.ingest.staging import open_staging
from ohlcv.model.errors import InputError, OhlcvError
from support.trade_files import HEADER, HOUR, NOON, stored_trades, trades_table


def row(trade: int, price: str = "1", time: int = NOON, exchange: str = "x") -> str:
    return f"{exchange},BTC-USD,{time},{price},1,{trade}"


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("".join(f"{line}\n" for line in (header, *rows)))
    return path


def test_a_second_load_adds_nothing_and_commits_nothing(settings: Settings, tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", row(1), row(2), row(3, time=NOON + 50 * HOUR))
    first = load_trades(settings, [file])
    again = load_trades(settings, [file])
    assert (first.loaded, first.already_there, again.loaded, again.already_there) == (3, 0, 0, 3)
    assert again.snapshot_id is None
    found = trades_table(settings)
    assert found.metadata.current_snapshot_id == first.snapshot_id
    assert len(found.metadata.metadata_log) == 1
    assert len(stored_trades(settings)) == 3


def test_additional_columns_of_the_table_become_null(settings: Settings, tmp_path: Path) -> None:
    with trades_table(settings).update_schema() as update:
        update.add_column("note", StringType())
        update.move_first("note")
        update.move_first("price")
    assert load_trades(settings, [write(tmp_path / "t.csv", row(1))]).loaded == 1
    assert load_trades(settings, [write(tmp_path / "t.csv", row(1), row(2))]).loaded == 1
    assert {(found["trade_id"], found["note"]) for found in stored_trades(settings)} == {("1", None), ("2", None)}


def test_a_column_that_does_not_allow_null_is_reported(settings: Settings, tmp_path: Path) -> None:
    with trades_table(settings).update_schema(allow_incompatible_changes=True) as update:
        update.add_column("note", StringType(), required=True)
        update.update_column("symbol", required=True)
    with pytest.raises(
        OhlcvError, match=r"^market_data.gold_crypto_trades does not allow null in the column symbol, note: "
    ):
        load_trades(settings, [write(tmp_path / "t.csv", row(1))])


def test_message_ids_are_equal_for_equal_trades_and_differ_for_corrections(settings: Settings, tmp_path: Path) -> None:
    load_trades(settings, [write(tmp_path / "a.csv", row(1, "1.50"))])
    report = load_trades(settings, [write(tmp_path / "b.csv", row(1, "1.5"), row(1, "1.6"))])
    assert (report.loaded, report.already_there) == (1, 1)
    assert sorted(row["price"] for row in stored_trades(settings)) == [Decimal("1.5"), Decimal("1.6")]


OPTIONAL_VALUES = {
    "asset_class": "equity",
    "currency": "EUR",
    "platform_sequence": "5",
    "side": "SELL",
    "source_sequence": "6",
    "trade_conditions": '"[""a""]"',
    "vendor_data": '"{""a"": ""1""}"',
}


def test_a_corrected_value_of_any_column_is_another_message(settings: Settings, tmp_path: Path) -> None:
    files = [write(tmp_path / "plain.csv", row(1))]
    for name, value in OPTIONAL_VALUES.items():
        header = f"{HEADER},{name}"
        files.append(write(tmp_path / f"{name}.csv", f"{row(1)},{value}", header=header))
    # Values of two columns are never confused.
    files.append(write(tmp_path / "moved.csv", f"{row(1)},5", header=f"{HEADER},source_sequence"))
    assert load_trades(settings, files).loaded == len(files)
    assert load_trades(settings, files).already_there == len(files)


def test_equal_values_are_one_message_however_they_are_written(settings: Settings, tmp_path: Path) -> None:
    load_trades(settings, [write(tmp_path / "plain.csv", row(1))])
    # Defaults, derived values, and the time of the delivery, which may differ.
    header = f"{HEADER},asset_class,currency,exchange_date,ingestion_timestamp"
    report = load_trades(
        settings, [write(tmp_path / "same.csv", f"{row(1)},crypto,USD,2026-01-31,{NOON + HOUR}", header=header)]
    )
    assert (report.refused, report.loaded, report.already_there) == ([], 0, 1)
    header = f"{HEADER},source_sequence,vendor_data"
    rows = [f'{row(2)},7,"{{""a"": ""1"", ""b"": ""2""}}"', f'{row(2)},007,"{{""b"": ""2"", ""a"": ""1""}}"']
    report = load_trades(settings, [write(tmp_path / "order.csv", *rows, header=header)])
    assert (report.refused, report.loaded, report.already_there) == ([], 1, 1)


def test_rows_without_optional_columns_keep_the_message_id_of_earlier_versions(
    settings: Settings, tmp_path: Path
) -> None:
    load_trades(settings, [write(tmp_path / "t.csv", row(1, "2.5"))])
    [found] = stored_trades(settings)
    text = f"1:x7:BTC-USD1:116:{NOON}10:2.5000000010:1.00000000-"
    assert found["message_id"] == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_message_ids_differ_for_rows_whose_fields_concatenate_to_the_same_text(
    settings: Settings, tmp_path: Path
) -> None:
    rows = [f"x,ab,{NOON},1,1,c", f"x,a,{NOON},1,1,bc", f"xa,b,{NOON},1,1,c", f"x,1:a,{NOON},1,1,c"]
    assert load_trades(settings, [write(tmp_path / "t.csv", *rows)]).loaded == 4
    assert len({found["message_id"] for found in stored_trades(settings)}) == 4


def test_the_same_message_id_on_two_exchanges_is_two_trades(settings: Settings, tmp_path: Path) -> None:
    header = HEADER.replace("trade_id", "message_id")
    load_trades(settings, [write(tmp_path / "a.csv", row(1, exchange="x"), header=header)])
    report = load_trades(
        settings, [write(tmp_path / "b.csv", row(1, exchange="y"), row(1, exchange="x"), header=header)]
    )
    assert (report.loaded, report.already_there) == (1, 1)


def test_duplicates_within_one_load_are_loaded_once_in_one_commit(settings: Settings, tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", row(1), row(1), row(2))
    two = write(tmp_path / "two.csv", row(2), row(3, time=NOON + HOUR))
    report = load_trades(settings, [one, two])
    assert report == LoadReport([str(one), str(two)], 5, 3, 2, 0, [], report.snapshot_id)
    assert len(trades_table(settings).metadata.metadata_log) == 1
    assert [found["trade_id"] for found in stored_trades(settings)].count("3") == 1


def test_a_large_load_writes_several_parts_in_one_commit(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohlcv.ingest.staging.CHUNK_ROWS", 2048)
    monkeypatch.setattr("ohlcv.ingest.file_readers.BLOCK_BYTES", 100_000)
    rows = [row(trade, time=NOON + (trade % 3 > 0) * trade % 5 * HOUR) for trade in range(9000)]
    report = load_trades(settings, [write(tmp_path / "t.csv", *rows)])
    assert report.loaded == 9000
    found = trades_table(settings)
    assert len(found.metadata.metadata_log) == 1
    assert len(found.snapshots()) > 2
    assert found.metadata.current_snapshot_id == report.snapshot_id
    assert {int(found["trade_id"]) for found in stored_trades(settings)} == set(range(9000))


def test_a_refused_row_in_any_file_means_that_nothing_is_loaded(settings: Settings, tmp_path: Path) -> None:
    good = write(tmp_path / "good.csv", row(1))
    bad = write(tmp_path / "bad.csv", row(2), row(3, "0"))
    report = load_trades(settings, [good, bad])
    assert report.refused == [RefusedRow(str(bad), 3, "price 0 is not greater than zero")]
    assert (report.loaded, report.snapshot_id, stored_trades(settings)) == (0, None, [])


def test_skip_refused_loads_the_other_rows_and_reports_the_refused_ones(settings: Settings, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.csv", row(2), row(3, "0"), row(4))
    report = load_trades(settings, [bad], skip_refused=True)
    assert (report.loaded, report.refused_count) == (2, 1)
    assert {found["trade_id"] for found in stored_trades(settings)} == {"2", "4"}


def test_all_refused_rows_are_counted_and_a_thousand_are_listed(settings: Settings, tmp_path: Path) -> None:
    report = load_trades(settings, [write(tmp_path / "bad.csv", *(row(trade, "x") for trade in range(1500)))])
    assert (report.refused_count, len(report.refused), report.rows_read) == (1500, 1000, 1500)
    assert [refused.line for refused in report.refused[:2]] == [2, 3]


def _zip_of(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"{HEADER}\n{row(1)}\n")


def test_an_unreadable_file_is_named_and_nothing_is_loaded(settings: Settings, tmp_path: Path) -> None:
    good = write(tmp_path / "good.csv", row(1))
    text = "".join(f"{line}\n" for line in [HEADER, *(row(trade, f"{trade}.{trade}1") for trade in range(1, 500))])
    whole = gzip.compress(text.encode())
    (tmp_path / "truncated.csv.gz").write_bytes(whole[:-20])
    (tmp_path / "bad_checksum.csv.gz").write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])
    _zip_of(tmp_path / "whole.zip", "a.csv")
    (tmp_path / "truncated.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-30])
    _zip_of(tmp_path / "two.zip", "a.csv", "b.csv")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "blank.csv").write_text("\n\n")
    (tmp_path / "truncated.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "text.parquet").write_text(text)
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\nbörse".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    for name, message in {
        "truncated.csv.gz": "is truncated",
        "bad_checksum.csv.gz": "is corrupt: CRC",
        "truncated.zip": "is corrupt",
        "two.zip": "contains 2 files",
        "empty.csv": "is empty",
        "blank.csv": "is empty",
        "truncated.parquet": "cannot be read",
        "text.parquet": "is not a Parquet file",
        "latin.csv": "is not UTF-8 text",
        "folder": "is a directory",
        "absent.csv": "does not exist",
    }.items():
        with pytest.raises(InputError, match=message) as raised:
            load_trades(settings, [good, tmp_path / name])
        assert str(tmp_path / name) in str(raised.value)
        assert "\n" not in str(raised.value)
    assert stored_trades(settings) == []
    assert load_trades(settings, [tmp_path / "whole.zip"]).loaded == 1


def test_a_file_with_only_a_header_loads_nothing(settings: Settings, tmp_path: Path) -> None:
    report = load_trades(settings, [write(tmp_path / "t.csv")])
    assert (report.rows_read, report.loaded, report.snapshot_id) == (0, 0, None)


def test_a_missing_table_is_an_error_that_names_the_command_to_create_it(tmp_path: Path) -> None:
    with pytest.raises(OhlcvError, match="ohlcv tables create"):
        load_trades(load_settings({"OHLCV_HOME": str(tmp_path / "home")}), [write(tmp_path / "t.csv", row(1))])


def test_a_load_is_retried_after_a_commit_conflict_without_duplicates(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohlcv.ingest.commit.FIRST_WAIT_SECONDS", 0.0)
    mine = write(tmp_path / "mine.csv", row(1), row(2))
    other = write(tmp_path / "other.csv", row(2), row(3))
    messages: list[str] = []

    def other_writer_commits_first(message: str) -> None:
        messages.append(message)
        if message == "2 trades written" and messages.count(message) == 1:
            load_trades(settings, [other])

    report = load_trades(settings, [mine], progress=other_writer_commits_first)
    assert "another writer committed first: trying again in 0.0 s" in messages
    assert (report.loaded, report.already_there) == (1, 1)
    assert sorted(found["trade_id"] for found in stored_trades(settings)) == ["1", "2", "3"]
    assert "commit.retry.num-retries" not in trades_table(settings).properties


def test_a_load_fails_after_repeated_commit_conflicts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohlcv.ingest.loader.COMMIT_ATTEMPTS", 2)
    monkeypatch.setattr("ohlcv.ingest.commit.FIRST_WAIT_SECONDS", 0.0)
    others = iter(range(100, 200))

    def other_writer_commits_first(message: str) -> None:
        if message == "1 trades written":
            load_trades(settings, [write(tmp_path / "other.csv", row(next(others)))])

    with pytest.raises(OhlcvError, match="committed first 2 times"):
        load_trades(settings, [write(tmp_path / "mine.csv", row(1))], progress=other_writer_commits_first)
    assert sorted(found["trade_id"] for found in stored_trades(settings)) == ["100", "101"]


def test_trades_of_many_days_are_recognized_as_already_loaded(settings: Settings, tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", *(row(day, time=NOON + day * 24 * HOUR) for day in range(40)))
    assert load_trades(settings, [file]).loaded == 40
    assert load_trades(settings, [file]).already_there == 40


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OHLCV_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(
        trades_group, [str(argument) for argument in arguments], standalone_mode=False
    )


def test_the_load_command_with_json_prints_only_json(run: Any, tmp_path: Path) -> None:
    result = run("load", write(tmp_path / "t.csv", row(1)), "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (answer["loaded"], answer["rows_read"], answer["refused"]) == (1, 1, [])
    assert "1 rows read" in result.stderr


def test_the_load_command_shows_twenty_refused_rows_and_fails(run: Any, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.csv", *(row(trade, "[b]x") for trade in range(25)), row(99))
    result = run("load", bad)
    assert result.return_value == 1
    assert result.stdout.count("price [b]x is not a decimal number") == 20
    assert "and 5 more" in result.stdout
    assert "nothing was loaded" in result.stdout
    assert json.loads(run("load", bad, "--json").stdout)["refused_count"] == 25
    result = run("load", bad, "--skip-refused")
    assert (result.return_value, "1 loaded" in result.stdout) == (0, True)


def test_the_load_command_passes_its_options_to_the_loader(run: Any, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "k.csv"
    file.write_text("1769860800,1,1\n")
    result = run("load", file, "--format", "kraken", "--symbol", "XBT/USD", "--exchange", "k2")
    assert result.exit_code == 0
    assert [(found["exchange"], found["symbol"]) for found in stored_trades(settings)] == [("k2", "XBT/USD")]
    assert isinstance(run("load", file, "--format", "kraken").exception, InputError)


def test_the_sample_command_loads_trades_once(run: Any, settings: Settings) -> None:
    options = ("--trades", 100, "--hours", 2, "--seed", 3, "--duplicates", 4, "--bad-rows", 8, "--json")
    result = run("sample", *options, "--end", "2026-01-31T12:00:00")
    assert json.loads(result.stdout)["loaded"] == 112
    assert "UTC is assumed" in result.stderr
    again = run("sample", *options, "--end", "2026-01-31T12:00:00Z")
    assert json.loads(again.stdout)["already_there"] == 112
    assert "UTC is assumed" not in again.stderr
    assert len(stored_trades(settings)) == 112


@pytest.mark.parametrize("error", [duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException])
def test_a_failure_of_the_staging_database_is_one_line(error: type[duckdb.Error]) -> None:
    """DuckDB reports a full disk as one of these errors, depending on the moment."""
    message = r"^staging the trades in .* failed \(Failed to commit: No space left on device\): nothing was loaded$"
    with pytest.raises(OhlcvError, match=message), open_staging():
        raise error("Failed to commit: No space left on device\nand more")


def test_a_missing_temporary_folder_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    message = r"^no temporary folder can be created \(No usable temporary .*\): free space, or set TMPDIR to another"
    with pytest.raises(OhlcvError, match=message), open_staging():
        pass
