"""Readers for trade files: plain, gzip and zip CSV, and Parquet, as Arrow tables with line numbers.

One CSV row is one line, so a row's number is the line number that an editor shows. Readers check only the form of a
file; `row_validation` checks the values.
"""

from __future__ import annotations

import csv
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ohlcv.model.errors import InputError

# About half a million lines of a typical dump: the amount of text in memory at a time.
BLOCK_BYTES = 24 * 1024 * 1024
CHUNK_ROWS = 500_000
# Columns that every chunk has in addition to the columns of the file.
LINE, PROBLEM = "line", "problem"


@dataclass(frozen=True)
class CsvFile:
    """A CSV file: its first row split into fields, and the line number of that row."""

    path: Path
    first_row: list[str]
    first_line: int


def is_parquet(path: Path) -> bool:
    """Return whether the file's first bytes are those of Parquet; raise an error if it is not a readable file."""
    if path.is_dir():
        raise InputError(f"{path} is a directory: give the files in it")
    try:
        if not path.is_file():
            raise InputError(f"{path} does not exist or is not a regular file")
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if not magic:
        raise InputError(f"{path} is empty")
    if magic != b"PAR1" and path.suffix == ".parquet":
        raise InputError(f"{path} is not a Parquet file")
    return magic == b"PAR1"


def open_csv(path: Path) -> CsvFile:
    """Read the first row of a CSV file, which may be a header."""
    for line, texts in _line_blocks(path):
        for offset, text in enumerate(texts):
            if text := text.as_py().strip():
                return CsvFile(path, _parse_quoted(text) or [text], line + offset)
    raise InputError(f"{path} is empty")


def read_csv(file: CsvFile, names: list[str], has_header: bool) -> Iterator[pa.Table]:
    """Yield the rows of a CSV file in chunks of text columns; blank lines are skipped but counted as lines."""
    start = file.first_line + has_header
    for line, texts in _line_blocks(file.path):
        if line + len(texts) <= start:
            continue
        skipped = max(0, start - line)
        yield _parse_lines(texts.slice(skipped), line + skipped, names)


def read_parquet(path: Path) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """Return a Parquet file's schema and its rows in chunks; the line of a row is its row number."""
    with _input_errors(path):
        file = pq.ParquetFile(path)

    def chunks() -> Iterator[pa.Table]:
        line = 1
        with _input_errors(path):
            for batch in file.iter_batches(batch_size=CHUNK_ROWS):
                chunk = pa.Table.from_batches([batch])
                yield _with_line_numbers(chunk, pa.array(np.arange(line, line + len(chunk))))
                line += len(chunk)

    return file.schema_arrow, chunks()


@contextmanager
def _input_errors(path: Path) -> Iterator[None]:
    """Convert the errors of reading a corrupt file to an InputError of one line that names the file."""
    try:
        yield
    except EOFError:
        raise InputError(f"{path} is truncated") from None
    except (zipfile.BadZipFile, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is corrupt: {error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    except (NotImplementedError, RuntimeError) as error:  # zip: unsupported compression method, or a password
        raise InputError(f"{path} cannot be decompressed: {error}") from None
    except (pa.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read: {reason}") from None


@contextmanager
def _open_decompressed(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as raw:
        magic = raw.read(4)
        raw.seek(0)
        if magic.startswith(b"\x1f\x8b"):
            with gzip.open(raw) as decompressed:
                yield decompressed  # type: ignore[misc]  # GzipFile reads bytes but is not declared as IO[bytes]
        elif magic in (b"PK\x03\x04", b"PK\x05\x06") or path.suffix == ".zip":
            with zipfile.ZipFile(raw) as archive:
                # Archives made on macOS contain a metadata copy of every file in __MACOSX/.
                members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
                if len(members) != 1:
                    raise InputError(f"{path} contains {len(members)} files: a zip archive must contain one CSV file")
                with archive.open(members[0]) as decompressed:
                    yield decompressed
        else:
            yield raw


def _line_blocks(path: Path) -> Iterator[tuple[int, pa.Array]]:
    """Yield blocks of whole lines, each with the number of its first line."""
    line, rest = 1, b""
    with _input_errors(path), _open_decompressed(path) as file:
        while block := file.read(BLOCK_BYTES):
            block = rest + block
            if line == 1 and block.startswith(b"\xef\xbb\xbf"):
                block = block[3:]  # byte order mark
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if not cut:
                if len(rest) > BLOCK_BYTES:
                    raise InputError(f"{path} is not a CSV file: line {line} is longer than {BLOCK_BYTES:,} bytes")
                continue
            texts = _split_lines(block[:cut])
            yield line, texts
            line += len(texts)
        if rest:
            yield line, _split_lines(rest)


def _split_lines(block: bytes) -> pa.Array:
    # Built from the offsets of the line ends: ten times as fast as splitting one long string.
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate(([0], ends, [len(block)] if not block.endswith(b"\n") else [])).astype(np.int32)
    block.decode("utf-8")  # validates the bytes; Arrow does not
    texts = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(block))
    return pc.ascii_trim_whitespace(texts)


def _parse_lines(texts: pa.Array, line: int, names: list[str]) -> pa.Table:
    """Split lines into the named columns; lines that do not match keep their number and get a problem text."""
    numbers = pa.array(np.arange(line, line + len(texts)))
    quoted = pc.match_substring(texts, '"')
    fields = pc.split_pattern(texts, ",")
    counts = pc.list_value_length(fields)
    regular = pc.and_not(pc.equal(counts, len(names)), quoted)
    if len(names) == 1:
        regular = pc.and_(regular, pc.not_equal(texts, ""))
    values = fields.filter(regular).flatten()
    strides = np.arange(0, len(values), len(names))
    columns = [pc.ascii_trim_whitespace(values.take(pa.array(strides + index))) for index in range(len(names))]
    chunk = _with_line_numbers(pa.table(columns, names=names), numbers.filter(regular))
    # The few remaining lines that are not blank: with quotation marks, or with too many or too few fields.
    irregular = pc.and_not(pc.invert(regular), pc.equal(texts, ""))
    if not pc.any(irregular).as_py():
        return chunk
    rows = [_parse_irregular_line(text, names) for text in texts.filter(irregular).to_pylist()]
    columns = [pa.array([row[index] for row in rows], pa.string()) for index in range(len(names) + 1)]
    others = _with_line_numbers(pa.table(columns[:-1], names=names), numbers.filter(irregular), columns[-1])
    return pa.concat_tables([chunk, others]).sort_by(LINE)


def _with_line_numbers(chunk: pa.Table, lines: pa.Array, problems: pa.Array | None = None) -> pa.Table:
    problems = pa.nulls(len(chunk), pa.string()) if problems is None else problems
    return chunk.append_column(LINE, lines).append_column(PROBLEM, problems)


def _parse_irregular_line(text: str, names: list[str]) -> list[Any]:
    fields = _parse_quoted(text)
    if fields is None:
        return [None] * len(names) + ["a quoted field is not closed on its line"]
    if len(fields) != len(names):
        return [None] * len(names) + [f"{len(fields)} fields, expected {len(names)}"]
    return [field.strip() for field in fields] + [None]


def _parse_quoted(text: str) -> list[str] | None:
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error:
        return None
