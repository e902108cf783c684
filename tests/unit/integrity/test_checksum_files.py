"""Checksum files that Hadoop writes beside files: one changed bit of the file or of its checksum file is found."""

from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest

from ohlcv.integrity.checksum_files import check_checksum_file
from ohlcv.model.errors import DamagedFileError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "a.parquet"
    content = random.Random(1).randbytes(3 * 512 + 100)
    found.write_bytes(content)
    sums = b"".join(
        zlib.crc32(content[start : start + 512]).to_bytes(4, "big") for start in range(0, len(content), 512)
    )
    (tmp_path / ".a.parquet.crc").write_bytes(b"crc\0\0\0\2\0" + sums)
    return found


def test_an_unchanged_file_has_a_checksum_file(file: Path) -> None:
    assert check_checksum_file(file.as_uri())
    assert check_checksum_file(f"file:{file}")


def test_a_file_without_one_or_in_a_store_has_none(file: Path) -> None:
    assert not check_checksum_file((file.parent / "other.parquet").as_uri())
    assert not check_checksum_file("s3://bucket/a.parquet")


@pytest.mark.parametrize("name", ["a.parquet", ".a.parquet.crc"])
def test_every_changed_bit_is_found(file: Path, name: str) -> None:
    changed = file.with_name(name)
    content = changed.read_bytes()
    for position in random.Random(2).sample(range(len(content) * 8), min(len(content) * 8, 160)):
        bits = bytearray(content)
        bits[position // 8] ^= 1 << position % 8
        changed.write_bytes(bits)
        with pytest.raises(DamagedFileError, match=r"checksum file \.a\.parquet\.crc"):
            check_checksum_file(file.as_uri())


def test_a_truncated_file_and_an_empty_checksum_file_are_found(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1024])
    with pytest.raises(DamagedFileError, match="differs from its checksum file"):
        check_checksum_file(file.as_uri())
    file.with_name(".a.parquet.crc").write_bytes(b"")
    with pytest.raises(DamagedFileError, match="has the damaged checksum file"):
        check_checksum_file(file.as_uri())
