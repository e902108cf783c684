"""Translation of neutral properties to the names of both clients."""

from __future__ import annotations

import pytest

from ohlcv.config.catalogs.translation import nested, translate


@pytest.mark.parametrize(
    ("properties", "pyiceberg", "spark"),
    [
        ({"uri": "u", "unknown.key": "x"}, {"uri": "u", "unknown.key": "x"}, {"uri": "u", "unknown.key": "x"}),
        ({"pyiceberg.a": "1", "spark.b.c": "2"}, {"a": "1"}, {"b.c": "2"}),
        ({"uri": "u", "spark.uri": "jdbc:u"}, {"uri": "u"}, {"uri": "jdbc:u"}),
        ({"io-impl": "J", "py-io-impl": "p"}, {"py-io-impl": "p"}, {"io-impl": "J"}),
        ({"s3.region": "eu"}, {"s3.region": "eu"}, {"client.region": "eu"}),
        (
            {"s3.region": "eu", "client.region": "us"},
            {"s3.region": "eu", "client.region": "us"},
            {"client.region": "us"},
        ),
        (
            {"s3.path-style-access": "true"},
            {"s3.force-virtual-addressing": "false"},
            {"s3.path-style-access": "true"},
        ),
        (
            {"s3.force-virtual-addressing": "True"},
            {"s3.force-virtual-addressing": "True"},
            {"s3.path-style-access": "false"},
        ),
        ({"rest.sigv4-enabled": "true"}, {"rest.sigv4-enabled": "true"}, {"rest.auth.type": "sigv4"}),
        ({"rest.sigv4-enabled": "false"}, {"rest.sigv4-enabled": "false"}, {}),
        (
            {"client.access-key-id": "c", "s3.access-key-id": "s"},
            {"client.access-key-id": "c", "s3.access-key-id": "s"},
            {"rest.access-key-id": "c", "s3.access-key-id": "s"},
        ),
        ({"jdbc.password": "p"}, {}, {"jdbc.password": "p"}),
        ({"rest.auth.type": "none"}, {"auth.type": "noop"}, {"rest.auth.type": "none"}),
        ({"rest.auth.type": "oauth2"}, {}, {"rest.auth.type": "oauth2"}),
        (
            {"adls.account-name": "n", "adls.account-key": "k"},
            {"adls.account-name": "n", "adls.account-key": "k"},
            {"adls.auth.shared-key.account.name": "n", "adls.auth.shared-key.account.key": "k"},
        ),
        ({"ssl.cabundle": "/ca"}, {"ssl.cabundle": "/ca"}, {}),
    ],
)
def test_each_client_gets_its_own_names(
    properties: dict[str, str], pyiceberg: dict[str, str], spark: dict[str, str]
) -> None:
    assert (translate("pyiceberg", properties), translate("spark", properties)) == (pyiceberg, spark)


def test_pyiceberg_reads_certificates_and_authentication_from_nested_properties() -> None:
    flat = {"ssl.cabundle": "/ca", "auth.type": "basic", "auth.basic.username": "me", "s3.endpoint": "e"}
    assert nested(flat) == {
        "ssl": {"cabundle": "/ca"},
        "auth": {"type": "basic", "basic": {"username": "me"}},
        "s3.endpoint": "e",
    }
