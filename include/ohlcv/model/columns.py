"""Columns of tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column and its type in the notation of Iceberg."""

    name: str
    type: str

    @property
    def spark_type(self) -> str:
        """Return the type in the notation of Spark SQL. Only times have another name there."""
        return "timestamp" if self.type == "timestamptz" else self.type
