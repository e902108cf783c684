"""The lean home: what candles need of Spark, unsigned, and pyspark's own home where there is none that fits."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from ohlcv.setup import slim_spark_home
from ohlcv.spark import toolchain
from ohlcv.spark.toolchain import LEAN_MARK, lean_spark_home, packaged_spark_home, spark_home

KEPT = ("spark-core_2.13-4.1.3.jar", "hive-storage-api-2.8.1.jar", "iceberg.jar", "netty-codec-http-4.2.jar")
LEFT_OUT = ("spark-mllib_2.13-4.1.3.jar", "hive-exec-2.3.10-core.jar", "kubernetes-client-7.4.1.jar", "jta-1.1.jar")
SIGNED = "janino-3.1.9.jar"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand in for pyspark's folder, with a share of its own beside it."""
    folder = tmp_path / "pyspark"
    (folder / "jars").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "python" / "lib").mkdir(parents=True)
    for name in (*KEPT, *LEFT_OUT):
        write(folder / "jars" / name, {"META-INF/MANIFEST.MF": "", "A.class": name})
    write(folder / "jars" / SIGNED, {"META-INF/MANIFEST.MF": "", "META-INF/CODE.SF": "", "META-INF/CODE.RSA": ""})
    os.utime(folder / "jars" / SIGNED, (1_700_000_000, 1_700_000_000))
    monkeypatch.setattr(toolchain, "share_directory", lambda: tmp_path / "share")
    monkeypatch.setattr(toolchain, "packaged_spark_home", lambda: folder)
    monkeypatch.setattr(slim_spark_home, "packaged_spark_home", lambda: folder)
    return folder


def write(jar: Path, entries: dict[str, str]) -> None:
    with zipfile.ZipFile(jar, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)


def test_it_holds_what_candles_need_and_no_more(package: Path) -> None:
    home = slim_spark_home.make()
    assert home == lean_spark_home() == spark_home()
    assert {jar.name for jar in (home / "jars").iterdir()} == {*KEPT, SIGNED}
    assert (home / "jars" / KEPT[0]).resolve() == package / "jars" / KEPT[0]
    assert (home / "bin").resolve() == package / "bin"
    # With it the driver would compile pyspark's sources at every start.
    assert not (home / "python").exists()


def test_a_signed_jar_is_copied_without_its_signature(package: Path) -> None:
    copy = slim_spark_home.make() / "jars" / SIGNED
    assert not copy.is_symlink()
    assert zipfile.ZipFile(copy).namelist() == ["META-INF/MANIFEST.MF"]
    # Archives of classes are held against the times of jars.
    assert copy.stat().st_mtime == 1_700_000_000


@pytest.mark.usefixtures("package")
def test_it_is_made_once() -> None:
    mark = slim_spark_home.make() / LEAN_MARK
    made = mark.stat().st_mtime_ns
    slim_spark_home.make()
    assert mark.stat().st_mtime_ns == made


def test_one_of_another_pyspark_is_not_used_and_made_anew(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = slim_spark_home.make()
    monkeypatch.setattr(toolchain, "pyspark_version", lambda: "9.9.9")
    monkeypatch.setattr(slim_spark_home, "pyspark_version", lambda: "9.9.9")
    assert spark_home() == package
    write(package / "jars" / "new.jar", {})
    assert slim_spark_home.make() == old == spark_home()
    assert (old / "jars" / "new.jar").exists()


def test_one_by_other_rules_is_made_anew(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slim_spark_home.make()
    monkeypatch.setattr(slim_spark_home, "LEFT_OUT", ("iceberg*",))
    assert {jar.name for jar in (slim_spark_home.make() / "jars").iterdir()} == {*KEPT, *LEFT_OUT, SIGNED} - {
        "iceberg.jar"
    }


def test_without_it_pysparks_own_home_is_used(package: Path) -> None:
    assert spark_home() == package
    # One that was left half made.
    (lean_spark_home() / "jars").mkdir(parents=True)
    assert spark_home() == package


def test_the_installed_pyspark_has_what_it_leaves_out() -> None:
    """A family that is gone from pyspark, or renamed, has no business in the list."""
    jars = [jar.name for jar in (packaged_spark_home() / "jars").glob("*.jar")]
    unused = [pattern for pattern in slim_spark_home.LEFT_OUT if not any(Path(jar).match(pattern) for jar in jars)]
    assert unused == []
    assert len(list((slim_spark_home.make() / "jars").iterdir())) < 0.7 * len(jars)
