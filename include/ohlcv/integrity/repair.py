"""Repair: drop damaged data files from a table in one commit that reads none of them.

Of candles the hours become pending: the next scheduled run rebuilds them from the trades. Of trades the whole hours are
dropped, because candles of an hour without trades are preserved, while those of one with fewer trades would change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.table import Table

from ohlcv.config.locations import to_local_path
from ohlcv.config.settings import Settings
from ohlcv.iceberg.file_commits import commit_files
from ohlcv.iceberg.snapshot_summary import read_checkpoint
from ohlcv.iceberg.tables import load_table, load_table_to_write
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.integrity.findings import Damage
from ohlcv.integrity.metadata_files import read_manifest, read_manifest_list
from ohlcv.integrity.repairs import CheckedTable
from ohlcv.integrity.table_check import Progress, check_table
from ohlcv.model import summary_keys
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.intervals import Range, iso, merge_ranges
from ohlcv.model.source_hours import hour_number, hours_overlapping, partition_hour

STEP = "repair"


@dataclass(frozen=True)
class Repair:
    """The damaged data files of a table's current state, and what is dropped to repair it."""

    checked: CheckedTable
    damages: list[Damage]
    # Also intact files of trades, of the same hours.
    files: list[DataFile]
    # Times of the partitions of the files.
    ranges: list[Range]
    # Of candles: the hours of these times without trades, whose candles cannot be rebuilt. None: unknown.
    hours_without_trades: int | None = None

    @property
    def rows(self) -> int:
        return sum(file.record_count for file in self.files)


def plan_repair(settings: Settings, catalog: Catalog, checked: CheckedTable, progress: Progress) -> Repair:
    """Read a table completely and return what a repair drops. Raise OhlcvError if that does not repair it."""
    if checked.role == "records":
        raise InputError(
            f"{checked.name} cannot be repaired: restore the file from a backup, "
            "or see Damaged files in docs/runbook.md"
        )
    table = load_table_to_write(settings, checked.contract, catalog)
    # A repair of main changes no other branch and no tag.
    found = check_table(checked, table, progress=progress).damages
    damages = [each for each in found if not each.is_past and not each.is_beside]
    for damage in damages:
        if damage.kind != "data file":
            raise OhlcvError(
                f"the {damage.kind} {damage.path} of {checked.name} {damage.problem}: "
                f"restore it from a backup, or run 'ohlcv tables restore {checked.name}'"
            )
    return _plan(settings, catalog, checked, table, damages)


def _plan(settings: Settings, catalog: Catalog, checked: CheckedTable, table: Table, damages: list[Damage]) -> Repair:
    paths = {damage.path for damage in damages}
    files = {_path_of(file): file for file in _files(table)}
    dropped = {path: files[path] for path in paths & files.keys()}
    if any(checked.span(file) is None for file in dropped.values()):
        raise OhlcvError(
            f"a damaged file of {checked.name} is in no partition of days or hours: restore it from a backup"
        )
    spans = {checked.span(file) for file in dropped.values()}
    if checked.role == "trades":
        dropped = {path: file for path, file in files.items() if checked.span(file) in spans}
    ranges = merge_ranges(Range(*span) for span in spans if span is not None)
    without = None
    if checked.role == "candles" and settings.trades_contract.mapping.is_default and ranges:
        with_trades = set(_hours_with_trades(load_table(catalog, settings.trades_contract)))
        without = len(_past_hours(ranges) - with_trades)
    return Repair(checked, damages, list(dropped.values()), ranges, without)


def _path_of(file: DataFile) -> str:
    return to_local_path(file.file_path) or file.file_path


def _files(table: Table) -> Iterator[DataFile]:
    snapshot = table.current_snapshot()
    for manifest in [] if snapshot is None else read_manifest_list(table.io, snapshot):
        for entry in read_manifest(table.io, manifest):
            if entry.data_file.content == DataFileContent.DATA:
                yield entry.data_file


def _hours_with_trades(trades: Table) -> Iterator[int]:
    for file in _files(trades):
        hour = partition_hour(file.partition[0], file.partition[1])
        if hour is not None:
            yield hour


def _past_hours(ranges: list[Range]) -> set[int]:
    now = hour_number(datetime.now(UTC))
    return {hour for hour in hours_overlapping(ranges) if hour <= now}


def repair(settings: Settings, catalog: Catalog, planned: Repair) -> None:
    """Drop the files in one commit. Raise OhlcvError if the table changed meanwhile."""
    checked, contract = planned.checked, planned.checked.contract
    with write_lock(settings, contract) as assert_lock_held:
        table = load_table_to_write(settings, contract, catalog)
        present = {file.file_path for file in _files(table)}
        if missing := [file for file in planned.files if file.file_path not in present]:
            raise OhlcvError(f"{checked.name} was changed meanwhile ({missing[0].file_path} is gone): repair it again")
        summary = {summary_keys.MAINTENANCE: STEP}
        if checked.role == "candles":
            checkpoint = read_checkpoint(table)
            pending = checkpoint.pending_hours | _past_hours(planned.ranges)
            summary[summary_keys.CHECKPOINT] = replace(checkpoint, pending_hours=pending).to_text()
        commit_files(catalog, contract, table, [], planned.files, assert_lock_held, summary=summary)


def range_texts(planned: Repair) -> list[str]:
    """Return the ranges of what is dropped."""
    return [f"{iso(span.start)} to {iso(span.end)}" for span in planned.ranges]
