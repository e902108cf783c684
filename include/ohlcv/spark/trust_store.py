"""Certificate authorities of this machine and a private one: as a trust store of Java, and in PEM format."""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path

# Java's default password of trust stores. A trust store contains no secret.
PASSWORD = "changeit"  # noqa: S105


def write_trust_store(path: Path, private_authority: str | None = None) -> None:
    """Write a trust store with the authorities that Python finds here, including company ones, and those of a file."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    authorities = _authorities(private_authority)
    if not authorities:
        return
    with warnings.catch_warnings():
        # cryptography warns about malformed old certificates. The machine trusts them, so they are included.
        warnings.simplefilter("ignore")
        entries = [
            pkcs12.PKCS12Certificate(x509.load_der_x509_certificate(each), str(number).encode())
            for number, each in enumerate(authorities)
        ]
        path.write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(PASSWORD.encode())))


def write_authorities(path: Path, private_authority: str) -> None:
    """Write the certificates of the authorities of this machine and of a file in PEM format."""
    path.write_text("".join(map(ssl.DER_cert_to_PEM_cert, _authorities(private_authority))))


def _authorities(private_authority: str | None) -> list[bytes]:
    context = ssl.create_default_context()
    if private_authority is not None:
        context.load_verify_locations(private_authority)
    return context.get_ca_certs(binary_form=True)
