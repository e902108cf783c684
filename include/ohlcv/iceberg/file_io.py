"""File access of pyiceberg that checks metadata files when they are opened, and names a damaged file.

Data files are written with checksums of their pages, as Spark writes them, and the checksums are compared when files
are read: a changed bit is an error, not another value. pyiceberg has no setting for either.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BufferedWriter, BytesIO, FileIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyiceberg.io.pyarrow as pyiceberg_files
from pyarrow.fs import LocalFileSystem
from pyiceberg.io import InputStream, OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.manifest import FileFormat
from pyiceberg.serializers import Compressor, FromByteStream
from pyiceberg.typedef import Properties

from ohlcv.iceberg.avro_files import is_complete_avro
from ohlcv.iceberg.object_store import is_store_error
from ohlcv.model.errors import DamagedFileError, OhlcvError

_BUFFER_BYTES = 2**20

_writer_arguments = pyiceberg_files._get_parquet_writer_kwargs


def _with_page_checksums(table_properties: Properties) -> dict[str, Any]:
    return {**_writer_arguments(table_properties), "write_page_checksum": True}


pyiceberg_files._get_parquet_writer_kwargs = _with_page_checksums
_file_format = pyiceberg_files._get_file_format


@lru_cache
def _verifying_page_checksums(file_format: FileFormat, **options: Any) -> ds.FileFormat:
    checked = {"page_checksum_verification": True} if file_format == FileFormat.PARQUET else {}
    return _file_format(file_format, **checked, **options)


pyiceberg_files._get_file_format = _verifying_page_checksums


class CheckingFileIO(PyArrowFileIO):
    """Access to files by pyarrow. Opening a damaged metadata file raises OhlcvError."""

    def new_input(self, location: str) -> PyArrowFile:
        file = super().new_input(location)
        if location.endswith(".avro"):
            return _AvroFile(file.location, file._path, file._filesystem)
        if location.endswith(".metadata.json"):
            return _MetadataFile(file.location, file._path, file._filesystem)
        return file

    def new_output(self, location: str) -> PyArrowFile:
        file = super().new_output(location)
        return _LocalFile(file) if isinstance(file._filesystem, LocalFileSystem) else file


class _LocalFile(PyArrowFile):
    """A local file that is on the disk when it is closed.

    The databases of catalogs sync a commit. After a power loss it must not name files that the disk never got.
    """

    def __init__(self, file: PyArrowFile) -> None:
        super().__init__(file.location, file._path, file._filesystem)

    def create(self, overwrite: bool = False) -> OutputStream:
        path = Path(self._path)
        existing = next(folder for folder in path.parents if folder.exists())
        super().create(overwrite).close()
        return _SyncedStream(path, [folder for folder in path.parents if folder.is_relative_to(existing)])


class _SyncedStream(BufferedWriter):
    """A file that is synced when it is closed, with the entries of its folder and of new folders above it."""

    def __init__(self, path: Path, folders: list[Path]) -> None:
        super().__init__(FileIO(path, "w"), _BUFFER_BYTES)
        self._folders = folders

    def close(self) -> None:
        if self.closed:
            return
        try:
            self.flush()
            os.fsync(self.fileno())
        finally:
            super().close()
        for folder in self._folders:
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _AvroFile(PyArrowFile):
    """A manifest or a manifest list."""

    def open(self, seekable: bool = True) -> InputStream:
        with name_unreadable(self.location), super().open(seekable) as stream:
            data = stream.read()
        if not is_complete_avro(data):
            raise _content_error(self.location, data)
        return _stream(data)


class _MetadataFile(PyArrowFile):
    """The metadata file of a table version. FileNotFoundError is left to the caller: old ones are deleted."""

    def open(self, seekable: bool = True) -> InputStream:
        with super().open(seekable) as stream:
            data = stream.read()
        try:
            FromByteStream.table_metadata(BytesIO(data), compression=Compressor.get_compressor(self.location))
        except Exception:  # of the decompression, the text encoding, JSON or its values
            raise _content_error(self.location, data) from None
        return _stream(data)


def _stream(data: bytes) -> InputStream:
    stream: InputStream = pa.BufferReader(data)
    return stream


def _content_error(file: str, data: bytes) -> DamagedFileError:
    return DamagedFileError(file, "is truncated or damaged" if data else "is empty")


@contextmanager
def name_unreadable(file: str) -> Iterator[None]:
    """Convert an error of the block, which reads one file, to OhlcvError. Errors of an object store are unchanged."""
    try:
        yield
    except OhlcvError:
        raise
    except FileNotFoundError:
        raise DamagedFileError(file, "is missing") from None
    except PermissionError:
        raise OhlcvError(f"{file} cannot be read: grant access to it") from None
    except Exception as error:
        if is_store_error(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DamagedFileError(file, f"cannot be read ({reason})") from None
