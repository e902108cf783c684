"""Properties of REST catalogs: authentication, certificates, and their checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ohlcv.config.values import absolute_path, is_web_address, read_text_file, redacted
from ohlcv.model.errors import InputError

# Path of the token endpoint of a REST catalog that issues tokens itself.
TOKEN_PATH = "/v1/oauth/tokens"  # noqa: S105  # no password


def with_flat_authentication(place: str, properties: Mapping[str, str]) -> dict[str, str]:
    """Return properties with pyiceberg's block `auth` replaced by those that both clients read."""
    block = {key: value for key, value in properties.items() if key.startswith("auth.")}
    result = {key: value for key, value in properties.items() if key not in block}
    if not block:
        return result
    kind = block.get("auth.type", "")
    own = {key.removeprefix(f"auth.{kind}."): value for key, value in block.items()}
    try:
        if kind == "oauth2":
            result |= {
                "credential": f"{own['client_id']}:{own['client_secret']}",
                "oauth2-server-uri": own["token_url"],
                **({"scope": own["scope"]} if "scope" in own else {}),
            }
        elif kind == "basic":
            result |= {
                "rest.auth.type": "basic",
                "rest.auth.basic.username": own["username"],
                "rest.auth.basic.password": own["password"],
            }
        elif kind == "noop":
            result |= {"rest.auth.type": "none"}
        else:
            raise InputError(f"'auth' of {place} has the type '{kind[:50]}': use oauth2, basic or noop")
    except KeyError as error:
        raise InputError(f"'auth' of {place} has no {error}: set it below 'auth: {kind}:'") from None
    return result


def check_rest(place: str, properties: dict[str, str]) -> None:
    """Raise InputError for properties of a REST catalog that a client cannot use. Make the path in them absolute."""
    for key in ("uri", "oauth2-server-uri"):
        if (text := properties.get(key)) is not None and not is_web_address(text):
            raise InputError(
                f"'{key}' of {place} is '{redacted(text)}': give an address such as http://host:19120/iceberg, "
                "without user, password or query"
            )
    if "token" in properties:
        check_token(f"'token' of {place}", properties["token"])
    if bundle := properties.get("ssl.cabundle"):
        properties["ssl.cabundle"] = absolute_path(f"'ssl.cabundle' of {place}", bundle)
        check_certificates(f"'ssl.cabundle' of {place}", properties["ssl.cabundle"])
    if client := next((key for key in properties if key.startswith("ssl.client")), None):
        raise InputError(f"'{client}' of {place}: Spark's client has no certificate of its own: use a token instead")


def check_token(name: str, token: str) -> None:
    """Raise InputError for a token that cannot be sent. The HTTP client would repeat it."""
    if not re.fullmatch(r"[!-~]+", token):
        raise InputError(f"{name} contains a space, a line break or a character that is not ASCII: correct it")


def check_certificates(name: str, path: str) -> None:
    """Raise InputError for a file that contains no certificate."""
    if "-----BEGIN CERTIFICATE-----" not in read_text_file(name, Path(path), "certificates"):
        raise InputError(f"{name} is {path}, which contains no certificate in PEM format: give that of the authority")
