"""Findings of a check of tables: damaged files, what depends on them, and how to repair them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FileKind = Literal["catalog", "table", "metadata file", "manifest list", "manifest", "data file", "delete file"]


@dataclass(frozen=True)
class Damage:
    """A damaged file of a table or of the catalog, or a table that the catalog does not have."""

    # Full name. Empty for the catalog.
    table: str
    kind: FileKind
    path: str
    problem: str
    # What depends on the file.
    affects: str
    repair: str
    # Whether only earlier states of the table need the file.
    is_past: bool = False
    # Whether of the current states only that of a branch or tag needs the file, not that of main.
    is_beside: bool = False

    @property
    def line(self) -> str:
        """Return the damage in one line."""
        return f"{self.kind} {self.path} {self.problem}; affects {self.affects}; repair: {self.repair}"


@dataclass
class TableCheck:
    """Result for one table: what was read, and what is damaged."""

    table: str
    snapshots: int = 0
    manifests: int = 0
    # Data files and delete files of the retained snapshots, and those whose content was read.
    files: int = 0
    files_read: int = 0
    rows: int = 0
    bytes_read: int = 0
    # Files that were read whose pages have no checksums, so that a changed value in them can be missed.
    without_checksums: int = 0
    seconds: float = 0.0
    damages: list[Damage] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        """Return whether the current state of the table, or its metadata, is damaged."""
        return any(not damage.is_past for damage in self.damages)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self), "seconds": round(self.seconds, 3), "damaged": self.is_damaged}
