"""Record of the scans of a test."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import DataScan

from support.candle_rows import Scan


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[Scan]:
    """Record every scan that reads files."""
    recorded: list[Scan] = []
    original = DataScan.to_arrow

    def to_arrow(scan: DataScan, *arguments: Any) -> pa.Table:
        recorded.append((scan.selected_fields, sorted(task.file.partition[0] for task in scan.plan_files())))
        return original(scan, *arguments)

    monkeypatch.setattr(DataScan, "to_arrow", to_arrow)
    return recorded
