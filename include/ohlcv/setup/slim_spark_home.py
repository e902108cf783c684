"""A Spark home with only the jars that candle jobs need. Jobs start from it 20 % faster.

Three properties of pyspark's own home cost a short job one or two seconds:

* Java searches all 287 jars for a class that no jar contains, and it looks for many of those. MLlib also adds hooks to
  every session. The slim home leaves out the jars for other cluster managers, Hive and machine learning.
* Java takes no class of a signed jar from a CDS archive (ohlcv.setup.class_data_sharing). The compiler of Spark's
  generated code is in two signed jars. They are copied without their signatures; their classes are unchanged.
* Where a home contains a zip of pyspark's sources, the driver imports it from there and compiles it at every start. The
  slim home has no zip, so that the driver imports the installed package.

Where the slim home is missing, or was made from another pyspark version, jobs start from pyspark's own home: that costs
time, and the run still succeeds.
"""

from __future__ import annotations

import shutil
import zipfile
from fnmatch import fnmatch
from pathlib import Path

from ohlcv.spark.toolchain import LEAN_MARK, lean_spark_home, packaged_spark_home, pyspark_version

# Families of jars by what they serve, none of which a job, a master or a worker here asks for.
LEFT_OUT = (
    # Spark's other faces: machine learning, graphs, streams of old, the server of remote sessions, shells.
    *("spark-mllib*", "spark-graphx*", "spark-streaming*", "spark-connect*", "spark-pipelines*", "spark-repl*"),
    # … and what they compute and read lines with.
    *("breeze*", "spire*", "algebra*", "cats-kernel*", "JTransforms*", "JLargeArrays*", "arpack*", "blas*", "lapack*"),
    *("scala-compiler*", "jline*"),
    # Other cluster managers.
    *("spark-yarn*", "spark-kubernetes*", "kubernetes-*", "vertx-*", "zjsonpatch*"),
    # Hive and its databases; hive-storage-api, which ORC is built on, stays.
    *("spark-hive*", "hive-[!s]*", "hive-se*", "hive-sh*", "datanucleus-*", "derby*", "HikariCP*", "commons-dbcp*"),
    *("commons-pool*", "javax.jdo*", "jdo-api*", "jta-*", "transaction-api*", "libthrift*", "libfb303*", "jpam*"),
    *("super-csv*", "opencsv*", "json-1*", "ST4*", "antlr-runtime-3*", "stax-api*"),
    # HTTP/3 and an encryption of its own, which nobody turns on.
    *("netty-codec-native-quic*", "netty-codec-classes-quic*", "netty-codec-http3*", "netty-tcnative-boringssl*"),
)
SIGNATURES = (".SF", ".RSA", ".DSA", ".EC")


def make() -> Path:
    """Make the home where it is missing or made of another pyspark; give it."""
    home, source = lean_spark_home(), packaged_spark_home()
    mark = home / LEAN_MARK
    # The first line is what `spark_home` looks at.
    made_of = f"{pyspark_version()}\nwithout {' '.join(LEFT_OUT)}\n"
    if mark.is_file() and mark.read_text() == made_of:
        return home
    shutil.rmtree(home, ignore_errors=True)
    (home / "jars").mkdir(parents=True)
    for jar in sorted((source / "jars").glob("*.jar")):
        if any(fnmatch(jar.name, pattern) for pattern in LEFT_OUT):
            continue
        kept = home / "jars" / jar.name
        if _is_signed(jar):
            _copy_unsigned(jar, kept)
        else:
            kept.symlink_to(jar)
    (home / "bin").symlink_to(source / "bin")
    # Written last: a home half made is none.
    mark.write_text(made_of)
    return home


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
    # A JVM holds an archive of classes against the times of its jars: a copy made anew is no other one.
    shutil.copystat(jar, copy)
