"""Kinds of cases with damaged catalogs, metadata and data files."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from hostile.case import Case, Site, chance
from hostile.command_kinds import READING
from hostile.environment_kinds import loading_command
from hostile.trade_files import damage
from support.default_tables import NAMESPACE, TRADES_TABLE

PARTS = ("metadata/*.metadata.json", "metadata/snap-*.avro", "metadata/*-m*.avro", "data/**/*.parquet")
POINTERS = ("", "/dev/zero", "file:///nonexistent", "s3://bucket/x", "http://127.0.0.1:1/x", "\x1b[31m", "x" * 5000)


def damaged_files(rng: random.Random, site: Site) -> Case:
    """Damage files of the tables: empty, cut, garbage, flipped bits, missing, a folder in their place."""
    table = rng.choice((TRADES_TABLE, TRADES_TABLE, "gold_ohlcv_1m", "gold_ohlcv_1h"))
    part = rng.choice(PARTS)
    change = rng.choice(("empty", "missing", "garbage", "damage", "damage", "folder", "json"))
    draw = random.Random(rng.random())
    all_of_kind = chance(rng, 0.5)

    def prepare() -> None:
        home = site.home()
        files = sorted((home / "warehouse" / NAMESPACE / table).glob(part))
        if part.startswith("data") and not files:
            files = sorted(home.glob(f"{table}-*.parquet"))
        for file in files if all_of_kind else files[-1:]:
            change_file(draw, file, change)

    return _case(rng, site, "damaged files", prepare, f"{change} {part} of {table}")


def damaged_catalog(rng: random.Random, site: Site) -> Case:
    """Damage the catalog: replaced, cut, flipped, emptied, tables dropped, pointers to other files."""
    change = rng.choice(
        ("empty", "missing", "garbage", "damage", "damage", "damage", "folder", "json", "rows", "pointer", "schema")
    )
    draw = random.Random(rng.random())

    def prepare() -> None:
        file = site.home() / "catalog.db"
        if change in ("rows", "pointer", "schema"):
            statement, values = {
                "rows": ("DELETE FROM iceberg_tables", ()),
                "pointer": ("UPDATE iceberg_tables SET metadata_location = ?", (draw.choice(POINTERS),)),
                "schema": ("DROP TABLE iceberg_tables", ()),
            }[change]
            with sqlite3.connect(file) as connection:
                connection.execute(statement, values)
            connection.close()
        else:
            change_file(draw, file, change)

    return _case(rng, site, "damaged catalog", prepare, change)


def change_file(rng: random.Random, file: Path, change: str) -> None:
    """Replace a file by something else."""
    data = file.read_bytes()
    file.unlink()
    if change == "folder":
        file.mkdir()
    elif change != "missing":
        file.write_bytes(
            {
                "empty": b"",
                "garbage": rng.randbytes(rng.choice((1, 100, 20_000))),
                "json": rng.choice((b"{}", b"[]", b"null", b'{"format-version": 2}', b"[" * 100_000)),
                "damage": damage(rng, data),
            }[change]
        )


def _case(rng: random.Random, site: Site, kind: str, prepare: object, note: str) -> Case:
    command = list(rng.choice(READING)[0])
    if chance(rng, 0.35):
        command = loading_command(rng, site, 20)
    elif chance(rng, 0.15):
        command = ["tables", "create", "--no-views"]
    elif chance(rng, 0.05):
        command = ["doctor"]
    return Case(kind, [command], prepare=prepare, is_readable=False, note=note)  # type: ignore[arg-type]
