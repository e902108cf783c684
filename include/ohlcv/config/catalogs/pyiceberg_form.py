"""Catalog of pyiceberg's own configuration: `.pyiceberg.yaml` and the variables PYICEBERG_CATALOG__NAME__KEY.

This follows pyiceberg.utils.config. Importing pyiceberg would take three seconds of every job.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ohlcv.config.values import check_characters, read_text_file
from ohlcv.model.errors import InputError

FILE_NAME = ".pyiceberg.yaml"
VARIABLE_PREFIX = "PYICEBERG_CATALOG__"
# How the names of the environment variables begin from which the configuration is read.
VARIABLES = ("PYICEBERG_", "HOME")
# The name is part of properties of Spark and of identifiers.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def check_name(name: str) -> None:
    """Raise InputError for a name that is not a catalog's in both clients."""
    if not _NAME.fullmatch(name) or name.lower() == "spark_catalog":
        raise InputError(
            f"OHLCV_CATALOG is '{name[:50]}': give the name of a catalog, with letters, digits, _ and - only, "
            "not spark_catalog"
        )


def read_properties(values: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the properties of a catalog, flat. Raise InputError if the configuration does not have it."""
    file, catalogs = _read_file(values)
    key = name.lower()
    found: Any = catalogs.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"'{key}' in {file} is not a catalog: give its properties below it")
    flat = {**_flat(found, f"the catalog {name} in {file}"), **_variables(values, key)}
    given = {each: text for each, text in flat.items() if text}
    if not given:
        known = sorted({*catalogs, *_variable_catalogs(values)})
        choice = f"use {' or '.join(known)}" if known else f"write it to {FILE_NAME} or set {variable(name, 'uri')}"
        raise InputError(f"OHLCV_CATALOG is '{name}', but pyiceberg's configuration has no such catalog: {choice}")
    for each, text in given.items():
        check_characters(f"'{each}' of the catalog {name}", text, is_secret=False)
    return given


def variable(name: str, key: str) -> str:
    """Return the environment variable of a property."""
    return f"{VARIABLE_PREFIX}{name}__{key.replace('.', '__')}".replace("-", "_").upper()


def _read_file(values: Mapping[str, str]) -> tuple[Path | None, dict[str, Any]]:
    """Return the configuration file that pyiceberg uses, and its catalogs."""
    import strictyaml  # 40 ms, only for this form

    for folder in (values.get("PYICEBERG_HOME"), values.get("HOME") or os.path.expanduser("~"), os.getcwd()):
        file = Path(folder or "", FILE_NAME)
        if folder and file.is_file():
            text = read_text_file(str(file), file, "pyiceberg's configuration")
            try:
                found = strictyaml.load(text).data if text.strip() else {}
            except strictyaml.YAMLError as error:
                # Not the text of the error: it repeats the line, which may contain a secret.
                mark = error.problem_mark or error.context_mark
                line = f" (line {mark.line + 1})" if mark else ""
                raise InputError(f"{file} is not valid YAML for pyiceberg{line}: correct it") from None
            if found:
                catalogs = _lower_keys(found).get("catalog", {}) if isinstance(found, dict) else None
                if not isinstance(catalogs, dict):
                    raise InputError(f"{file} has no section 'catalog' with catalogs below it: correct it")
                return file, catalogs
    return None, {}


def _lower_keys(found: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): _lower_keys(each) if isinstance(each, dict) else each for key, each in found.items()}


def _flat(found: Mapping[str, Any], place: str, prefix: str = "") -> dict[str, str]:
    """Return nested properties with dots in their names."""
    result: dict[str, str] = {}
    for key, value in found.items():
        if isinstance(value, dict):
            result |= _flat(value, place, f"{prefix}{key}.")
        elif isinstance(value, str):
            result[f"{prefix}{key}"] = value
        else:
            raise InputError(f"'{prefix}{key}' of {place} is a list: give a text")
    return result


def _variables(values: Mapping[str, str], key: str) -> dict[str, str]:
    return {found[1]: text for name, text in values.items() if (found := _parts(name)) and found[0] == key}


def _variable_catalogs(values: Mapping[str, str]) -> set[str]:
    return {found[0] for name in values if (found := _parts(name))}


def _parts(name: str) -> tuple[str, str] | None:
    """Return the catalog and the property of a variable, as pyiceberg reads its name."""
    lower = name.lower()
    if not lower.startswith(VARIABLE_PREFIX.lower()):
        return None
    catalog, mark, key = lower.removeprefix(VARIABLE_PREFIX.lower()).partition("__")
    return (catalog.replace("_", "-"), key.replace("__", ".").replace("_", "-")) if mark else None
