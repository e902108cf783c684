"""Changes of the schema of a trades table, as its owner makes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import pyarrow as pa

from ohlcv.iceberg.tables import open_catalog
from support.harness import Harness
from support.reference_model import Trade


@dataclass(frozen=True)
class Drift:
    """A change of the trades table by SQL, and what undoes it."""

    change: tuple[str, ...]
    # The problem that every reader and job reports; empty if they work as before.
    problem: str = ""
    repair: tuple[str, ...] = ()
    # Columns under which other writers store values after the change: name before -> name after.
    renamed: Mapping[str, str] = field(default_factory=dict)


def apply(harness: Harness, statements: Iterable[str]) -> None:
    """Run SQL statements on the trades table."""
    for statement in statements:
        harness.sql(statement)


def append_drifted(harness: Harness, drift: Drift, *trades: Trade) -> None:
    """Append trades as a writer that knows the changed table, in one commit."""
    table = open_catalog(harness.settings).load_table("market_data.gold_crypto_trades")
    rows = []
    for trade in trades:
        values = asdict(trade) | {"asset_class": "crypto"}
        rows.append({drift.renamed.get(name, name): value for name, value in values.items()})
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    harness.trades += trades
