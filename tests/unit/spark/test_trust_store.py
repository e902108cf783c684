"""Trust store of Java: the authorities of the machine and a private one."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from ohlcv.spark.trust_store import PASSWORD, write_authorities, write_trust_store
from spark_jobs.runtime.private_authority import executor_properties
from support.catalog_servers.certificates import private_authority


# About malformed old certificates that the machine trusts.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_trust_store_contains_the_private_authority(tmp_path: Path) -> None:
    authority = private_authority(tmp_path)
    private = x509.load_pem_x509_certificate(authority.ca_file.read_bytes())
    for file, expected in ((None, False), (str(authority.ca_file), True)):
        write_trust_store(tmp_path / "trust.p12", file)
        store = tmp_path / "trust.p12"
        found = pkcs12.load_pkcs12(store.read_bytes(), PASSWORD.encode()).additional_certs if store.exists() else []
        assert (private in [each.certificate for each in found]) is expected


def test_executors_get_a_copy_of_the_store_beside_their_other_options() -> None:
    submitted = {"spark.files": "a.txt", "spark.executor.extraJavaOptions": "-XX:SharedArchiveFile=e.jsa"}
    assert executor_properties(Path("/tmp/x/ohlcv-trust.p12"), Path("/tmp/x/ohlcv-authorities.pem"), submitted) == {
        "spark.files": "a.txt,/tmp/x/ohlcv-trust.p12,/tmp/x/ohlcv-authorities.pem",
        "spark.executor.extraJavaOptions": (
            "-XX:SharedArchiveFile=e.jsa -Djavax.net.ssl.trustStore=ohlcv-trust.p12 "
            "-Djavax.net.ssl.trustStorePassword=changeit"
        ),
        "spark.executorEnv.SSL_CERT_FILE": "ohlcv-authorities.pem",
    }
    assert executor_properties(Path("/s"), Path("/a"), {})["spark.files"] == "/s,/a"


# About malformed old certificates that the machine trusts.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_the_authorities_of_native_clients_contain_the_private_one(tmp_path: Path) -> None:
    authority = private_authority(tmp_path)
    write_authorities(tmp_path / "authorities.pem", str(authority.ca_file))
    private = x509.load_pem_x509_certificate(authority.ca_file.read_bytes())
    assert private in x509.load_pem_x509_certificates((tmp_path / "authorities.pem").read_bytes())
