"""Trust store of Java with the certificate authorities of this machine and, on request, a private one."""

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

    context = ssl.create_default_context()
    if private_authority is not None:
        context.load_verify_locations(private_authority)
    authorities = context.get_ca_certs(binary_form=True)
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
