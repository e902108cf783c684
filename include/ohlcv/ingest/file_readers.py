"""Readers for trade files: plain, gzip and zip CSV, and Parquet, as Arrow tables with line numbers.

One CSV row is one line, so a row's number is the line number that an editor shows. Readers check only the form of a
file; `row_validation` checks the values.
"""

from __future__ import annotations

import csv
import gzip
import lzma
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

# A chunk of a file ends with the read that reaches one of these limits, so memory does not depend on the content
# or on the compression of a file. 24 MiB are about half a million lines of a typical dump.
BLOCK_BYTES = 24 * 1024 * 1024
CHUNK_ROWS = 500_000
READ_BYTES = 1024 * 1024
# A chunk of a Parquet file is read in parts, because the size of its values is known only when they are decoded.
PARQUET_ROWS = 10_000
PARQUET_BYTES = 4 * BLOCK_BYTES
# Rows with quotation marks are parsed in Python, this many at a time.
QUOTED_ROWS = 20_000
MAX_LINE_BYTES = 1024 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The csv module's limit for one field is 131,072 characters.
csv.field_size_limit(MAX_LINE_BYTES)
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
    try:
        if path.is_dir():
            raise InputError(f"{path} is a directory: give the files in it")
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
        offset = pc.index(pc.not_equal(texts, ""), True).as_py()
        if offset >= 0:
            text = texts[offset].as_py()
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


def read_all(path: Path) -> bytes:
    """Return the content of a small file, such as a JSON document, decompressed."""
    with _input_errors(path), _open_decompressed(path) as file:
        content = file.read(BLOCK_BYTES + 1)
    if len(content) > BLOCK_BYTES:
        raise InputError(f"{path} is larger than {BLOCK_BYTES // 2**20} MiB: split it")
    content = content.removeprefix(BYTE_ORDER_MARK)
    with _input_errors(path):
        content.decode("utf-8")
    return content


def read_parquet(path: Path) -> tuple[pa.Schema, Iterator[pa.Table]]:
    """Return a Parquet file's schema and its rows in chunks; the line of a row is its row number."""
    # Opened by Python, because Arrow opens only names that are UTF-8.
    with _input_errors(path), path.open("rb") as file:
        schema = pq.read_schema(file)

    def chunks() -> Iterator[pa.Table]:
        line = 1
        for parts in _parquet_parts(path):
            chunk = pa.concat_tables(parts)
            yield _with_line_numbers(chunk, pa.array(np.arange(line, line + len(chunk))))
            line += len(chunk)

    return schema, chunks()


def _parquet_parts(path: Path) -> Iterator[list[pa.Table]]:
    """Yield lists of small tables that reach one of the limits of a chunk together."""
    parts: list[pa.Table] = []
    with _input_errors(path), path.open("rb") as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=PARQUET_ROWS):
            parts.append(_decode_dictionaries(pa.Table.from_batches([batch])))
            if sum(part.nbytes for part in parts) >= PARQUET_BYTES or len(parts) * PARQUET_ROWS >= CHUNK_ROWS:
                yield parts
                parts = []
    if parts:
        yield parts


def _decode_dictionaries(table: pa.Table) -> pa.Table:
    # A dictionary may stand for values of any total size.
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table


@contextmanager
def _input_errors(path: Path) -> Iterator[None]:
    """Convert the errors of reading a corrupt file to an InputError of one line that names the file."""
    try:
        yield
    except EOFError:
        raise InputError(f"{path} is truncated") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
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
    first_line = 1
    with _input_errors(path), _open_decompressed(path) as file:
        block = bytearray(file.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK))
        lines = 0
        while data := file.read(READ_BYTES):
            block += data
            lines += data.count(b"\n")
            if len(block) < BLOCK_BYTES and lines < CHUNK_ROWS:
                continue
            cut = block.rfind(b"\n") + 1
            yield first_line, _split_lines(path, first_line, bytes(block[: cut or len(block)]))
            first_line, lines = first_line + lines, 0
            del block[:cut]
        if block:
            yield first_line, _split_lines(path, first_line, bytes(block))


def _split_lines(path: Path, first_line: int, block: bytes) -> pa.Array:
    # Built from the offsets of the line ends: ten times as fast as splitting one long string.
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate(([0], ends, [len(block)] if not block.endswith(b"\n") else [])).astype(np.int32)
    long_lines = np.flatnonzero(np.diff(offsets) > MAX_LINE_BYTES)
    if len(long_lines):
        line = first_line + long_lines[0]
        raise InputError(f"{path} is not a CSV file: line {line} is longer than {MAX_LINE_BYTES:,} bytes")
    block.decode("utf-8")  # validates the bytes; Arrow does not
    texts = pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(block))
    return pc.ascii_trim_whitespace(texts)


def _parse_lines(texts: pa.Array, line: int, names: list[str]) -> pa.Table:
    """Split lines into the named columns; lines that do not match keep their number and get a problem text."""
    numbers = pa.array(np.arange(line, line + len(texts)))
    blank = pc.equal(texts, "")
    quoted = pc.match_substring(texts, '"')
    # Commas are counted before the lines are split: a line may consist of a million of them.
    counts = pc.add(pc.count_substring(texts, ","), 1)
    unmatched = pc.and_not(pc.and_not(pc.not_equal(counts, len(names)), quoted), blank)
    regular = pc.invert(pc.or_(pc.or_(unmatched, quoted), blank))
    values = pc.split_pattern(texts.filter(regular), ",").flatten()
    strides = np.arange(0, len(values), len(names))
    columns = [pc.ascii_trim_whitespace(values.take(pa.array(strides + index))) for index in range(len(names))]
    chunk = _with_line_numbers(pa.table(columns, names=names), numbers.filter(regular))
    if not pc.any(pc.or_(unmatched, quoted)).as_py():
        return chunk
    counts = counts.filter(unmatched)
    problems = pc.binary_join_element_wise(counts.cast(pa.string()), f"fields, expected {len(names)}", " ")
    nothing = pa.table([pa.nulls(len(counts), pa.string())] * len(names), names=names)
    parts = [chunk, _with_line_numbers(nothing, numbers.filter(unmatched), problems)]
    texts, numbers = texts.filter(quoted), numbers.filter(quoted)
    for start in range(0, len(texts), QUOTED_ROWS):
        rows = [_parse_quoted_line(text, names) for text in texts.slice(start, QUOTED_ROWS).to_pylist()]
        columns = [pa.array([row[index] for row in rows], pa.string()) for index in range(len(names) + 1)]
        part = pa.table(columns[:-1], names=names)
        parts.append(_with_line_numbers(part, numbers.slice(start, QUOTED_ROWS), columns[-1]))
    return pa.concat_tables(parts).sort_by(LINE)


def _with_line_numbers(chunk: pa.Table, lines: pa.Array, problems: pa.Array | None = None) -> pa.Table:
    problems = pa.nulls(len(chunk), pa.string()) if problems is None else problems
    return chunk.append_column(LINE, lines).append_column(PROBLEM, problems)


def _parse_quoted_line(text: str, names: list[str]) -> list[Any]:
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
