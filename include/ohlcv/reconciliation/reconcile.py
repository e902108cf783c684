"""Reconciliation of our candles with files of published ones: compare, add evidence, store the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And
from pyiceberg.table import Table

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.tables import load_table, open_catalog
from ohlcv.model.errors import InputError, OhlcvError, UnknownSeriesError
from ohlcv.model.intervals import from_microseconds, iso, to_microseconds
from ohlcv.model.table_contracts import AMOUNT_SCALE
from ohlcv.model.timeframes import Timeframe
from ohlcv.model.tolerances import FIELDS, Tolerances
from ohlcv.readers.latest import built_until, newest_window_start
from ohlcv.readers.scans import StoredCandles, has_series, series_condition, time_condition
from ohlcv.reconciliation.comparison import DIFFERENCES, compare_candles
from ohlcv.reconciliation.conventions import conventions_of
from ohlcv.reconciliation.evidence import add_evidence
from ohlcv.reconciliation.formats import get_format, read_published
from ohlcv.reconciliation.published import QUOTE_VOLUME, START, VWAP, PublishedFile, overlap_problem
from ohlcv.reconciliation.report import Reconciliation
from ohlcv.reconciliation.results import Results, Span, write_results

Progress = Callable[[str], None]
# Rows that are Python objects at the same time.
BATCH_ROWS = 50_000
# Holds the quotient of any two amounts.
_DERIVED_VWAP = pa.decimal256(48 + AMOUNT_SCALE, AMOUNT_SCALE)


@dataclass(frozen=True)
class Request:
    """What published candles are compared with, and how."""

    format_name: str
    exchange: str
    symbol: str
    # None: that of the files, if their format names it.
    timeframe: Timeframe | None = None
    tolerances: Tolerances = field(default_factory=Tolerances)
    # When the files were fetched. None: when they were modified.
    fetched_at: datetime | None = None

    @property
    def venue(self) -> str:
        """Return who published the candles."""
        return get_format(self.format_name).venue or self.exchange


def reconcile(
    settings: Settings,
    paths: Sequence[Path],
    request: Request,
    now: datetime,
    catalog: Catalog | None = None,
    report_progress: Progress = lambda _: None,
) -> Reconciliation:
    """Compare the candles of files with ours, store the results, and return them.

    Raise InputError if a file is invalid; then nothing is stored.
    """
    files = []
    for path in paths:
        report_progress(f"reading {path.name}")
        files.append(read_published(path, request.format_name, request.timeframe))
    return reconcile_files(settings, files, request, now, catalog, report_progress)


def reconcile_files(
    settings: Settings,
    files: Sequence[PublishedFile],
    request: Request,
    now: datetime,
    catalog: Catalog | None = None,
    report_progress: Progress = lambda _: None,
) -> Reconciliation:
    """Compare candles that were read with ours, store the results, and return them."""
    if len({each.timeframe.name for each in files}) > 1:
        raise InputError("the files have several timeframes: compare those of one at a time")
    if problem := overlap_problem(files):
        raise InputError(problem)
    with described_catalog_errors(settings):
        catalog = catalog or open_catalog(settings)
        run = _Reconciler(settings, catalog, sorted(files, key=lambda each: int(each.starts[0])), request, now)
        return run.run(report_progress)


class _Reconciler:
    def __init__(
        self, settings: Settings, catalog: Catalog, files: Sequence[PublishedFile], request: Request, now: datetime
    ) -> None:
        self._settings, self._catalog, self._request, self._now = settings, catalog, request, now
        self._files = files
        # With the retention of the settings.
        self._timeframe = settings.timeframe(files[0].timeframe.name)
        self._table = load_table(catalog, settings.candles_contract(self._timeframe))
        load_table(catalog, settings.reconciliation_contract)
        self._notes: list[str] = []

    def run(self, report_progress: Progress) -> Reconciliation:
        self._check_series()
        first, end = self._known_range()
        parts, spans, used = [], [], []
        for file in self._files:
            rows = self._limited(file, self._finished(file), first, end)
            if len(rows):
                parts.append(_with_vwap(rows))
                spans.append((rows[START][0].as_py(), rows[START][-1].as_py() + self._timeframe.microseconds))
                used.append((spans[-1][0], file.path))
        if not parts:
            raise InputError(f"no published candle can be compared: {'; '.join(self._notes)}")
        report_progress(f"comparing {sum(map(len, parts)):,} candles")
        places = {name: max(each.places.get(name, 0) for each in self._files) for name in (*FIELDS, QUOTE_VOLUME)}
        request = self._request
        comparison = compare_candles(
            self._ours(spans),
            pa.concat_tables(parts, promote_options="default"),
            places,
            request.tolerances,
            conventions_of(request.venue),
        )
        lacking = [each for each in comparison.windows if each.outcome in DIFFERENCES]
        series = request.symbol, request.exchange
        if problem := add_evidence(self._settings, self._catalog, self._timeframe, series, lacking):
            self._notes.append(problem)
        snapshot = self._table.current_snapshot()
        results = Results(
            venue=request.venue,
            symbol=request.symbol,
            exchange=request.exchange,
            timeframe=self._timeframe,
            compared_at=self._now,
            candles_snapshot=snapshot.snapshot_id if snapshot else None,
            spans=spans,
            equal=comparison.equal,
            windows=comparison.windows,
            files=used,
        )
        report_progress("storing the results")
        written = write_results(self._settings, self._catalog, results)
        return Reconciliation(results, tuple(self._notes), written)

    def _check_series(self) -> None:
        request = self._request
        if not has_series(self._table, series_condition(request.symbol, request.exchange)):
            raise UnknownSeriesError(
                f"no {self._timeframe} candle has symbol '{request.symbol}' and exchange '{request.exchange}': "
                "correct the names"
            )

    def _known_range(self) -> Span:
        """Return the range in which the table should have all candles."""
        cutoff = self._timeframe.cutoff(self._now.astimezone(UTC).date())
        first = to_microseconds(datetime(cutoff.year, cutoff.month, cutoff.day, tzinfo=UTC))
        return first, to_microseconds(_built_until(self._table, self._timeframe))

    def _finished(self, file: PublishedFile) -> pa.Table:
        """Return the candles without the last one if it was not finished when the file was fetched."""
        rows, length = file.rows, self._timeframe.microseconds
        fetched = self._request.fetched_at or datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
        end = to_microseconds(fetched)
        if file.last is not None:
            end = min(end, file.last + length)
        unfinished = [start for start in rows[START].to_pylist()[-2:] if start + length > end]
        if len(unfinished) > 1:
            raise InputError(
                f"{file.path} has several windows that end after it was fetched at {iso(from_microseconds(end))}: "
                "give the time as --fetched-at"
            )
        if unfinished:
            start = iso(from_microseconds(unfinished[0]))
            self._notes.append(f"{file.path.name}: the last candle at {start} was not finished: ignored")
        return rows.slice(0, len(rows) - len(unfinished))

    def _limited(self, file: PublishedFile, rows: pa.Table, first: int, end: int) -> pa.Table:
        early = pc.sum(pc.less(rows[START], first)).as_py() or 0
        if early:
            cutoff = iso(from_microseconds(first))
            self._notes.append(f"{file.path.name}: {early:,} windows before the retention cutoff {cutoff}: ignored")
        last = end - self._timeframe.microseconds
        late = pc.sum(pc.greater(rows[START], last)).as_py() or 0
        if late:
            until = iso(from_microseconds(end))
            self._notes.append(f"{file.path.name}: {late:,} windows after {until}, which are not built: ignored")
        return rows.slice(early, max(0, len(rows) - early - late))

    def _ours(self, spans: Sequence[Span]) -> pa.Table:
        """Return our candles of the compared ranges under the names of published ones, in order."""
        source = StoredCandles(self._table)
        series = series_condition(self._request.symbol, self._request.exchange)
        columns = ("window_start", *FIELDS.values())
        in_range = time_condition(from_microseconds(spans[0][0]), from_microseconds(spans[-1][1]))
        rows = source.rows(And(series, in_range), columns).sort_by("window_start")
        starts = rows["window_start"].cast(pa.int64())
        found = pa.table({START: starts, **{name: rows[column] for name, column in FIELDS.items()}})
        moments = starts.to_numpy()
        within = [(moments >= start) & (moments < end) for start, end in spans]
        found = found.filter(pa.array(np.logical_or.reduce(within)))
        self._refuse_repeated(found[START].to_numpy())
        return found

    def _refuse_repeated(self, starts: np.ndarray) -> None:
        """Raise OhlcvError for the first of the sorted windows that is stored several times."""
        repeated = starts[1:][starts[1:] == starts[:-1]]
        if len(repeated):
            start, count = iso(from_microseconds(int(repeated[0]))), np.count_nonzero(starts == repeated[0])
            raise OhlcvError(
                f"the {self._timeframe} candle at {start} is stored {count} times: "
                "rebuild its day by ohlcv_reprocess or 'ohlcv build'"
            )


def _built_until(table: Table, timeframe: Timeframe) -> datetime:
    until = built_until(table, timeframe)
    if until is None:
        # Candles that another program wrote.
        newest = newest_window_start(table, timeframe)
        assert newest is not None, "the table has a candle of the series"
        until = from_microseconds(newest) + timeframe.length
    return until


def _with_vwap(rows: pa.Table) -> pa.Table:
    """Return the candles with the vwap that follows from the quote volume, if they have one."""
    if QUOTE_VOLUME not in rows.column_names:
        return rows
    parts = [_vwap(batch) for batch in rows.to_batches(max_chunksize=BATCH_ROWS)]
    return rows.append_column(VWAP, pa.chunked_array(parts, _DERIVED_VWAP))


def _vwap(batch: pa.RecordBatch) -> pa.Array:
    unit = Decimal(1).scaleb(-AMOUNT_SCALE)
    pairs = zip(batch[QUOTE_VOLUME].to_pylist(), batch["volume"].to_pylist(), strict=True)
    with localcontext(prec=60):
        values = [(quote / volume).quantize(unit, ROUND_HALF_UP) if volume else None for quote, volume in pairs]
    return pa.array(values, _DERIVED_VWAP)
