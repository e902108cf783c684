"""Folder of published candles: FORMAT/EXCHANGE/SYMBOL/TIMEFRAME/file, each name percent-encoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from pyiceberg.catalog import Catalog

from ohlcv.config.settings import Settings
from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.model.timeframes import get_timeframe
from ohlcv.model.tolerances import Tolerances
from ohlcv.reconciliation.formats import get_format, read_published
from ohlcv.reconciliation.published import PublishedFile, overlap_problem
from ohlcv.reconciliation.reconcile import Progress, Request, reconcile_files
from ohlcv.reconciliation.report import Reconciliation

_LEVELS = 4


@dataclass
class FolderReport:
    """What the files of a folder gave, by series and timeframe. The keys are the paths within the folder."""

    reconciliations: dict[str, Reconciliation] = field(default_factory=dict)
    # Errors by the path of a file, or of a series if none of its files could be compared.
    errors: dict[str, str] = field(default_factory=dict)


def reconcile_folder(
    settings: Settings,
    folder: Path,
    tolerances: Tolerances,
    modified_since: datetime,
    now: datetime,
    catalog: Catalog | None = None,
    report_progress: Progress = lambda _: None,
) -> FolderReport:
    """Reconcile the files of a folder that were modified since a time. An invalid file does not stop the others."""
    if not folder.is_dir():
        raise InputError(f"OHLCV_RECONCILE_FOLDER: {folder} is no folder: create it, or correct the setting")
    report = FolderReport()
    for place, paths in _modified_files(folder, modified_since, report).items():
        name = str(place)
        try:
            request = _request(place, tolerances)
            files = list(_valid_files(folder, paths, request, report))
            if files:
                report_progress(name)
                report.reconciliations[name] = reconcile_files(settings, files, request, now, catalog)
        except OhlcvError as error:
            report.errors[name] = str(error)
    return report


def _modified_files(folder: Path, since: datetime, report: FolderReport) -> dict[Path, list[Path]]:
    """Return the modified files by their place in the folder, in the order of their names."""
    found: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in relative.parts):
            continue
        if datetime.fromtimestamp(path.stat().st_mtime, UTC) < since:
            continue
        if len(relative.parts) != _LEVELS + 1:
            report.errors[str(relative)] = f"{path} is not in FORMAT/EXCHANGE/SYMBOL/TIMEFRAME/: move it"
            continue
        found[relative.parent].append(path)
    return found


def _request(place: Path, tolerances: Tolerances) -> Request:
    format_name, exchange, symbol, timeframe = map(unquote, place.parts)
    try:
        get_format(format_name)
        return Request(format_name, exchange, symbol, get_timeframe(timeframe), tolerances)
    except InputError as error:
        raise InputError(f"folder {place}: {error}") from None


def _valid_files(
    folder: Path, paths: Sequence[Path], request: Request, report: FolderReport
) -> Iterator[PublishedFile]:
    valid: list[PublishedFile] = []
    for path in paths:
        try:
            file = read_published(path, request.format_name, request.timeframe)
            if problem := overlap_problem([*valid, file]):
                raise InputError(problem)
        except OhlcvError as error:
            report.errors[str(path.relative_to(folder))] = str(error)
        else:
            valid.append(file)
            yield file
