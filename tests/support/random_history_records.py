"""Recordings of a random history: ledger and coverage are compared with what readers saw and with the rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ohlcv.iceberg.ledger_tables import read_publications
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.ledger.expiry import try_record
from ohlcv.model.source_hours import hour_number
from ohlcv.readers.point_in_time import read_past_candles
from support.coverage_site import CoverageSite
from support.harness import Harness, Stored, row_to_stored
from support.random_history_source import SourceTable
from support.random_history_tables import CandleTable, HistoryError, Publication, Totals, counted, revision_of
from support.reference_model import Key

# Moments of each table at which the past is read again.
MAX_MOMENTS = 2


@dataclass(frozen=True)
class Moment:
    """What a reader saw at a time."""

    time: datetime
    candles: dict[Key, Stored]


class Records:
    """The ledger of all candle tables and the coverage."""

    def __init__(
        self, harness: Harness, source: SourceTable, tables: Mapping[str, CandleTable], totals: Totals
    ) -> None:
        self._harness = harness
        self._source = source
        self._tables = tables
        self._totals = totals
        self._coverage = CoverageSite(harness.settings)
        # The publications that the ledger must have of each table, and those of them that are recorded.
        self._expected: dict[str, list[Publication]] = {}
        self._seen: dict[str, int] = {}
        self._moments: defaultdict[str, list[Moment]] = defaultdict(list)

    def observe(self) -> None:
        """Remember what readers see now."""
        now = datetime.now(UTC)
        for name, table in self._tables.items():
            moments = self._moments[name]
            if not moments or moments[-1].candles is not table.seen:
                moments.append(Moment(now, table.seen))

    def record(self, name: str, now: datetime) -> None:
        """Record the ledger of a timeframe, or without a name the coverage, and compare it."""
        if name:
            self._record_ledger(self._tables[name])
        else:
            self._record_coverage(now)

    def _record_coverage(self, now: datetime) -> None:
        self._coverage.now = now
        self._coverage.trades = self._source.rows_of_hours_until(hour_number(now))
        self._coverage.record()
        self._coverage.assert_recorded()
        self._totals.facts += len(self._coverage.recorded)

    def _record_ledger(self, table: CandleTable) -> None:
        attempt = try_record(self._harness.settings, table.model.timeframe)
        assert attempt.error is None, attempt.error
        assert attempt.report is not None
        assert attempt.report.gap is None, "the ledger has a gap"
        name = table.name
        expected = self._expected.setdefault(name, [])
        if name not in self._seen:
            # The ledger begins with the newest state, which is that of a table without a snapshot, too.
            self._seen[name] = len(table.publications)
            base = table.publications[-1] if table.publications else None
            expected.append(Publication(base.snapshot if base else 0, "first", {}, table.seen))
            self._moments[name] = []
        expected += table.publications[self._seen[name] :]
        self._seen[name] = len(table.publications)
        self._assert_recorded(table, expected)
        self._assert_past(table)

    def _assert_recorded(self, table: CandleTable, expected: list[Publication]) -> None:
        settings = self._harness.settings
        found = read_publications(settings, open_catalog(settings), table.model.timeframe)
        wanted = [_recorded(each) for each in expected]
        recorded = [(each.snapshot or 0, each.trigger, (each.inserted, each.updated, each.deleted)) for each in found]
        if recorded != wanted:
            raise HistoryError(f"the ledger of {table.name} has {recorded} instead of {wanted}")
        revisions = load_table(open_catalog(settings), settings.revisions_contract)
        rows: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in revisions.scan(f"timeframe = '{table.name}'").to_arrow().to_pylist():
            rows[row["publication"]].append(row)
        for number, each in enumerate(expected, 1):
            self._assert_revisions(table, each, rows.pop(number, []))
        assert not rows, f"{table.name}: revisions of unknown publications {sorted(rows)}"
        self._totals.publications += len(expected)

    def _assert_revisions(self, table: CandleTable, publication: Publication, rows: list[dict[str, Any]]) -> None:
        """Compare the values before each change. The insertions of a run have no rows."""
        before, after = publication.before, publication.after
        wanted: Counter[Any] = Counter()
        if publication.trigger not in ("first", "retention", "maintenance"):
            for key, stored in before.items():
                new = after.get(key)
                if new is None or revision_of(new) != revision_of(stored):
                    wanted["deleted" if new is None else "updated", key, revision_of(stored)] += 1
        found: Counter[Any] = Counter()
        for row in rows:
            if row["change"] != "inserted":
                stored = row_to_stored({**row, "window_date": row["window_start"].date()})
                candle = stored.candle
                key = candle.symbol, candle.exchange, candle.window_start_us
                found[row["change"], key, revision_of(stored)] += 1
        if found != wanted:
            missing, extra = list((wanted - found).elements()), list((found - wanted).elements())
            text = f"{len(missing)} missing {missing[:3]}, {len(extra)} too many {extra[:3]}"
            raise HistoryError(f"revisions of {table.name} by {publication.trigger}: {text}")
        self._totals.revisions += sum(wanted.values())

    def _assert_past(self, table: CandleTable) -> None:
        """Read the table as of earlier moments: the newest ones, which expiry affects first, and the oldest."""
        moments = self._moments[table.name]
        for moment in {id(each): each for each in (*moments[:1], *moments[-MAX_MOMENTS:])}.values():
            rows = read_past_candles(self._harness.settings, table.model.timeframe, as_of=moment.time).to_pylist()
            stored = [row_to_stored(row) for row in rows]
            wanted = {key: revision_of(each) for key, each in moment.candles.items()}
            past = {
                (each.candle.symbol, each.candle.exchange, each.candle.window_start_us): revision_of(each)
                for each in stored
            }
            assert len(past) == len(stored)
            if past != wanted:
                different = sorted(key for key in past.keys() | wanted.keys() if past.get(key) != wanted.get(key))
                raise HistoryError(f"{table.name} as of {moment.time} differs in {different[:3]}")


def _recorded(publication: Publication) -> tuple[int, str, tuple[int, ...]]:
    """Return the snapshot, the trigger and the counts that the ledger must have."""
    if publication.trigger in ("first", "retention", "maintenance"):
        return publication.snapshot, publication.trigger, (0, 0, 0)
    return publication.snapshot, publication.trigger, tuple(counted(publication.before, publication.after).values())
