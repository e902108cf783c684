"""Files that a write creates, recorded when they are created, so that a write that fails can remove them."""

from __future__ import annotations

import contextlib
import threading

from pyiceberg.io import PY_IO_IMPL, FileIO, InputFile, OutputFile, OutputStream
from pyiceberg.table import Table
from pyiceberg.typedef import EMPTY_DICT, Properties

_PROPERTY = "ohlcv.written-files"


class WrittenFiles:
    """The data, manifest and metadata files that are created through a table from now on until `detach`."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._files: list[OutputFile] = []
        self._lock = threading.Lock()
        self._removed = False
        self.io: FileIO = table.io
        self._catalog_properties = {name: table.catalog.properties.get(name) for name in (PY_IO_IMPL, _PROPERTY)}
        table.io = RecordingFileIO({**table.io.properties, _PROPERTY: self})
        # The catalog writes the metadata file of a commit, with a FileIO that it creates from these properties.
        table.catalog.properties.update({PY_IO_IMPL: f"{__name__}.{RecordingFileIO.__name__}", _PROPERTY: self})

    def create(self, file: OutputFile, overwrite: bool) -> OutputStream:
        """Open a new file and record it."""
        # Threads that write other data files may still run when the write has failed: they create no more files.
        with self._lock:
            if self._removed:
                raise OSError(f"{file.location} is not written: the write has failed")
            self._files.append(file)
            return file.create(overwrite)

    def detach(self) -> None:
        """Let the table and its catalog, which other writes may share, create files as before."""
        self._table.io = self.io
        for name, value in self._catalog_properties.items():
            if value is None:
                self._table.catalog.properties.pop(name, None)
            else:
                self._table.catalog.properties[name] = value

    def remove(self) -> None:
        """Remove the files. Files that cannot be removed stay until orphan files are removed."""
        with self._lock:
            self._removed = True
        for file in self._files:
            with contextlib.suppress(OSError):
                self.io.delete(file)


class RecordingFileIO(FileIO):
    """FileIO that records the files it creates, and otherwise is the FileIO of the table."""

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self._written: WrittenFiles = properties[_PROPERTY]
        self._io: FileIO = self._written.io

    def new_input(self, location: str) -> InputFile:
        """Return a file to read."""
        return self._io.new_input(location)

    def new_output(self, location: str) -> OutputFile:
        """Return a file that is recorded when it is created."""
        return _RecordedFile(self._io.new_output(location), self._written)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete a file."""
        self._io.delete(location)


class _RecordedFile(OutputFile):
    def __init__(self, file: OutputFile, written: WrittenFiles) -> None:
        super().__init__(file.location)
        self._file = file
        self._written = written

    def __len__(self) -> int:
        return len(self._file)

    def exists(self) -> bool:
        return self._file.exists()

    def to_input_file(self) -> InputFile:
        return self._file.to_input_file()

    def create(self, overwrite: bool = False) -> OutputStream:
        return self._written.create(self._file, overwrite)
