"""Readers of trade files: damaged and hostile files are refused in one line, and memory stays bounded."""

from __future__ import annotations

import csv
import gzip
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ohlcv.config.settings import Settings
from ohlcv.ingest import file_readers
from ohlcv.ingest.file_readers import MAX_LINE_BYTES, is_parquet, open_csv, read_csv, read_parquet
from ohlcv.ingest.loader import load_trades
from ohlcv.model.errors import InputError
from support.trade_files import HEADER, NOON, refusals, stored_trades, write_generic

NAMES = HEADER.split(",")


def read_all(path: Path) -> pa.Table:
    """Return all rows of a CSV file with a header."""
    return pa.concat_tables(read_csv(open_csv(path), NAMES, True))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_member_is_corrupt_for_every_compression_method(tmp_path: Path, method: int) -> None:
    path = tmp_path / "trades.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("trades.csv", "".join(f"{HEADER}{number * 7919}\n" for number in range(5000)))
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"trades\.zip (is corrupt|cannot be read|is truncated)") as raised:
        read_all(path)
    assert "\n" not in str(raised.value)


def test_a_file_name_that_is_too_long_is_reported() -> None:
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        is_parquet(Path("x" * 300))


def test_a_folder_without_search_permission_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "trades.csv").write_text(HEADER)
    folder.chmod(0)
    # Root ignores permissions, so the file is read by another user.
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from ohlcv.ingest.file_readers import is_parquet\n"
        "if os.getuid() == 0: os.chdir(sys.argv[1]); os.setuid(65534)\n"
        "try: is_parquet(Path('closed/trades.csv'))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    folder.chmod(0o700)
    assert result.stdout == "InputError closed/trades.csv cannot be read: Permission denied\n"


def test_file_names_that_are_not_utf_8_are_read(settings: Settings, tmp_path: Path) -> None:
    table = pa.table({name: [value] for name, value in zip(NAMES, ("x", "BTC-USD", NOON, "1", "1", "1"), strict=True)})
    for name in (b"b\xf6rse.csv", b"b\xf6rse.parquet"):
        path = tmp_path / os.fsdecode(name)
        write_generic(tmp_path, f"x,BTC-USD,{NOON},1,1,1").rename(path)
        if path.suffix == ".parquet":
            with path.open("wb") as file:
                pq.write_table(table, file)
        report = load_trades(settings, [path])
        assert report.loaded + report.already_there == 1
    assert len(stored_trades(settings)) == 1


def test_a_line_that_is_too_long_is_refused_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_generic(tmp_path, "a,b,c,d,e,f", "x" * (MAX_LINE_BYTES + 1), "a,b,c,d,e,f")
    with pytest.raises(InputError, match=f"line 3 is longer than {MAX_LINE_BYTES:,} bytes"):
        read_all(path)
    # An endless line is refused when a block is full.
    monkeypatch.setattr(file_readers, "BLOCK_BYTES", 3 * MAX_LINE_BYTES)
    path.write_bytes(gzip.compress(f"{HEADER}\n".encode() + bytes(20 * MAX_LINE_BYTES)))
    with pytest.raises(InputError, match=f"line 2 is longer than {MAX_LINE_BYTES:,} bytes"):
        read_all(path)


def test_a_quoted_field_may_be_as_long_as_a_line(settings: Settings, tmp_path: Path) -> None:
    notes = "n" * 200_000
    row = f'x,BTC-USD,{NOON},1,1,1,"{{""note"": ""{notes}""}}"'
    report = load_trades(settings, [write_generic(tmp_path, row, header=f"{HEADER},vendor_data")])
    assert (refusals(report), report.loaded) == ([], 1)
    assert stored_trades(settings)[0]["vendor_data"] == [("note", notes)]
    assert csv.field_size_limit() == MAX_LINE_BYTES


def test_blocks_of_any_size_give_the_same_rows_and_line_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"x,s,{number},1,1,{'i' * (number % 13)}" if number % 5 else "\n" for number in range(2000)]
    rows += ['"x",s,1,1,1,i', "too,few", '"open']
    path = write_generic(tmp_path, *rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().rstrip(b"\n"))
    whole = read_all(path)
    assert whole["line"].to_pylist()[-3:] == [2402, 2403, 2404]
    monkeypatch.setattr(file_readers, "READ_BYTES", 100)
    monkeypatch.setattr(file_readers, "QUOTED_ROWS", 2)
    for block_bytes, rows_per_chunk in ((1000, 10**6), (10**6, 7)):
        monkeypatch.setattr(file_readers, "BLOCK_BYTES", block_bytes)
        monkeypatch.setattr(file_readers, "CHUNK_ROWS", rows_per_chunk)
        assert read_all(path) == whole


def test_a_chunk_has_a_bounded_number_of_rows_however_short_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_readers, "READ_BYTES", 1000)
    monkeypatch.setattr(file_readers, "CHUNK_ROWS", 2000)
    path = write_generic(tmp_path, *["x"] * 50_000)
    chunks = list(read_csv(open_csv(path), NAMES, True))
    assert max(len(chunk) for chunk in chunks) <= 2500
    assert sum(len(chunk) for chunk in chunks) == 50_000


def test_a_chunk_of_a_parquet_file_has_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_readers, "PARQUET_ROWS", 100)
    monkeypatch.setattr(file_readers, "PARQUET_BYTES", 250_000)
    for text in (pa.array(["y" * 1000] * 2000), pa.array(["y" * 1000] * 2000).dictionary_encode()):
        pq.write_table(pa.table({"asset_class": text}), tmp_path / "trades.parquet")
        chunks = list(read_parquet(tmp_path / "trades.parquet")[1])
        assert [len(chunk) for chunk in chunks] == [300] * 6 + [200]
        assert pa.concat_tables(chunks)["line"].to_pylist() == list(range(1, 2001))


def test_bad_lines_are_read_in_bounded_memory(tmp_path: Path) -> None:
    header = f"{HEADER}\n".encode()
    (tmp_path / "short.csv").write_bytes(header + b"x\n" * 2_000_000)
    (tmp_path / "commas.csv").write_bytes(header + (b"," * 99_999 + b"\n") * 60)
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from ohlcv.ingest.file_readers import open_csv, read_csv\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name in sys.argv[1:]:\n"
        f"    for chunk in read_csv(open_csv(Path(name)), {NAMES}, True): pass\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    files = [tmp_path / "short.csv", tmp_path / "commas.csv"]
    result = subprocess.run([sys.executable, "-c", script, *files], capture_output=True, text=True, check=False)
    # Megabytes. A list of strings per row took 800.
    assert int(result.stdout) < 300, result.stderr
