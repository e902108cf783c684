"""Generator of hostile cases: the same seed and number always make the same case."""

from __future__ import annotations

import random
from collections.abc import Mapping

from hostile import command_kinds, damage_kinds, environment_kinds, parquet_files, settings_kinds, trade_files
from hostile.case import Case, Generator, Site

# Generator of a kind -> its share of all cases.
KINDS: Mapping[Generator, int] = {
    trade_files.valid_and_refused_rows: 12,
    trade_files.odd_values: 10,
    trade_files.odd_headers: 4,
    trade_files.damaged_bytes: 10,
    trade_files.odd_archives: 3,
    trade_files.large_files: 1,
    trade_files.odd_paths: 4,
    trade_files.dumps: 5,
    trade_files.kraken_parts: 4,
    parquet_files.valid_parquet: 5,
    parquet_files.odd_parquet: 6,
    settings_kinds.hostile_settings: 12,
    settings_kinds.credentials: 3,
    settings_kinds.services_that_answer_junk: 3,
    command_kinds.hostile_arguments: 14,
    command_kinds.odd_command_lines: 4,
    environment_kinds.streams: 6,
    environment_kinds.readers_that_exit: 2,
    environment_kinds.encodings: 2,
    environment_kinds.signals: 8,
    environment_kinds.full_disk: 5,
    environment_kinds.permissions: 5,
    environment_kinds.locked_catalog: 1,
    environment_kinds.deleted_folder: 2,
    environment_kinds.odd_variables: 3,
    damage_kinds.damaged_files: 8,
    damage_kinds.damaged_catalog: 4,
}


def generate(seed: int, number: int, site: Site) -> Case:
    """Return a case and write its files into the folder of the site."""
    rng = random.Random(f"{seed}/{number}")
    return _choose_kind(rng)(rng, site)


def _choose_kind(rng: random.Random) -> Generator:
    [kind] = rng.choices(list(KINDS), list(KINDS.values()))
    return kind
