"""Loading: all or nothing, each trade once, one commit; and what the command makes of it."""

from __future__ import annotations

import gzip
import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyiceberg.table import Table

from ohlcv.cli.trades import trades as trades_group
from ohlcv.config.settings import Settings, load_settings
from ohlcv.iceberg.tables import create_tables, load_table, open_catalog
from ohlcv.ingest.loader import LoadReport, RefusedRow, load_trades
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.table_contracts import TRADES

NOON = 1_769_860_800_000_000  # 2026-01-31T12:00:00Z
HOUR = 3_600_000_000
HEADER = "exchange,symbol,timestamp,price,quantity,trade_id"


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    found = load_settings({"OHLCV_HOME": str(tmp_path / "home")})
    create_tables(found)
    return found


def table(home: Settings) -> Table:
    return load_table(open_catalog(home), TRADES)


def stored(home: Settings) -> list[dict[str, Any]]:
    rows = table(home).scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["timestamp"], row["message_id"]))


def row(trade: int, price: str = "1", time: int = NOON, exchange: str = "x") -> str:
    return f"{exchange},BTC-USD,{time},{price},1,{trade}"


def write(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("".join(f"{line}\n" for line in (header, *rows)))
    return path


def test_a_second_load_adds_nothing_and_commits_nothing(home: Settings, tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", row(1), row(2), row(3, time=NOON + 50 * HOUR))
    first = load_trades(home, [file])
    again = load_trades(home, [file])
    assert (first.loaded, first.already_there, again.loaded, again.already_there) == (3, 0, 0, 3)
    assert again.snapshot_id is None
    found = table(home)
    assert found.metadata.current_snapshot_id == first.snapshot_id
    assert len(found.metadata.metadata_log) == 1
    assert len(stored(home)) == 3


def test_the_same_trade_has_the_same_id_and_a_correction_another(home: Settings, tmp_path: Path) -> None:
    load_trades(home, [write(tmp_path / "a.csv", row(1, "1.50"))])
    report = load_trades(home, [write(tmp_path / "b.csv", row(1, "1.5"), row(1, "1.6"))])
    assert (report.loaded, report.already_there) == (1, 1)
    assert sorted(row["price"] for row in stored(home)) == [Decimal("1.5"), Decimal("1.6")]


def test_content_ids_do_not_run_together(home: Settings, tmp_path: Path) -> None:
    rows = [f"x,ab,{NOON},1,1,c", f"x,a,{NOON},1,1,bc", f"xa,b,{NOON},1,1,c", f"x,1:a,{NOON},1,1,c"]
    assert load_trades(home, [write(tmp_path / "t.csv", *rows)]).loaded == 4
    assert len({found["message_id"] for found in stored(home)}) == 4


def test_an_id_that_two_exchanges_use_is_two_trades(home: Settings, tmp_path: Path) -> None:
    header = HEADER.replace("trade_id", "message_id")
    load_trades(home, [write(tmp_path / "a.csv", row(1, exchange="x"), header=header)])
    report = load_trades(home, [write(tmp_path / "b.csv", row(1, exchange="y"), row(1, exchange="x"), header=header)])
    assert (report.loaded, report.already_there) == (1, 1)


def test_rows_and_files_of_one_load_are_taken_once_in_one_commit(home: Settings, tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", row(1), row(1), row(2))
    two = write(tmp_path / "two.csv", row(2), row(3, time=NOON + HOUR))
    report = load_trades(home, [one, two])
    assert report == LoadReport([str(one), str(two)], 5, 3, 2, 0, [], report.snapshot_id)
    assert len(table(home).metadata.metadata_log) == 1
    assert [found["trade_id"] for found in stored(home)].count("3") == 1


def test_a_big_load_is_several_parts_and_one_commit(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohlcv.ingest.staging.CHUNK_ROWS", 2048)
    monkeypatch.setattr("ohlcv.ingest.file_readers.BLOCK_BYTES", 100_000)
    rows = [row(trade, time=NOON + (trade % 3 > 0) * trade % 5 * HOUR) for trade in range(9000)]
    report = load_trades(home, [write(tmp_path / "t.csv", *rows)])
    assert report.loaded == 9000
    found = table(home)
    assert len(found.metadata.metadata_log) == 1
    assert len(found.snapshots()) > 2
    assert found.metadata.current_snapshot_id == report.snapshot_id
    assert {int(found["trade_id"]) for found in stored(home)} == set(range(9000))


def test_one_bad_row_in_any_file_and_nothing_is_loaded(home: Settings, tmp_path: Path) -> None:
    good = write(tmp_path / "good.csv", row(1))
    bad = write(tmp_path / "bad.csv", row(2), row(3, "0"))
    report = load_trades(home, [good, bad])
    assert report.refused == [RefusedRow(str(bad), 3, "price 0 is not above zero")]
    assert (report.loaded, report.snapshot_id, stored(home)) == (0, None, [])


def test_skip_refused_loads_the_rest_and_tells(home: Settings, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.csv", row(2), row(3, "0"), row(4))
    report = load_trades(home, [bad], skip_refused=True)
    assert (report.loaded, report.refused_count) == (2, 1)
    assert {found["trade_id"] for found in stored(home)} == {"2", "4"}


def test_all_refused_rows_are_counted_and_a_thousand_kept(home: Settings, tmp_path: Path) -> None:
    report = load_trades(home, [write(tmp_path / "bad.csv", *(row(trade, "x") for trade in range(1500)))])
    assert (report.refused_count, len(report.refused), report.rows_read) == (1500, 1000, 1500)
    assert [refused.line for refused in report.refused[:2]] == [2, 3]


def _zip_of(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, f"{HEADER}\n{row(1)}\n")


def test_a_file_that_cannot_be_read_is_named_and_nothing_is_loaded(home: Settings, tmp_path: Path) -> None:
    good = write(tmp_path / "good.csv", row(1))
    text = "".join(f"{line}\n" for line in [HEADER, *(row(trade, f"{trade}.{trade}1") for trade in range(1, 500))])
    whole = gzip.compress(text.encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[:-20])
    (tmp_path / "flipped.csv.gz").write_bytes(whole[:-8] + b"\0\0\0\0" + whole[-4:])
    _zip_of(tmp_path / "whole.zip", "a.csv")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-30])
    _zip_of(tmp_path / "two.zip", "a.csv", "b.csv")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "blank.csv").write_text("\n\n")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "text.parquet").write_text(text)
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\nbörse".encode("latin-1"))
    (tmp_path / "folder").mkdir()
    for name, message in {
        "cut.csv.gz": "is cut short",
        "flipped.csv.gz": "is damaged: CRC",
        "cut.zip": "is damaged",
        "two.zip": "holds 2 files",
        "empty.csv": "is empty",
        "blank.csv": "is empty",
        "cut.parquet": "cannot be read",
        "text.parquet": "is not a Parquet file",
        "latin.csv": "is not UTF-8 text",
        "folder": "is a directory",
        "absent.csv": "is not there",
    }.items():
        with pytest.raises(InputError, match=message) as raised:
            load_trades(home, [good, tmp_path / name])
        assert str(tmp_path / name) in str(raised.value)
        assert "\n" not in str(raised.value)
    assert stored(home) == []
    assert load_trades(home, [tmp_path / "whole.zip"]).loaded == 1


def test_a_header_alone_is_a_file_without_trades(home: Settings, tmp_path: Path) -> None:
    report = load_trades(home, [write(tmp_path / "t.csv")])
    assert (report.rows_read, report.loaded, report.snapshot_id) == (0, 0, None)


def test_a_load_without_a_table_says_so(tmp_path: Path) -> None:
    with pytest.raises(OhlcvError, match="ohlcv tables create"):
        load_trades(load_settings({"OHLCV_HOME": str(tmp_path / "home")}), [write(tmp_path / "t.csv", row(1))])


def test_a_lost_race_is_run_again_without_doubles(home: Settings, tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.csv", row(1), row(2))
    other = write(tmp_path / "other.csv", row(2), row(3))
    said: list[str] = []

    def other_comes_first(message: str) -> None:
        said.append(message)
        if message == "2 trades written" and said.count(message) == 1:
            load_trades(home, [other])

    report = load_trades(home, [mine], progress=other_comes_first)
    assert "another writer came first: looking again" in said
    assert (report.loaded, report.already_there) == (1, 1)
    assert sorted(found["trade_id"] for found in stored(home)) == ["1", "2", "3"]
    assert "commit.retry.num-retries" not in table(home).properties


def test_a_race_lost_again_and_again_gives_up(home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ohlcv.ingest.loader.COMMIT_ATTEMPTS", 2)
    others = iter(range(100, 200))

    def other_comes_first(message: str) -> None:
        if message == "1 trades written":
            load_trades(home, [write(tmp_path / "other.csv", row(next(others)))])

    with pytest.raises(OhlcvError, match="2 times another writer"):
        load_trades(home, [write(tmp_path / "mine.csv", row(1))], progress=other_comes_first)
    assert sorted(found["trade_id"] for found in stored(home)) == ["100", "101"]


def test_trades_of_many_days_are_found_again(home: Settings, tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", *(row(day, time=NOON + day * 24 * HOUR) for day in range(40)))
    assert load_trades(home, [file]).loaded == 40
    assert load_trades(home, [file]).already_there == 40


@pytest.fixture
def run(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OHLCV_HOME", str(home.home))
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(trades_group, [str(argument) for argument in arguments])


def test_the_command_prints_json_alone(run: Any, tmp_path: Path) -> None:
    result = run("load", write(tmp_path / "t.csv", row(1)), "--json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (answer["loaded"], answer["rows_read"], answer["refused"]) == (1, 1, [])
    assert "1 rows read" in result.stderr


def test_the_command_shows_twenty_refused_rows_and_fails(run: Any, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.csv", *(row(trade, "[b]x") for trade in range(25)), row(99))
    result = run("load", bad)
    assert result.exit_code == 1
    assert result.stdout.count("price [b]x is not a decimal number") == 20
    assert "and 5 more" in result.stdout
    assert "nothing was loaded" in result.stdout
    assert json.loads(run("load", bad, "--json").stdout)["refused_count"] == 25
    result = run("load", bad, "--skip-refused")
    assert (result.exit_code, "1 loaded" in result.stdout) == (0, True)


def test_the_command_passes_its_options_on(run: Any, home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "k.csv"
    file.write_text("1769860800,1,1\n")
    result = run("load", file, "--format", "kraken", "--symbol", "XBT/USD", "--exchange", "k2")
    assert result.exit_code == 0
    assert [(found["exchange"], found["symbol"]) for found in stored(home)] == [("k2", "XBT/USD")]
    assert isinstance(run("load", file, "--format", "kraken").exception, InputError)


def test_the_sample_command(run: Any, home: Settings) -> None:
    options = ("--trades", 100, "--hours", 2, "--seed", 3, "--duplicates", 4, "--bad-rows", 8, "--json")
    result = run("sample", *options, "--end", "2026-01-31T12:00:00")
    assert json.loads(result.stdout)["loaded"] == 112
    assert "taken as UTC" in result.stderr
    again = run("sample", *options, "--end", "2026-01-31T12:00:00Z")
    assert json.loads(again.stdout)["already_there"] == 112
    assert "taken as UTC" not in again.stderr
    assert len(stored(home)) == 112
