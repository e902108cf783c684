"""Locations of tables: whether a table is stored in the configured warehouse.

The metadata of an Iceberg table contains absolute locations. After a home was copied, the tables of the copy still
point to the files of the original. Writing or deleting through them would damage the original.
"""

from __future__ import annotations

import os
import re


def to_local_path(location: str) -> str | None:
    """Return the path of a local location (file:///a, file:/a or /a), None for one in an object store."""
    # Not urlsplit: a path may contain '#' and '?'.
    found = re.fullmatch(r"(?:file:(?://)?)?(/.*)", location)
    return found[1] if found else None


def is_inside(location: str, warehouse: str) -> bool:
    """Return whether a location is the warehouse or in it. Symbolic links of local paths are followed."""
    path, folder = to_local_path(location), to_local_path(warehouse)
    if path is None or folder is None:
        # Hadoop's names for the same store.
        location, warehouse = (re.sub("^s3[an]:", "s3:", text).rstrip("/") for text in (location, warehouse))
        return f"{location}/".startswith(f"{warehouse}/")
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([path, folder]) == folder


def find_location_problem(table: str, location: str, warehouse: str) -> str | None:
    """Return one line that says why a table must not be written, None if it is stored in the warehouse.

    Not for REST catalogs: their service decides where tables are stored.
    """
    if is_inside(location, warehouse):
        return None
    return (
        f"{table} is stored in {location}, outside the warehouse {warehouse}: run 'ohlcv tables relocate' if its files "
        "were copied or moved to this warehouse, or correct OHLCV_WAREHOUSE"
    )
