"""A candle table with its ledger and the entries of its snapshot log that the ledger has not recorded yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pyiceberg.expressions import And, EqualTo
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.ledger_tables import read_publications
from ohlcv.iceberg.snapshot_log import Entry, unrecorded_entries
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.errors import InputError, UnknownSeriesError
from ohlcv.model.intervals import iso
from ohlcv.model.ledger_records import Ledger, Publication
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.scans import StoredCandles, compare, has_series, series_condition
from ohlcv.readers.versions import Versions


@dataclass(frozen=True)
class RecordedTable:
    """What is known of the states of a candle table."""

    timeframe: Timeframe
    table: Table
    revisions: Table
    # All publications, also those before a gap.
    publications: tuple[Publication, ...]
    ledger: Ledger
    # Entries of the snapshot log after the checkpoint, or all of them before the ledger began.
    entries: tuple[Entry, ...]

    @property
    def available_from(self) -> datetime | None:
        """Return the time from which the states of the table are known. None for a table without history."""
        if self.ledger.begins_at is not None and self._has_base:
            return self.ledger.begins_at
        return self.entries[0].visible_at if self.entries else None

    @property
    def known_until(self) -> datetime | None:
        """Return the time up to which the ledger knows all states, None if it has recorded all entries."""
        if not self.entries:
            return None
        # The earliest, because clocks of several clients may differ.
        times = [each.visible_at for each in self.entries]
        checkpoint = self.ledger.checkpoint
        return min([*times, checkpoint.visible_at] if checkpoint and self.entries[0].after_gap else times)

    def check_series(self, symbol: str | None, exchange: str | None) -> None:
        """Raise UnknownSeriesError if neither the table nor the ledger has a candle of a series."""
        if symbol is None and exchange is None:
            return
        condition = series_condition(symbol, exchange)
        recorded = And(condition, compare(EqualTo, "timeframe", self.timeframe.name))
        for table, of_series in ((self.table, condition), (self.revisions, recorded)):
            if has_series(table, of_series):
                return
        named = [f"symbol '{symbol}'"] if symbol is not None else []
        named += [f"exchange '{exchange}'"] if exchange is not None else []
        raise UnknownSeriesError(f"no {self.timeframe} candle has {' and '.join(named)}: correct the names")

    @property
    def _has_base(self) -> bool:
        checkpoint = self.ledger.checkpoint
        return checkpoint is not None and (
            checkpoint.snapshot is None or self.table.snapshot_by_id(checkpoint.snapshot) is not None
        )

    def versions(self) -> Versions:
        """Return the recorded versions of the candles. Raise InputError if they are not known."""
        checkpoint = self.ledger.checkpoint
        if checkpoint is None:
            raise InputError(
                f"the ledger of {self.timeframe} has not begun: run 'ohlcv ledger record', then ask for later times"
            )
        if not self._has_base:
            raise InputError(
                f"the snapshot of the ledger's newest publication of {self.timeframe} has expired, so earlier states "
                f"are unknown{self._from()}"
            )
        stored = StoredCandles(self.table, checkpoint.snapshot, is_empty=checkpoint.snapshot is None)
        return Versions(self.timeframe, self.ledger, stored, self.revisions)

    def as_of(self, moment: datetime) -> Entry | Publication:
        """Return what readers saw at a time. Raise InputError if that is not known."""
        position = max((at for at, each in enumerate(self.entries) if each.visible_at <= moment), default=-1)
        following = self.entries[position + 1] if position + 1 < len(self.entries) else None
        found = self.entries[position] if position >= 0 else self.ledger.as_of(moment)
        if found is None:
            raise InputError(f"{self.timeframe} candles as of {iso(moment)} are not known{self._from()}")
        is_last_known = position >= 0 or found is self.ledger.checkpoint
        if is_last_known and following is not None and following.after_gap:
            raise InputError(
                f"{self.timeframe} candles as of {iso(moment)} are not known, because snapshots expired before the "
                f"ledger recorded them: available from {iso(following.visible_at)}"
            )
        return found

    def as_of_snapshot(self, snapshot: int) -> Entry | Publication:
        """Return the newest publication of a snapshot. Raise InputError if readers never saw it."""
        for entry in reversed(self.entries):
            if entry.snapshot is not None and entry.snapshot.snapshot_id == snapshot:
                return entry
        for publication in reversed(self.ledger.publications):
            if publication.snapshot == snapshot:
                return publication
        if any(each.snapshot == snapshot for each in self.publications):
            raise InputError(f"snapshot {snapshot} of {self.timeframe} candles is before a gap{self._from()}")
        if self.table.snapshot_by_id(snapshot) is not None:
            raise InputError(
                f"snapshot {snapshot} of {self.timeframe} candles has not been published since the ledger began: "
                "give one that readers have seen"
            )
        raise InputError(f"unknown snapshot {snapshot} of {self.timeframe} candles: see 'ohlcv candles --history'")

    def _from(self) -> str:
        begin = self.available_from
        return ": the table has no history" if begin is None else f": available from {iso(begin)}"


def open_recorded_table(settings: Settings, timeframe: Timeframe) -> RecordedTable:
    """Return a candle table with its ledger."""
    catalog = open_catalog(settings)
    # In this order: the snapshot log has the checkpoint, and the table of revisions has those of all publications.
    publications = read_publications(settings, catalog, timeframe)
    table = load_table(catalog, settings.candles_contract(timeframe))
    revisions = load_table(catalog, settings.revisions_contract)
    ledger = Ledger.of(timeframe.name, publications)
    entries = unrecorded_entries(table, ledger)
    return RecordedTable(timeframe, table, revisions, tuple(publications), ledger, tuple(entries))
