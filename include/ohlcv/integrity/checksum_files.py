"""Checksum files that Hadoop writes beside the files of a local warehouse: four bytes for each 512 bytes of a file.

Spark compares them when it reads a file. pyiceberg and native execution do not.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from ohlcv.config.locations import to_local_path
from ohlcv.model.errors import DamagedFileError

_MAGIC = b"crc\0"
_HEADER = struct.Struct(">4sI")


def check_checksum_file(location: str) -> bool:
    """Compare a local file with its checksum file. Return whether it has one. Raise DamagedFileError if they differ."""
    path = to_local_path(location)
    if path is None:
        return False
    file = Path(path)
    try:
        content = file.with_name(f".{file.name}.crc").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        raise DamagedFileError(location, f"has the damaged checksum file .{file.name}.crc")
    _, length = _HEADER.unpack_from(content)
    expected = memoryview(content)[_HEADER.size :]
    if not 0 < length <= 2**24 or _checksums(file, length) != expected:
        raise DamagedFileError(location, f"differs from its checksum file .{file.name}.crc")
    return True


def _checksums(file: Path, length: int) -> bytes:
    found = bytearray()
    with file.open("rb") as stream:
        # Whole parts of about a megabyte.
        while part := stream.read(max(1, 2**20 // length) * length):
            for start in range(0, len(part), length):
                found += zlib.crc32(part[start : start + length]).to_bytes(4, "big")
    return bytes(found)
