"""Check of the catalog and of tables: all that can be read is checked, also if a table cannot be opened."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from pyiceberg.catalog import Catalog

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import described_catalog_errors
from ohlcv.iceberg.damage import check_catalog_file
from ohlcv.iceberg.tables import load_any_table, metadata_locations, open_catalog
from ohlcv.integrity.findings import Damage, TableCheck
from ohlcv.integrity.repairs import CheckedTable, checked_tables
from ohlcv.integrity.table_check import Progress, check_table
from ohlcv.model.errors import DamagedFileError, InputError, MissingTableError, UnusableMetadataError

CATALOG = "catalog"
_CATALOG_REPAIR = "restore it from a backup, or move it away and run 'ohlcv tables register'"


@dataclass(frozen=True)
class Selection:
    """The tables to check; all if nothing is chosen."""

    # Full names, or names without the namespace.
    tables: Collection[str] = ()
    timeframes: Collection[str] = ()
    trades: bool = False

    def choose(self, settings: Settings) -> list[CheckedTable]:
        """Return the chosen tables. Raise InputError for a name that is no table of the settings."""
        every = checked_tables(settings)
        names = {name for each in every for name in (each.name, each.contract.name)}
        if unknown := [name for name in self.tables if name not in names]:
            known = ", ".join(each.contract.name for each in every)
            raise InputError(f"'{unknown[0]}' is no table of these settings: choose from {known}")
        timeframes = {settings.timeframe(name).name for name in self.timeframes}
        if not (self.tables or timeframes or self.trades):
            return every
        return [
            each
            for each in every
            if {each.name, each.contract.name} & set(self.tables)
            or (each.role == "candles" and each.subject in timeframes)
            or (each.role == "trades" and self.trades)
        ]


def check_tables(
    settings: Settings, tables: Collection[CheckedTable], since: datetime | None, progress: Progress = lambda _: None
) -> Iterator[TableCheck]:
    """Yield the result for the catalog's file, if it is SQLite, and for each table."""
    with described_catalog_errors(settings):
        if settings.catalog.embedded_database is not None:
            found = _check_catalog(settings.catalog.embedded_database)
            yield found
            if found.damages:
                return
        catalog = open_catalog(settings)
        for each in tables:
            progress(each.contract.name)
            try:
                yield _check(settings, catalog, each, since, progress)
            except MissingTableError:
                yield TableCheck(each.name, damages=[each.missing()])


def _check_catalog(path: str) -> TableCheck:
    report = TableCheck(CATALOG)
    try:
        check_catalog_file(path)
    except DamagedFileError as error:
        report.damages.append(Damage("", "catalog", error.path, error.problem, "all tables", _CATALOG_REPAIR))
    return report


def _check(
    settings: Settings, catalog: Catalog, checked: CheckedTable, since: datetime | None, progress: Progress
) -> TableCheck:
    try:
        table = load_any_table(catalog, checked.contract)
    except DamagedFileError as error:
        return TableCheck(checked.name, damages=[checked.damage("metadata file", error)])
    except UnusableMetadataError as error:
        locations = metadata_locations(catalog, settings.names) or {}
        named = DamagedFileError(locations.get(checked.contract.identifier) or checked.name, error.problem)
        return TableCheck(checked.name, damages=[checked.damage("metadata file", named)])
    return check_table(checked, table, since, lambda step: progress(f"{checked.contract.name}: {step}"))
