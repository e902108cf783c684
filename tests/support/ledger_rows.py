"""Rows of the ledger, added to its real tables without a recording."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from ohlcv.config.maintained_tables import MaintainedTable, maintained_table
from ohlcv.config.settings import Settings
from ohlcv.iceberg.tables import load_table, open_catalog


def add_ledger_rows(settings: Settings, name: str, timeframe: str, *times: str, **values: Any) -> None:
    """Add a row for each time to a table of the ledger, numbered from 1, one file per month, in one commit.

    Uses `add_files`, because `append` needs pyiceberg-core to partition by month.
    """
    maintained = maintained_table(settings, name)
    table = load_table(open_catalog(settings), maintained.contract)
    schema = pa.schema([(field.name, field.type) for field in table.schema().as_arrow()])
    rows = [_row(maintained, timeframe, number, time) | values for number, time in enumerate(times, 1)]
    files = []
    for _, month in groupby(
        rows, key=lambda row: (row[maintained.time_column].year, row[maintained.time_column].month)
    ):
        file = settings.home / f"{name}-{uuid4()}.parquet"
        pq.write_table(pa.Table.from_pylist(list(month), schema=schema), file)
        files.append(file.as_uri())
    table.add_files(files, check_duplicate_files=False)


def _row(maintained: MaintainedTable, timeframe: str, number: int, time: str) -> dict[str, Any]:
    number_column = "number" if maintained.name == "publications" else "publication"
    at = datetime.fromisoformat(time).replace(tzinfo=UTC)
    return {"timeframe": timeframe, number_column: number, maintained.time_column: at}
