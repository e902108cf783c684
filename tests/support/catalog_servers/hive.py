"""Hive Metastore 2.3 of pyspark's own jars, with its database in Derby."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ohlcv.spark.processes import HOST, free_port, start, stop
from ohlcv.spark.toolchain import java_home, packaged_spark_home
from support.processes import wait_for
from support.stores import accepts_connections

SERVER = "org.apache.hadoop.hive.metastore.HiveMetaStore"
# DataNucleus creates proxies of Java's own classes.
OPENED = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in ("java.lang", "java.net", "java.util")]


# Tables of the locks, from Hive's TxnDbUtil. The metastore creates only the other tables by itself.
LOCK_TABLES = """
CREATE TABLE TXNS (TXN_ID bigint PRIMARY KEY, TXN_STATE char(1) NOT NULL, TXN_STARTED bigint NOT NULL,
 TXN_LAST_HEARTBEAT bigint NOT NULL, TXN_USER varchar(128) NOT NULL, TXN_HOST varchar(128) NOT NULL);
CREATE TABLE TXN_COMPONENTS (TC_TXNID bigint REFERENCES TXNS (TXN_ID), TC_DATABASE varchar(128) NOT NULL,
 TC_TABLE varchar(128), TC_PARTITION varchar(767), TC_OPERATION_TYPE char(1) NOT NULL);
CREATE TABLE NEXT_TXN_ID (NTXN_NEXT bigint NOT NULL);
INSERT INTO NEXT_TXN_ID VALUES(1);
CREATE TABLE HIVE_LOCKS (HL_LOCK_EXT_ID bigint NOT NULL, HL_LOCK_INT_ID bigint NOT NULL, HL_TXNID bigint,
 HL_DB varchar(128) NOT NULL, HL_TABLE varchar(128), HL_PARTITION varchar(767), HL_LOCK_STATE char(1) NOT NULL,
 HL_LOCK_TYPE char(1) NOT NULL, HL_LAST_HEARTBEAT bigint NOT NULL, HL_ACQUIRED_AT bigint,
 HL_USER varchar(128) NOT NULL, HL_HOST varchar(128) NOT NULL, HL_HEARTBEAT_COUNT integer,
 HL_AGENT_INFO varchar(128), HL_BLOCKEDBY_EXT_ID bigint, HL_BLOCKEDBY_INT_ID bigint,
 PRIMARY KEY(HL_LOCK_EXT_ID, HL_LOCK_INT_ID));
CREATE TABLE NEXT_LOCK_ID (NL_NEXT bigint NOT NULL);
INSERT INTO NEXT_LOCK_ID VALUES(1);
CREATE TABLE AUX_TABLE (MT_KEY1 varchar(128) NOT NULL, MT_KEY2 bigint NOT NULL, MT_COMMENT varchar(255),
 PRIMARY KEY(MT_KEY1, MT_KEY2));
"""


@dataclass(frozen=True)
class HiveServer:
    """A running metastore."""

    port: int

    @property
    def address(self) -> str:
        return f"thrift://{HOST}:{self.port}"

    def clear(self) -> None:
        """Drop all databases except the one that always exists."""
        from pyiceberg.catalog.hive import _HiveClient

        with _HiveClient(self.address) as client:
            for name in client.get_all_databases():
                if name != "default":
                    client.drop_database(name, deleteData=False, cascade=True)


@contextmanager
def hive_server(folder: Path) -> Iterator[HiveServer]:
    """Run a metastore whose own warehouse is below a folder. Its log is hive.log."""
    properties = {
        "javax.jdo.option.ConnectionURL": f"jdbc:derby:{folder}/metastore;create=true",
        "javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
        "datanucleus.schema.autoCreateAll": "true",
        "hive.metastore.schema.verification": "false",
        "hive.metastore.warehouse.dir": f"{folder}/warehouse",
        # The defaults need libraries that are not in pyspark.
        "hive.async.log.enabled": "false",
        "datanucleus.connectionPoolingType": "none",
    }
    folder.mkdir(parents=True, exist_ok=True)
    entries = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>" for name, value in properties.items()
    )
    (folder / "hive-site.xml").write_text(f"<configuration>{entries}</configuration>")
    port = free_port()
    java = [str(java_home() / "bin" / "java"), "-XX:TieredStopAtLevel=1", *OPENED]
    java += [f"-Djava.io.tmpdir={folder}", f"-Dderby.stream.error.file={folder}/derby.log"]
    java += ["-cp", f"{folder}:{packaged_spark_home()}/jars/*"]
    (folder / "locks.sql").write_text(f"connect '{properties['javax.jdo.option.ConnectionURL']}';{LOCK_TABLES}exit;\n")
    created = subprocess.run(
        [*java, "org.apache.derby.tools.ij", str(folder / "locks.sql")], capture_output=True, text=True, check=False
    )
    assert "ERROR" not in created.stdout, created.stdout
    command = [*java, SERVER, "-p", str(port)]
    process = start(command, dict(os.environ), folder / "hive.log")
    try:
        wait_for(
            lambda: accepts_connections(port) or process.poll() is not None, f"the metastore, see {folder}/hive.log"
        )
        assert process.poll() is None, (folder / "hive.log").read_text()
        yield HiveServer(port)
    finally:
        stop(process)
