"""The settings of docs/connect.md: each block is accepted, and both forms of a catalog mean the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ohlcv.config.settings import Settings, load_settings
from support.documents import named_blocks

BLOCKS = named_blocks("connect.md")
# Kind of catalog by the first part of a block's name. All others are REST catalogs.
KINDS = {"sqlite": "sqlite", "postgresql": "postgresql", "glue-named": "glue", "hive": "hive"}
SHELL_BLOCKS = [name for name, block in BLOCKS.items() if block.language == "sh"]
PAIRS = [name for name in SHELL_BLOCKS if f"{name}-named" in SHELL_BLOCKS]
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
# The blocks have different names of clients.
SECRET = re.compile(r"credential")


def environment_of(name: str, folder: Path) -> dict[str, str]:
    """Return the variables of a block, with the files that it names, and no other configuration of pyiceberg."""
    found = {"HOME": str(folder), "PYICEBERG_HOME": str(folder)}
    for line in BLOCKS[name].code.splitlines():
        words = shlex.split(line, comments=True)
        assert words[:1] in ([], ["export"]), line
        found |= dict(word.split("=", 1) for word in words[1:])
    for variable, value in found.items():
        if value.startswith(("/run/secrets/", "/etc/ssl/")):
            file = folder / Path(value).name
            login = "client-id:SECRET" if "credential" in file.name else "SECRET"
            file.write_text(CERTIFICATE if file.suffix == ".pem" else login)
            found[variable] = str(file)
    return found


def settings_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(folder)
    return load_settings(environment_of(name, folder))


@pytest.mark.parametrize("name", [name for name in SHELL_BLOCKS if name != "file-selected"])
def test_the_settings_of_each_block_are_accepted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = settings_of(name, tmp_path, monkeypatch).catalog
    kind = next((kind for prefix, kind in KINDS.items() if name.startswith(prefix)), "rest")
    assert catalog.kind == kind
    assert catalog.name == (environment_of(name, tmp_path).get("OHLCV_CATALOG") or "iceberg")
    prefix = f"spark.sql.catalog.{catalog.name}"
    spark, pyiceberg = catalog.spark_properties(), catalog.pyiceberg_properties()
    jdbc = kind in ("sqlite", "postgresql")
    assert (pyiceberg["type"], spark[f"{prefix}.type"]) == (("sql", "jdbc") if jdbc else (kind, kind))
    assert "SECRET" not in repr(catalog)


def test_the_file_is_accepted_and_means_the_same_as_its_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".pyiceberg.yaml").write_text(BLOCKS["file"].code)
    catalog = settings_of("file-selected", tmp_path, monkeypatch).catalog
    (tmp_path / ".pyiceberg.yaml").unlink()
    by_variables = settings_of("rest-oauth2-named", tmp_path, monkeypatch).catalog
    expected = by_variables.spark_properties()
    assert catalog.spark_properties() == {key: value for key, value in expected.items() if "cabundle" not in key}


@pytest.mark.parametrize("name", PAIRS)
def test_both_forms_of_a_catalog_mean_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = settings_of(name, tmp_path, monkeypatch)
    named = settings_of(f"{name}-named", tmp_path, monkeypatch)

    def rendered(settings: Settings) -> list[dict[str, str]]:
        clients = (settings.catalog.pyiceberg_properties(), settings.catalog.spark_properties())
        return [
            {
                str(key).replace(f".{settings.catalog.name}", ""): "…" if SECRET.search(key) else str(value)
                for key, value in client.items()
            }
            for client in clients
        ]

    assert rendered(short) == rendered(named)
