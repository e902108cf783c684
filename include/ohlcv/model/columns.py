"""Columns of tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column and its type in the notation of Iceberg."""

    name: str
    type: str
