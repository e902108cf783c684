"""Catalog of pyiceberg's configuration: read exactly as pyiceberg reads it, and invalid inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.utils.config import Config

from ohlcv.config.catalogs.pyiceberg_form import read_properties, variable
from ohlcv.model.errors import InputError

YAML = """\
default-catalog: lake
catalog:
  lake:
    TYPE: rest
    uri: http://rest/iceberg
    s3.endpoint: http://store:7070
    header.X-Tenant: acme
    credential: "client:s3cret"
    empty:
  other-one:
    uri: http://other
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Return the folders in which pyiceberg searches, in its order."""
    folders = {name: tmp_path / name for name in ("PYICEBERG_HOME", "HOME", "cwd")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.chdir(folders["cwd"])
    for name in ("PYICEBERG_HOME", "HOME"):
        monkeypatch.setenv(name, str(folders[name]))
    return folders


def environment(place: dict[str, Path], **more: str) -> dict[str, str]:
    return {name: str(place[name]) for name in ("PYICEBERG_HOME", "HOME")} | more


VARIABLES = {
    "PYICEBERG_CATALOG__LAKE__S3__ACCESS_KEY_ID": "AKIA",
    "PYICEBERG_CATALOG__LAKE__URI": "http://by-variable/iceberg",
    "pyiceberg_catalog__lake__scope": "catalog sign",
    "PYICEBERG_CATALOG__OTHER_ONE__WAREHOUSE": "w",
    "PYICEBERG_CATALOG__LAKE__REST__SIGV4_ENABLED": "true",
}


@pytest.mark.parametrize("folder", ["PYICEBERG_HOME", "HOME", "cwd"])
@pytest.mark.parametrize("name", ["lake", "LAKE", "other-one"])
def test_file_and_variables_are_read_as_pyiceberg_reads_them(
    place: dict[str, Path], folder: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place[folder] / ".pyiceberg.yaml").write_text(YAML)
    for key, value in VARIABLES.items():
        monkeypatch.setenv(key, value)
    expected = Config().get_catalog_config(name)
    assert expected is not None
    found = read_properties(environment(place, **VARIABLES), name)
    # An empty value is not set.
    assert found == {key: value for key, value in expected.items() if value}


def test_only_the_first_file_counts(place: dict[str, Path]) -> None:
    for folder, uri in (("PYICEBERG_HOME", "http://first"), ("HOME", "http://second")):
        (place[folder] / ".pyiceberg.yaml").write_text(f"catalog:\n  lake:\n    uri: {uri}\n")
    (place["PYICEBERG_HOME"] / ".pyiceberg.yaml").write_text("")
    assert read_properties(environment(place), "lake") == {"uri": "http://second"}


def test_a_variable_has_the_name_that_pyiceberg_reads(place: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("uri", "s3.access-key-id", "header.x-tenant"):
        monkeypatch.setenv(variable("my-lake", key), key)
    assert Config().get_catalog_config("my-lake") == {
        key: key for key in ("uri", "s3.access-key-id", "header.x-tenant")
    }
    assert place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("catalog: [lake]\n", r"\.pyiceberg\.yaml is not valid YAML for pyiceberg \(line 1\): correct it$"),
        ("catalog:\n  lake: x\n  lake: s3cret\n", r"is not valid YAML for pyiceberg \(line 3\): correct it$"),
        ("catalog: s3cret\n", "has no section 'catalog' with catalogs below it: correct it$"),
        ("- s3cret\n", "has no section 'catalog' with catalogs below it: correct it$"),
        ("catalog:\n  lake: s3cret\n", r"^'lake' in .*yaml is not a catalog: give its properties below it$"),
        ("catalog:\n  lake:\n    uri:\n      - s3cret\n", "^'uri' of the catalog lake in .* is a list: give a text$"),
        ("catalog:\n  sea:\n    uri: http://x\n", "^OHLCV_CATALOG is 'lake', but .* has no such catalog: use sea$"),
        ("", "no such catalog: write it to .pyiceberg.yaml or set PYICEBERG_CATALOG__LAKE__URI$"),
    ],
)
def test_an_invalid_file_is_refused_without_its_text(place: dict[str, Path], text: str, message: str) -> None:
    (place["HOME"] / ".pyiceberg.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_properties(environment(place), "lake")
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_with_an_underscore_is_found_as_pyiceberg_stores_it(place: dict[str, Path]) -> None:
    variables = environment(place, PYICEBERG_CATALOG__MY_LAKE__URI="http://x")
    with pytest.raises(InputError, match=r"^OHLCV_CATALOG is 'my_lake', but .* has no such catalog: use my-lake$"):
        read_properties(variables, "my_lake")
    assert read_properties(variables, "my-lake") == {"uri": "http://x"}
