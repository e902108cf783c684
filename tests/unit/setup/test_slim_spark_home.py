"""Slim Spark home: its jars, unsigned copies, and the fallback to pyspark's own home."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from ohlcv.setup import slim_spark_home
from ohlcv.setup.slim_spark_home import create_slim_home
from ohlcv.spark import toolchain
from ohlcv.spark.toolchain import SLIM_HOME_MARKER, packaged_spark_home, slim_home_path, spark_home

INCLUDED_JARS = ("spark-core_2.13-4.1.3.jar", "hive-storage-api-2.8.1.jar", "iceberg.jar", "netty-codec-http-4.2.jar")
EXCLUDED_JARS = (
    "spark-mllib_2.13-4.1.3.jar",
    "hive-exec-2.3.10-core.jar",
    "kubernetes-client-7.4.1.jar",
    "jta-1.1.jar",
)
SIGNED_JAR = "janino-3.1.9.jar"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Replace pyspark's folder and the share folder by temporary ones."""
    folder = tmp_path / "pyspark"
    (folder / "jars").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "python" / "lib").mkdir(parents=True)
    for name in (*INCLUDED_JARS, *EXCLUDED_JARS):
        write_jar(folder / "jars" / name, {"META-INF/MANIFEST.MF": "", "A.class": name})
    write_jar(
        folder / "jars" / SIGNED_JAR, {"META-INF/MANIFEST.MF": "", "META-INF/CODE.SF": "", "META-INF/CODE.RSA": ""}
    )
    os.utime(folder / "jars" / SIGNED_JAR, (1_700_000_000, 1_700_000_000))
    monkeypatch.setattr(toolchain, "share_directory", lambda: tmp_path / "share")
    monkeypatch.setattr(toolchain, "packaged_spark_home", lambda: folder)
    monkeypatch.setattr(slim_spark_home, "packaged_spark_home", lambda: folder)
    return folder


def write_jar(jar: Path, entries: dict[str, str]) -> None:
    with zipfile.ZipFile(jar, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)


def test_it_contains_only_the_included_jars(package: Path) -> None:
    home = create_slim_home()
    assert home == slim_home_path() == spark_home()
    assert {jar.name for jar in (home / "jars").iterdir()} == {*INCLUDED_JARS, SIGNED_JAR}
    assert (home / "jars" / INCLUDED_JARS[0]).resolve() == package / "jars" / INCLUDED_JARS[0]
    assert (home / "bin").resolve() == package / "bin"
    # With this folder the driver would compile pyspark's sources at every start.
    assert not (home / "python").exists()


def test_a_signed_jar_is_copied_without_its_signature(package: Path) -> None:
    copy = create_slim_home() / "jars" / SIGNED_JAR
    assert not copy.is_symlink()
    assert zipfile.ZipFile(copy).namelist() == ["META-INF/MANIFEST.MF"]
    # A JVM compares the modification times of jars with those in a CDS archive.
    assert copy.stat().st_mtime == 1_700_000_000


@pytest.mark.usefixtures("package")
def test_a_current_home_is_not_created_again() -> None:
    marker = create_slim_home() / SLIM_HOME_MARKER
    created = marker.stat().st_mtime_ns
    create_slim_home()
    assert marker.stat().st_mtime_ns == created


def test_a_home_of_another_pyspark_version_is_not_used_and_created_again(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = create_slim_home()
    monkeypatch.setattr(toolchain, "pyspark_version", lambda: "9.9.9")
    monkeypatch.setattr(slim_spark_home, "pyspark_version", lambda: "9.9.9")
    assert spark_home() == package
    write_jar(package / "jars" / "new.jar", {})
    assert create_slim_home() == old == spark_home()
    assert (old / "jars" / "new.jar").exists()


def test_a_home_with_other_exclusions_is_created_again(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_slim_home()
    monkeypatch.setattr(slim_spark_home, "EXCLUDED_JARS", ("iceberg*",))
    assert {jar.name for jar in (create_slim_home() / "jars").iterdir()} == {
        *INCLUDED_JARS,
        *EXCLUDED_JARS,
        SIGNED_JAR,
    } - {"iceberg.jar"}


def test_the_jar_set_hive_keeps_the_client_of_a_metastore(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hive-metastore-2.3.10.jar", "libthrift-0.16.0.jar", "hive-beeline-2.3.10.jar"):
        write_jar(package / "jars" / name, {})
    assert not list((create_slim_home() / "jars").glob("hive-metastore*"))
    monkeypatch.setenv("OHLCV_JAR_SETS", "aws,hive")
    home = create_slim_home()
    assert home == spark_home()
    names = {jar.name for jar in (home / "jars").iterdir()}
    assert {"hive-metastore-2.3.10.jar", "libthrift-0.16.0.jar"} < names
    assert "hive-beeline-2.3.10.jar" not in names


def test_without_a_complete_slim_home_pysparks_own_home_is_used(package: Path) -> None:
    assert spark_home() == package
    # An incomplete home.
    (slim_home_path() / "jars").mkdir(parents=True)
    assert spark_home() == package


def test_every_exclusion_matches_a_jar_of_the_installed_pyspark() -> None:
    """A pattern that matches nothing is outdated."""
    jars = [jar.name for jar in (packaged_spark_home() / "jars").glob("*.jar")]
    patterns = (*slim_spark_home.EXCLUDED_JARS, *slim_spark_home.HIVE_CLIENT_JARS)
    unused = [pattern for pattern in patterns if not any(Path(jar).match(pattern) for jar in jars)]
    assert unused == []
    assert len(list((create_slim_home() / "jars").iterdir())) < 0.7 * len(jars)
