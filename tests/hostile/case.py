"""One hostile case: commands, the surroundings in which they run, and what must be true afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# A stream of the command: read to its end, a reader that exits early, closed (`>&-`), /dev/full, or /dev/null.
Stream = Literal["pipe", "broken", "closed", "full", "null"]
# Where a command of the case may have to write: the disk of the tests, or the small disk of the site.
Disk = Literal["large", "small"]


@dataclass(frozen=True)
class Site:
    """Folders of one server. They have the same paths for every case, because tables contain absolute paths."""

    folder: Path
    # A mounted file system of a few megabytes, if the server may mount one.
    has_small_disk: bool = False
    # Whether the commands run as root without the right to ignore permissions; else they run as the user of the tests.
    drops_capabilities: bool = False
    # Answer of a server -> its port on this machine.
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def case(self) -> Path:
        """Return the working directory of the commands, which contains the files of the case."""
        return self.folder / "case"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def small(self) -> Path:
        return self.folder / "small"

    @property
    def disks(self) -> list[Disk]:
        return ["large", "small"] if self.has_small_disk else ["large"]

    def home(self, disk: Disk = "large") -> Path:
        return (self.small if disk == "small" else self.folder) / "home"


@dataclass
class Case:
    """One case. The defaults are harmless surroundings with a prepared home."""

    kind: str
    # Run one after another in the same surroundings.
    commands: list[list[str]]
    settings: dict[str, str] = field(default_factory=dict)
    disk: Disk = "large"
    stdin: Stream = "null"
    stdout: Stream = "pipe"
    stderr: Stream = "pipe"
    # Number of bytes after which the reader of a broken stream exits.
    broken_after: int = 0
    # Number of the signal, and seconds after the start of the command.
    signal: tuple[int, float] | None = None
    # Largest file that the command can write, in bytes.
    file_size_limit: int | None = None
    # Free space of the small disk, in bytes.
    free_bytes: int | None = None
    # Seconds for which another process locks the catalog.
    locked_seconds: float | None = None
    # Run without the right to ignore permissions.
    restricted: bool = False
    # The working directory is deleted before the command starts.
    removes_folder: bool = False
    # Changes the prepared home, after it was restored and before the command starts.
    prepare: Callable[[], None] | None = None
    # Exit codes that are right; by default all documented ones.
    codes: frozenset[int] | None = None
    # The last command must succeed, whatever the others do.
    completes: bool = False
    # Rows that all commands together load, if they end undisturbed. None: what their reports say.
    new_rows: int | None = None
    # Whether the trades table can be read before and after the case.
    is_readable: bool = True
    # Text that must not be printed.
    secret: str | None = None
    # What the case does, for the report.
    note: str = ""


Generator = Callable[[random.Random, Site], Case]


def chance(generator: random.Random, probability: float) -> bool:
    return generator.random() < probability
