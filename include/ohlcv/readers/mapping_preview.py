"""Preview of the mapping of a trades table: its first rows with the columns of the contract, and rejected trades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask

from ohlcv.iceberg.damage import report_damage, report_damaged_file
from ohlcv.model.source_hours import FIRST_DAY, HOURS_PER_DAY, LAST_DAY
from ohlcv.model.trade_layout import FIRST_HOUR, LAST_HOUR, MICROSECONDS_PER_HOUR
from ohlcv.model.trade_mapping import EXCHANGE_DATE, EXCHANGE_HOUR, SIDE, TIMESTAMP, TradeMapping
from ohlcv.model.trade_validity import HAS_IDENTITY, NO_HOUR, VALIDITY_CONDITIONS, WRONG_PARTITION
from ohlcv.readers.mapped_columns import AMOUNT_FAULT, hour_of_trade, projection
from ohlcv.readers.trades import TradesTable

SHOWN_ROWS = 10
REASON = "rejected"


@dataclass
class MappingPreview:
    """Rows that were read, by result, and the first of them with the columns of the contract."""

    table: str
    files: int
    files_read: int = 0
    # The last file was not read to its end.
    is_cut: bool = False
    rows_read: int = 0
    # Rows that a filter excludes: they are no trades.
    excluded: int = 0
    valid: int = 0
    # Valid trades by side, null for those without one; empty if the mapping has no side.
    sides: Counter[str | None] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    # With the reason of a rejected trade as `REASON`.
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Return whether all rows of the table were read."""
        return self.files_read == self.files and not self.is_cut

    def rejections(self) -> dict[str, int]:
        """Return the number of rejected trades by reason: the most frequent first, equal numbers by name."""
        return dict(sorted(self.rejected.items(), key=lambda item: (-item[1], item[0])))


def preview_mapping(trades: TradesTable, max_rows: int, show: Callable[[str], None] = lambda _: None) -> MappingPreview:
    """Read up to `max_rows` rows of the trades table, those of the files with the newest trades first."""
    scan = trades.table.scan(selected_fields=trades.mapping.source_columns)
    with report_damage(trades.table, scan):
        tasks = list(scan.plan_files())
    # Files without bounds last.
    newest = {task.file.file_path: trades.file_times(task.file)[1] for task in tasks}
    tasks.sort(key=lambda task: newest[task.file.file_path] or -(2**63), reverse=True)
    preview = MappingPreview(".".join(trades.table.name()), len(tasks))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for task in tasks:
            if preview.rows_read >= max_rows:
                break
            for batch in _batches(trades, task):
                if preview.rows_read >= max_rows:
                    preview.is_cut = True
                    break
                rows = pa.Table.from_batches([batch[: max_rows - preview.rows_read]])
                preview.is_cut = len(rows) < len(batch)
                _count(connection, rows, trades, preview)
                show(f"{preview.rows_read:,} rows read")
            preview.files_read += 1
    return preview


def _batches(trades: TradesTable, task: FileScanTask) -> Iterator[pa.RecordBatch]:
    table = trades.table
    schema = table.schema().select(*trades.mapping.source_columns)
    with report_damaged_file(table, task):
        yield from ArrowScan(table.metadata, table.io, schema, task.residual).to_record_batches([task])


def _count(connection: duckdb.DuckDBPyConnection, rows: pa.Table, trades: TradesTable, preview: MappingPreview) -> None:
    """Add rows of the table to a preview."""
    connection.register("source", rows)
    mapped = projection(trades.mapping, trades.kinds, "source", with_side=True)
    reason = rejection_reason(trades.mapping)
    counts = connection.execute(f"SELECT {reason}, {SIDE}, count(*) FROM ({mapped}) GROUP BY ALL").fetchall()
    found: Counter[str | None] = Counter()
    for rejection, side, count in counts:
        found[rejection] += count
        if rejection is None and SIDE in trades.mapping.sources:
            preview.sides[side] += count
    preview.rows_read += len(rows)
    preview.excluded += len(rows) - found.total()
    preview.valid += found.pop(None, 0)
    preview.rejected.update({name: count for name, count in found.items() if name is not None})
    if missing := SHOWN_ROWS - len(preview.rows):
        selected = f"SELECT * EXCLUDE ({AMOUNT_FAULT}), {reason} AS {REASON} FROM ({mapped}) LIMIT {missing}"
        preview.rows += connection.sql(selected).to_arrow_table().to_pylist()


def rejection_reason(mapping: TradeMapping) -> str:
    """Return the SQL of the reason why a trade is rejected, on the columns of the contract; null if it is valid."""
    identity = "true" if mapping.every_row else HAS_IDENTITY
    conditions = {reason: each.format(identity=identity) for reason, each in VALIDITY_CONDITIONS.items()}
    key, *others = conditions.items()
    cases = [
        _case(NO_HOUR, _has_hour(mapping)),
        _case(*key),
        f"WHEN {AMOUNT_FAULT} IS NOT NULL THEN {AMOUNT_FAULT}",
        *(_case(*each) for each in others),
    ]
    if mapping.has_hours:
        start = f"({hour_of_trade(mapping)}) * {MICROSECONDS_PER_HOUR}"
        cases.append(
            _case(WRONG_PARTITION, f'"{TIMESTAMP}" >= {start} AND "{TIMESTAMP}" < {start} + {MICROSECONDS_PER_HOUR}')
        )
    return f"CASE {' '.join(cases)} END"


def _case(reason: str, condition: str) -> str:
    return f"WHEN ({condition}) IS NOT TRUE THEN '{reason}'"


def _has_hour(mapping: TradeMapping) -> str:
    if mapping.has_hours:
        day = f"date_diff('day', DATE '1970-01-01', {EXCHANGE_DATE})"
        return f"{day} BETWEEN {FIRST_DAY} AND {LAST_DAY} AND {EXCHANGE_HOUR} BETWEEN 0 AND {HOURS_PER_DAY - 1}"
    first, end = FIRST_HOUR * MICROSECONDS_PER_HOUR, (LAST_HOUR + 1) * MICROSECONDS_PER_HOUR
    return f'"{TIMESTAMP}" >= {first} AND "{TIMESTAMP}" < {end}'
