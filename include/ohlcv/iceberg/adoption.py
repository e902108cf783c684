"""What would happen with the candle tables of the catalog, which others may have created. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Literal

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from ohlcv.config.maintained_tables import maintained_table
from ohlcv.config.settings import Settings
from ohlcv.iceberg.retention_plan import find_expired
from ohlcv.iceberg.snapshot_summary import newest_commit, read_checkpoint
from ohlcv.iceberg.tables import check_location, existing_tables, load_table, open_catalog
from ohlcv.model.build_planner import source_problem
from ohlcv.model.errors import MissingTableError, OhlcvError
from ohlcv.model.source_checkpoint import SourceIdentity
from ohlcv.model.table_contracts import TableContract, missing_snapshot_problem
from ohlcv.model.table_names import dotted
from ohlcv.model.timeframes import Timeframe

# missing: no such table. refused: jobs and commands stop. empty: no candles and no run yet. adopted: candles of others,
# and no run yet. in use: runs have built it.
State = Literal["missing", "refused", "empty", "adopted", "in use"]


@dataclass(frozen=True)
class Adoption:
    """State of one candle table, and what runs, retention and maintenance would do with it."""

    timeframe: str
    table: str
    state: State
    candles: int = 0
    oldest: date | None = None
    newest: date | None = None
    # Candles that the next retention run would delete.
    expired: int = 0
    effects: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {name: str(value) if isinstance(value, date) else value for name, value in asdict(self).items()}


def plan_adoption(settings: Settings, today: date) -> Iterator[Adoption]:
    """Yield the adoption of each candle table."""
    catalog = open_catalog(settings)
    source = _trades_source(settings, catalog)
    for timeframe in settings.timeframes.values():
        yield _plan(settings, catalog, source, timeframe, today)


def find_view_problems(settings: Settings) -> list[str]:
    """Return one line for each table that has the name of a view."""
    known = existing_tables(open_catalog(settings), settings.names)
    return [
        f"{dotted(view)} is a table, so the view of this name cannot be created: use 'ohlcv tables create --no-views'"
        for view in settings.names.views
        if view in known
    ]


def _trades_source(settings: Settings, catalog: Catalog) -> SourceIdentity | None:
    """Return what trades runs would read, None if the table cannot be read."""
    try:
        table = load_table(catalog, settings.trades_contract)
    except OhlcvError:
        return None
    return SourceIdentity(str(table.metadata.table_uuid), settings.trades_mapping.fingerprint())


def _plan(
    settings: Settings, catalog: Catalog, source: SourceIdentity | None, timeframe: Timeframe, today: date
) -> Adoption:
    contract = settings.candles_contract(timeframe)
    try:
        table = load_table(catalog, contract)
    except MissingTableError:
        return Adoption(timeframe.name, str(contract), "missing", effects=["'ohlcv tables create' creates it"])
    except OhlcvError as error:
        return Adoption(timeframe.name, str(contract), "refused", effects=[str(error)])
    [plan] = find_expired(table, maintained_table(settings, timeframe.name), today)
    state: State = "adopted" if plan.total_rows else "empty"
    checkpoint = read_checkpoint(table)
    if newest_commit(table) or checkpoint.trades_snapshot is not None:
        state = "in use"
    effects = list(_problems(settings, table, contract))
    if source is not None and checkpoint.source not in (None, source):
        effects.append(source_problem(timeframe, checkpoint.source, source))
    if effects:
        state = "refused"
    else:
        effects = list(_effects(table, contract, timeframe, state))
        if plan.rows:
            effects.append(f"retention ({timeframe.retention}) deletes the candles before {plan.cutoff}: {plan.rows:,}")
    return Adoption(timeframe.name, str(contract), state, plan.total_rows, plan.oldest, plan.newest, plan.rows, effects)


def _problems(settings: Settings, table: Table, contract: TableContract) -> Iterator[str]:
    """Yield each reason why jobs would not write to a table that matches its contract."""
    try:
        check_location(settings, table)
    except OhlcvError as error:
        yield str(error)
    if not settings.catalog.has_lock and table.current_snapshot() is None:
        yield missing_snapshot_problem(contract)
    if required := [
        each.name for each in table.schema().fields if each.required and each.name not in contract.column_names
    ]:
        yield (
            f"{contract} does not allow null in the additional column {', '.join(required)}: "
            "allow it with ALTER TABLE … ALTER COLUMN … DROP NOT NULL"
        )


def _effects(table: Table, contract: TableContract, timeframe: Timeframe, state: State) -> Iterator[str]:
    """Yield what runs and maintenance would do with a table."""
    if state == "adopted":
        minutes = int(timeframe.lookback.total_seconds()) // 60
        yield (
            f"the first scheduled run builds only its lookback ({minutes:,} minutes) and replaces candles that differ "
            "from the trades; older candles stay until ohlcv_reprocess or 'ohlcv build' covers them"
        )
        yield "'ohlcv validate' compares the stored candles with the trades; other writers of the table must stop"
    names = table.schema().column_names
    if contract.is_extended(names):
        yield "it has measures: candles that a run rebuilds get those of their trades, others keep what is stored"
    known = {*contract.column_names, *(column.name for column in contract.extension)}
    if extra := [name for name in names if name not in known]:
        yield f"candles that a run rebuilds have null in the additional column {', '.join(extra)}"
    if table.properties.get("gc.enabled") == "false":
        yield "maintenance expires nothing, because the table has gc.enabled=false"
    elif state == "adopted":
        yield f"maintenance expires old snapshots and deletes files in {table.location()} that no snapshot references"
