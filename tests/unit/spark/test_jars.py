"""Jar sets: their choice, what depends on it, and the download of the pinned jars."""

from __future__ import annotations

import hashlib
import os
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from ohlcv.model.errors import InputError, OhlcvError
from ohlcv.spark import jars
from ohlcv.spark.jars import (
    BASE_JARS,
    chosen_engines,
    chosen_jars,
    chosen_sets,
    extract_library,
    fetch_jars,
    find_missing_set,
    jar_paths,
    library_folder,
    store_choice,
)
from ohlcv.spark.toolchain import archive_path, slim_home_path, spark_home


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Replace the share folder by an empty one."""
    monkeypatch.setattr(jars, "share_directory", lambda: tmp_path / "share")
    return tmp_path / "share"


@pytest.mark.usefixtures("share")
def test_the_set_up_stores_the_choice_and_a_variable_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_sets() == ("aws", "native")
    monkeypatch.setenv("OHLCV_JAR_SETS", "hive, aws")
    store_choice()
    monkeypatch.delenv("OHLCV_JAR_SETS")
    assert chosen_sets() == ("aws", "hive")
    monkeypatch.setenv("OHLCV_JAR_SETS", "gcp")
    assert chosen_sets() == ("gcp",)
    assert [jar.artifact for jar in chosen_jars()][-1] == "iceberg-gcp-bundle"


def test_a_set_that_became_a_default_is_added_to_an_older_choice_once(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share.mkdir()
    (share / "jar-sets").write_text("aws,hive")
    assert chosen_sets() == ("aws", "hive", "native")
    # The choice of a set-up that knows the set.
    monkeypatch.setenv("OHLCV_JAR_SETS", "aws,hive")
    store_choice()
    monkeypatch.delenv("OHLCV_JAR_SETS")
    assert chosen_sets() == ("aws", "hive")


def test_the_jar_of_native_execution_is_on_the_class_path_of_native_jobs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_engines() == ("jvm", "native")
    [comet] = jars.JAR_SETS["native"]
    assert [path.name for path in jar_paths("native")] == [*(path.name for path in jar_paths()), comet.file_name]
    assert archive_path("driver", "native").parent != archive_path("driver").parent
    with_native = archive_path("driver")
    monkeypatch.setenv("OHLCV_JAR_SETS", "aws")
    assert chosen_engines() == ("jvm",)
    assert jar_paths("native") == jar_paths()
    # The same class path, so the same archives.
    assert archive_path("driver") == with_native


def test_the_native_library_is_taken_out_of_its_jar_for_this_processor_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OHLCV_JARS", str(tmp_path))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    [comet] = jars.JAR_SETS["native"]
    for content in (b"older", b"newer version"):
        with zipfile.ZipFile(tmp_path / comet.file_name, "w") as archive:
            archive.writestr("org/apache/comet/linux/amd64/libcomet.so", b"of another processor")
            archive.writestr("org/apache/comet/linux/aarch64/libcomet.so", content)
        extract_library()
        assert (library_folder() / "libcomet.so").read_bytes() == content
    time = (library_folder() / "libcomet.so").stat().st_mtime_ns
    extract_library()
    assert (library_folder() / "libcomet.so").stat().st_mtime_ns == time
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    extract_library()


def test_an_unknown_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_JAR_SETS", "aws,gpc")
    with pytest.raises(InputError, match=r"the unknown set 'gpc': use some of aws, gcp, azure, hive, native$"):
        chosen_sets()


def test_each_choice_has_its_own_archives_and_only_hive_its_own_spark_home(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = set()
    for sets, home in (("aws,native", "spark"), ("azure", "spark"), ("hive", "spark-hive"), ("hive,aws", "spark-hive")):
        monkeypatch.setenv("OHLCV_JAR_SETS", sets)
        folders.add(archive_path("driver").parent.name)
        assert slim_home_path().name == home
    assert folders == {"archives", "archives-azure", "archives-hive", "archives-aws-hive"}


def test_a_set_that_a_catalog_needs_is_reported_with_the_command_that_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OHLCV_JAR_SETS", "aws")
    assert find_missing_set(("aws",)) is None
    assert find_missing_set(("aws", "hive")) == (
        "the catalog or the store needs the jar set hive: run 'OHLCV_JAR_SETS=aws,hive make setup'"
    )


def test_installed_jars_match_their_pinned_checksums() -> None:
    assert len({jar.file_name for jar in chosen_jars()}) == 5
    for jar, path in zip(chosen_jars(), jar_paths("native"), strict=True):
        with path.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256, path


def test_jar_versions_match_the_installed_spark() -> None:
    spark, scala = "4.1", "2.13"
    assert version("pyspark").startswith(f"{spark}.")
    assert BASE_JARS[0].artifact == f"iceberg-spark-runtime-{spark}_{scala}"
    assert list((spark_home() / "jars").glob(f"scala-library-{scala}.*.jar"))


def test_the_message_about_a_missing_jar_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OHLCV_JARS", str(tmp_path))
    with pytest.raises(OhlcvError, match=f"^the jar {BASE_JARS[0].file_name} is not in {tmp_path}: run 'make setup'$"):
        jar_paths()


def test_ohlcv_jars_overrides_the_jar_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for jar in chosen_jars():
        (tmp_path / jar.file_name).write_bytes(b"")
    monkeypatch.setenv("OHLCV_JARS", str(tmp_path))
    assert jar_paths() == [tmp_path / jar.file_name for jar in chosen_jars("jvm")]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo tampered > $ivy/jars/{name}", r"has checksum [0-9a-f]{{64}}, not the pinned {pinned}"),
        (
            "echo 'no route to host' >&2; exit 1",
            r"could not download {coordinate} .no route to host.: check access to Maven Central",
        ),
    ],
)
def test_a_downloaded_jar_with_another_checksum_is_rejected(
    share: Path, tmp_path: Path, script: str, message: str
) -> None:
    submit = tmp_path / "spark" / "bin" / "spark-submit"
    submit.parent.mkdir(parents=True)
    text = script.format(name=BASE_JARS[0].file_name)
    submit.write_text(f'#!/usr/bin/env bash\nivy="${{4#*=}}"\nmkdir -p "$ivy/jars"\n{text}\n')
    submit.chmod(0o755)
    expected = message.format(pinned=BASE_JARS[0].sha256, coordinate=BASE_JARS[0].coordinate)
    with pytest.raises(OhlcvError, match=expected):
        fetch_jars(submit.parent.parent, dict(os.environ))
    assert list((share / "jars").iterdir()) == []
