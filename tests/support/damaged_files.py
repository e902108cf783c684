"""Damage of files in tests: one changed bit, also one that only the comparison of checksums notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def flip_bit(content: bytes, bit: int) -> bytes:
    """Return the content with one changed bit."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def find_silent_change(path: Path, *, within_bounds: bool = False) -> bytes:
    """Return a Parquet file with one changed bit, which a reader that compares no checksums takes for other values.

    Within bounds, the smallest and the largest value of each column are the same.
    """
    content = path.read_bytes()
    values = pq.read_table(pa.BufferReader(content))
    for position in range(4, len(content)):
        changed = flip_bit(content, position * 8 + 2)
        with suppress(OSError, ValueError):
            others = pq.read_table(pa.BufferReader(changed))
            if not others.equals(values) and not (within_bounds and _bounds(others) != _bounds(values)):
                return changed
    raise AssertionError("every change is an error")


def _bounds(rows: pa.Table) -> list[pa.Scalar]:
    return [pc.min_max(column) for column in rows.columns if not pa.types.is_nested(column.type)]


def checksum_file(path: Path) -> Path:
    """Return the file with checksums that Hadoop writes beside a file."""
    return path.with_name(f".{path.name}.crc")


@contextmanager
def damaged(path: Path, change: Callable[[bytes], bytes] | None) -> Iterator[None]:
    """Change a file inside the block, or remove it without a change, and restore it afterwards."""
    content = path.read_bytes()
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(content))
    try:
        yield
    finally:
        path.write_bytes(content)
