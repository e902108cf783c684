"""Notes on the coverage: record and withdraw what a person knows of a series or an exchange."""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import get_args
from uuid import uuid4

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import EqualTo
from pyiceberg.typedef import Record

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.file_commits import commit_files, plan, read_file, rows_of
from ohlcv.iceberg.tables import load_table_to_write, open_catalog
from ohlcv.iceberg.write_lock import write_lock
from ohlcv.model.coverage_records import Note, NoteKind
from ohlcv.model.errors import InputError
from ohlcv.model.intervals import iso
from ohlcv.model.partition_units import partition_number
from ohlcv.readers.coverage import check_known
from ohlcv.readers.scans import compare

KINDS: tuple[str, ...] = get_args(NoteKind)
MAX_TEXT = 500
# A note waits this long for another one.
LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class NoteRequest:
    """A note to record. It is valid without regard to what is stored."""

    kind: NoteKind
    exchange: str
    symbol: str | None
    start_time: datetime
    end_time: datetime | None
    author: str
    reason: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"unknown kind '{self.kind}': choose one of {', '.join(KINDS)}")
        for name in ("exchange", "symbol", "author", "reason"):
            _check_text(name, getattr(self, name))
        if self.kind == "expected" and self.symbol is None:
            raise InputError("a note of kind expected is of one series: add the symbol")
        if self.end_time is not None and self.start_time >= self.end_time:
            raise InputError(f"start {iso(self.start_time)} must be before end {iso(self.end_time)}")


def record_note(settings: Settings, request: NoteRequest, now: datetime, catalog: Catalog | None = None) -> Note:
    """Record a note. Raise InputError if the coverage has never seen the series, unless it is expected."""
    catalog = catalog or open_catalog(settings)
    note = Note(note=uuid4().hex[:12], **vars(request), recorded_at=now)
    contract = settings.coverage_notes_contract
    with described_catalog_errors(settings), write_lock(settings, contract, LOCK_SECONDS) as assert_lock_held:
        table = load_table_to_write(settings, contract, catalog)
        if request.kind != "expected":
            check_known(settings, request.exchange, request.symbol, catalog)
        month = Record(partition_number("month", now.date()))
        commit_files(catalog, contract, table, [(month, rows_of(table, [asdict(note)]))], [], assert_lock_held)
    return note


def withdraw_note(settings: Settings, note: str, author: str, now: datetime, catalog: Catalog | None = None) -> None:
    """Mark a note as withdrawn. It stays in the table, and no state shows it any more."""
    _check_text("author", author)
    catalog = catalog or open_catalog(settings)
    contract = settings.coverage_notes_contract
    with described_catalog_errors(settings), write_lock(settings, contract, LOCK_SECONDS) as assert_lock_held:
        table = load_table_to_write(settings, contract, catalog)
        for task in plan(table, compare(EqualTo, "note", note)):
            rows = read_file(table, task).to_pylist()
            for row in rows:
                if row["note"] != note:
                    continue
                if row["withdrawn_at"] is not None:
                    raise InputError(
                        f"note {note} was withdrawn by {row['withdrawn_by']}: see 'ohlcv coverage note list'"
                    )
                row |= {"withdrawn_at": now, "withdrawn_by": author}
                changed = rows_of(table, rows)
                commit_files(catalog, contract, table, [(task.file.partition, changed)], [task.file], assert_lock_held)
                return
    raise InputError(f"there is no note '{note}': see 'ohlcv coverage note list'")


def _check_text(name: str, text: str | None) -> None:
    if text is None:
        return
    if not text.strip():
        raise InputError(f"the {name} is empty: give one")
    if len(text) > MAX_TEXT:
        raise InputError(f"the {name} is longer than {MAX_TEXT} characters: shorten it")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise InputError(f"the {name} has a line break or control character: remove it")
