"""A Spark home with only the jars that candle jobs need. Jobs start from it 20 % faster.

Three properties of pyspark's own home cost a short job one or two seconds:

* Java searches all 287 jars for a class that no jar contains, and it looks for many of those. MLlib also adds hooks to
  every session. The slim home leaves out the jars for other cluster managers, Hive and machine learning, but keeps
  the client of a Hive Metastore if the jar set `hive` is chosen.
* Java takes no class of a signed jar from a CDS archive (ohlcv.setup.class_data_sharing). The compiler of Spark's
  generated code is in two signed jars. They are copied without their signatures; their classes are unchanged.
* Where a home contains a zip of pyspark's sources, the driver imports it from there and compiles it at every start. The
  slim home has no zip, so that the driver imports the installed package.

If the slim home is missing or was built from another pyspark version, jobs use pyspark's own home. They start more
slowly and still succeed.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from ohlcv.spark.toolchain import SLIM_HOME_MARKER, keeps_hive, packaged_spark_home, pyspark_version, slim_home_path

# Jars that neither the jobs nor the master and the workers use, grouped by purpose.
EXCLUDED_JARS = (
    # Other parts of Spark: machine learning, graphs, the old streaming API, Spark Connect, shells.
    *("spark-mllib*", "spark-graphx*", "spark-streaming*", "spark-connect*", "spark-pipelines*", "spark-repl*"),
    # Numeric and console libraries of these parts.
    *("breeze*", "spire*", "algebra*", "cats-kernel*", "JTransforms*", "JLargeArrays*", "arpack*", "blas*", "lapack*"),
    *("scala-compiler*", "jline*"),
    # Other cluster managers.
    *("spark-yarn*", "spark-kubernetes*", "kubernetes-*", "vertx-*", "zjsonpatch*"),
    # Hive and its databases. hive-storage-api stays, because ORC needs it.
    *("spark-hive*", "hive-[!s]*", "hive-se*", "hive-sh*", "datanucleus-*", "derby*", "HikariCP*", "commons-dbcp*"),
    *("commons-pool*", "javax.jdo*", "jdo-api*", "jta-*", "transaction-api*", "libthrift*", "libfb303*", "jpam*"),
    *("super-csv*", "opencsv*", "json-1*", "ST4*", "antlr-runtime-3*", "stax-api*"),
    # HTTP/3 and BoringSSL, both disabled by default.
    *("netty-codec-native-quic*", "netty-codec-classes-quic*", "netty-codec-http3*", "netty-tcnative-boringssl*"),
)
# Client of a Hive Metastore, which Iceberg's Hive catalog uses.
HIVE_CLIENT_JARS = (
    *("hive-common*", "hive-exec*", "hive-metastore*", "hive-serde*", "hive-shims*", "libthrift*", "libfb303*"),
)
SIGNATURES = (".SF", ".RSA", ".DSA", ".EC")


def create_slim_home() -> Path:
    """Create the slim home if it is missing or outdated. Return its path."""
    home, source = slim_home_path(), packaged_spark_home()
    marker = home / SLIM_HOME_MARKER
    # toolchain.spark_home compares the first line with the installed pyspark version.
    client = HIVE_CLIENT_JARS if keeps_hive() else ()
    contents = f"{pyspark_version()}\nwithout {' '.join(EXCLUDED_JARS)}\n"
    contents += f"with {' '.join(client)}\n" if client else ""
    if marker.is_file() and marker.read_text() == contents:
        return home
    shutil.rmtree(home, ignore_errors=True)
    (home / "jars").mkdir(parents=True)
    for jar in sorted((source / "jars").glob("*.jar")):
        if _matches(jar, EXCLUDED_JARS) and not _matches(jar, client):
            continue
        target = home / "jars" / jar.name
        if _is_signed(jar):
            _copy_unsigned(jar, target)
        else:
            target.symlink_to(jar)
    (home / "bin").symlink_to(source / "bin")
    # Written last, so that an incomplete home is never used.
    marker.write_text(contents)
    return home


def _matches(jar: Path, patterns: Iterable[str]) -> bool:
    return any(fnmatch(jar.name, pattern) for pattern in patterns)


def _is_signed(jar: Path) -> bool:
    with zipfile.ZipFile(jar) as archive:
        return any(map(_is_signature, archive.namelist()))


def _is_signature(name: str) -> bool:
    return name.startswith("META-INF/") and name.upper().endswith(SIGNATURES)


def _copy_unsigned(jar: Path, copy: Path) -> None:
    with zipfile.ZipFile(jar) as archive, zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as unsigned:
        for entry in archive.infolist():
            if not _is_signature(entry.filename):
                unsigned.writestr(entry, archive.read(entry))
    # A JVM rejects a CDS archive if the modification time of a jar differs. A new copy must keep the time.
    shutil.copystat(jar, copy)
