"""Translation of catalog properties to the names that pyiceberg and Spark use.

Most properties have the same name in both. `RULES` lists the others. A property without a rule is passed to both
clients, a property with the prefix `pyiceberg.` or `spark.` only to that client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Client = Literal["pyiceberg", "spark"]
CLIENTS: tuple[Client, ...] = ("pyiceberg", "spark")


def _same(value: str) -> str:
    return value


def _negated(value: str) -> str:
    return "false" if value.lower() == "true" else "true"


def _sigv4(value: str) -> str | None:
    return "sigv4" if value.lower() == "true" else None


def _authentication(value: str) -> str | None:
    return {"basic": "basic", "none": "noop"}.get(value.lower())


@dataclass(frozen=True)
class Names:
    """Names of a property in a client, and its value there. None: the client does not get the property."""

    names: tuple[str, ...] = ()
    value: Callable[[str], str | None] = _same


@dataclass(frozen=True)
class Rule:
    """How the clients name one property."""

    pyiceberg: Names
    spark: Names


def _rule(pyiceberg: str, spark: str) -> Rule:
    return Rule(Names(tuple(pyiceberg.split())), Names(tuple(spark.split())))


RULES: Mapping[str, Rule] = {
    # Implementations, each in its own language.
    "py-io-impl": _rule("py-io-impl", ""),
    "io-impl": _rule("", "io-impl"),
    "py-catalog-impl": _rule("py-catalog-impl", ""),
    "catalog-impl": _rule("", "catalog-impl"),
    # SQL catalogs: pyiceberg has the user and the password in its address.
    "jdbc.user": _rule("", "jdbc.user"),
    "jdbc.password": _rule("", "jdbc.password"),
    "jdbc.schema-version": _rule("", "jdbc.schema-version"),
    # S3: Spark has one region for all clients of AWS.
    "s3.region": _rule("s3.region", "client.region"),
    "s3.path-style-access": Rule(
        Names(("s3.force-virtual-addressing",), _negated), Names(("s3.path-style-access",), _same)
    ),
    "s3.force-virtual-addressing": Rule(
        Names(("s3.force-virtual-addressing",), _same), Names(("s3.path-style-access",), _negated)
    ),
    # Signed requests to a REST catalog. pyiceberg uses the keys of `client.` also for S3.
    "rest.sigv4-enabled": Rule(Names(("rest.sigv4-enabled",), _same), Names(("rest.auth.type",), _sigv4)),
    "client.access-key-id": _rule("client.access-key-id", "rest.access-key-id s3.access-key-id"),
    "client.secret-access-key": _rule("client.secret-access-key", "rest.secret-access-key s3.secret-access-key"),
    "client.session-token": _rule("client.session-token", "rest.session-token s3.session-token"),
    # Authentication other than by token.
    "rest.auth.type": Rule(Names(("auth.type",), _authentication), Names(("rest.auth.type",), _same)),
    "rest.auth.basic.username": _rule("auth.basic.username", "rest.auth.basic.username"),
    "rest.auth.basic.password": _rule("auth.basic.password", "rest.auth.basic.password"),
    "glue.region": _rule("glue.region", "client.region"),
    # Azure: Spark's names of the key of a storage account.
    "adls.account-name": _rule("adls.account-name", "adls.auth.shared-key.account.name"),
    "adls.account-key": _rule("adls.account-key", "adls.auth.shared-key.account.key"),
    # Certificate authority of a REST catalog. Java takes it from its trust store.
    "ssl.cabundle": _rule("ssl.cabundle", ""),
}


def translate(client: Client, properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties for a client. Its own name takes precedence over a translated one, its prefix over both."""
    translated: dict[str, str] = {}
    plain: dict[str, str] = {}
    addressed: dict[str, str] = {}
    for key, value in properties.items():
        prefix, _, rest = key.partition(".")
        if prefix in CLIENTS:
            if prefix == client:
                addressed[rest] = value
        elif key in RULES:
            names: Names = getattr(RULES[key], client)
            converted = names.value(value)
            if converted is not None:
                translated |= dict.fromkeys(names.names, converted)
        else:
            plain[key] = value
    return {**translated, **plain, **addressed}


def nested(properties: Mapping[str, str]) -> dict[str, Any]:
    """Return properties for pyiceberg, which reads `ssl.` and `auth.` from nested dictionaries."""
    result: dict[str, Any] = {}
    for key, value in properties.items():
        *path, last = key.split(".") if key.startswith(("ssl.", "auth.")) else [key]
        target = result
        for part in path:
            target = target.setdefault(part, {})
        target[last] = value
    return result
