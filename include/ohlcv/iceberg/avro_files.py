"""Completeness of Avro files: the manifest lists and manifests of Iceberg."""

from __future__ import annotations

from io import BytesIO

import fastavro


def is_complete_avro(data: bytes) -> bool:
    """Return whether an Avro file is complete. Iceberg and pyiceberg read a truncated one as one with fewer entries."""
    try:
        for _ in fastavro.block_reader(BytesIO(data)):
            pass
    except Exception:  # EOFError, ValueError, zlib.error and others
        return False
    return True
