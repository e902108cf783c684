"""Thread that keeps the indexes of all tables up to date, so that no request waits for the catalog."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import GreaterThanOrEqual
from pyiceberg.manifest import ManifestContent
from pyiceberg.table import Table
from pyiceberg.types import DateType

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import catalog_errors, describe_catalog_error
from ohlcv.iceberg.tables import load_table, metadata_locations, open_catalog
from ohlcv.model.errors import MissingTableError, OhlcvError
from ohlcv.model.intervals import EPOCH, to_microseconds
from ohlcv.model.source_hours import HOURS_PER_DAY, hour_number
from ohlcv.model.table_contracts import TableContract
from ohlcv.model.table_names import Identifier
from ohlcv.model.timeframes import DAY
from ohlcv.readers.scans import compare
from ohlcv.readers.trades import TradesTable, load_trades
from ohlcv.web.table_index import TableIndex, build_index

REFRESH_SECONDS = 5.0
# An index that has not been confirmed for this long is stale, also while the catalog still has not answered.
STALE_SECONDS = 30.0
# Days of trades in their index: provisional candles use at most two days (provisional.py).
_TRADE_DAYS = 3
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)

_log = logging.getLogger(__name__)


class NoAnswerError(OhlcvError):
    """The catalog has not answered since the start."""


@dataclass
class _Entry:
    contract: TableContract
    index: TableIndex | None = None
    # Why the last refresh failed; None if it did not.
    problem: str | None = None
    # Monotonic time of the last refresh that succeeded.
    confirmed: float | None = None


class IndexRefresher:
    """Indexes of all tables. An error keeps the last index, which is stale then."""

    def __init__(
        self,
        settings: Settings,
        *,
        interval: float = REFRESH_SECONDS,
        wait: float = 10.0,
        after_refresh: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`wait`: seconds that the first requests wait for the first refresh.

        `after_refresh` is called in the thread after each refresh, with the monotonic time of the next one.
        """
        self._settings = settings
        self._interval = interval
        self._wait = wait
        self._after_refresh = after_refresh
        self._catalog: Catalog | None = None
        self._entries = {contract.identifier: _Entry(contract) for contract in settings.contracts()}
        self._refreshing = threading.Lock()
        self._refreshed = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. It does not delay the end of the process, also while the catalog does not answer."""
        self._thread = threading.Thread(target=self._run, name="index refresher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after its current step."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(self._wait)

    def index(self, table: Identifier) -> TableIndex | None:
        """Return the last index of a table; None if the table does not exist.

        Raise OhlcvError if there is none because the catalog or the table cannot be read.
        """
        if not self._refreshed.wait(self._wait):
            raise NoAnswerError(f"the catalog {self._settings.catalog} does not answer: try again, see 'ohlcv doctor'")
        entry = self._entries[table]
        if entry.index is None and entry.problem is not None:
            raise OhlcvError(entry.problem)
        return entry.index

    def last_index(self, table: Identifier) -> TableIndex | None:
        """Return the last index of a table, None if there is none. Does not wait."""
        return self._entries[table].index

    def stale_seconds(self, table: Identifier) -> float | None:
        """Return the age of an index that the last refresh did not confirm; None if it is up to date."""
        entry = self._entries[table]
        if entry.confirmed is None:
            return None
        age = time.monotonic() - entry.confirmed
        return age if entry.problem is not None or age > max(STALE_SECONDS, 3 * self._interval) else None

    def refresh(self) -> None:
        """Read the catalog, and plan the files of each table that has changed."""
        with self._refreshing:
            try:
                catalog = self._catalog = self._catalog or open_catalog(self._settings)
                locations = metadata_locations(catalog, self._settings.names)
            except Exception as error:  # reported by each request
                self._fail(list(self._entries.values()), error)
            else:
                for entry in self._entries.values():
                    if self._closing.is_set():
                        return
                    try:
                        self._refresh(entry, catalog, locations)
                    except Exception as error:  # the other tables may be readable
                        self._fail([entry], error)
            self._refreshed.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            next_time = time.monotonic() + self._interval
            self.refresh()
            try:
                self._after_refresh(next_time)
            except Exception:  # the next refresh must happen
                _log.exception("the step after a refresh failed")
            self._closing.wait(max(0.0, next_time - time.monotonic()))

    def _refresh(self, entry: _Entry, catalog: Catalog, locations: dict[Identifier, str] | None) -> None:
        known = entry.index
        table = entry.contract.identifier
        if locations is not None and known is not None and locations.get(table) == known.table.metadata_location:
            found: TableIndex | None = known
        else:
            try:
                found = _updated_index(_load(catalog, entry.contract), entry.contract, known)
            except MissingTableError:
                found = None
        entry.index, entry.problem, entry.confirmed = found, None, time.monotonic()

    def _fail(self, entries: list[_Entry], error: Exception) -> None:
        if isinstance(error, catalog_errors()):
            self._catalog = None
            problem = describe_catalog_error(self._settings, error)
        elif isinstance(error, OhlcvError):
            problem = str(error)
        else:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            problem = f"the tables cannot be read ({reason}): see 'ohlcv doctor'"
        for entry in entries:
            if problem != entry.problem:
                _log.warning("%s: %s", entry.contract, problem)
            entry.problem = problem


def _load(catalog: Catalog, contract: TableContract) -> Table:
    return load_trades(catalog, contract).table if contract.holds_trades else load_table(catalog, contract)


def _updated_index(table: Table, contract: TableContract, known: TableIndex | None) -> TableIndex:
    """Return the index of a table. Only another snapshot or schema needs a new plan."""
    snapshot = table.current_snapshot()
    identity = (None if snapshot is None else snapshot.snapshot_id, table.schema().schema_id)
    if known is not None and known.identity == identity:
        return dataclasses.replace(known, table=table)
    if not contract.holds_trades:
        return build_index(table, contract)
    if contract.mapping.is_default:
        return build_index(table, contract, compare(GreaterThanOrEqual, "exchange_date", _first_trade_day(table)))
    now = datetime.now(UTC)
    present = hour_number(now)
    trades = TradesTable(table, contract.mapping)
    recent = trades.time_condition(to_microseconds(now - _TRADE_DAYS * DAY), to_microseconds(_LATEST))
    index = build_index(table, contract, recent)
    if any(file.hours and file.hours[0] <= present for file in index.files):
        return index
    # Where another layout has its newest trades is known only from all manifests.
    index = build_index(table, contract)
    newest = max((file.hours[-1] for file in index.files if file.hours and file.hours[-1] <= present), default=0)
    first = newest - _TRADE_DAYS * HOURS_PER_DAY
    return dataclasses.replace(
        index, files=tuple(file for file in index.files if file.hours and file.hours[-1] > first)
    )


def _first_trade_day(table: Table) -> date:
    """Return the first of the newest days with trades, by the partition bounds of the manifests, or an earlier day.

    Other writers may store a day after today. The manifest with such a day does not tell its newest past day.
    """
    today = (datetime.now(UTC).date() - EPOCH.date()).days
    snapshot = table.current_snapshot()
    manifests = [] if snapshot is None else snapshot.manifests(table.io)
    bounds = [
        each.partitions[0].upper_bound
        for each in manifests
        if each.content == ManifestContent.DATA and each.partitions and each.partitions[0].upper_bound
    ]
    days: list[int] = [from_bytes(DateType(), bound) for bound in bounds]  # type: ignore[misc]  # the type of a date
    newest = max((day for day in days if 0 <= day <= today), default=today)
    return EPOCH.date() + (newest - _TRADE_DAYS + 1) * DAY
