"""Causes of catalog errors, recognized in the errors of pyiceberg and of Iceberg's Java library."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum


class Cause(StrEnum):
    """What is wrong, as far as it decides what to do."""

    UNREACHABLE = "unreachable"
    NO_CREDENTIAL = "no credential"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    NO_WAREHOUSE = "no warehouse"
    NO_TABLE = "no table"
    NOT_ICEBERG = "not an Iceberg catalog"
    GARBAGE_DISABLED = "garbage collection disabled"
    LOCKED = "locked"
    STORE_LOGIN = "store login"
    STORE_FORBIDDEN = "store forbidden"
    STORE_UNREACHABLE = "store unreachable"
    STORE = "store"
    OTHER = "other"


STORE_CAUSES = (Cause.STORE_LOGIN, Cause.STORE_FORBIDDEN, Cause.STORE_UNREACHABLE, Cause.STORE)

# Errors of an object store: those of pyarrow and of AWS's SDK for Java.
_STORE = re.compile(
    r"AWS Error|\bS3Exception\b|NoSuchBucketException|NoSuchKeyException|S3FileIO|when reading information for key"
)
# Pattern of "Class: message" -> cause, in order of precedence. The classes are those of pyiceberg, Iceberg's Java
# library, botocore, AWS's SDK for Java, and the database drivers.
_STORE_CAUSES = (
    (r"SIGNATURE_DOES_NOT_MATCH|SignatureDoesNotMatch|signature we calculated|INVALID_ACCESS_KEY|InvalidAccessKey"
     r"|Invalid[ _]?Client[ _]?Token|UNRECOGNIZED_CLIENT|UserNotFound|ExpiredToken|EXPIRED_TOKEN", Cause.STORE_LOGIN),
    (r"ACCESS_DENIED|AccessDenied|Access Denied|Status Code: 403|HTTP status 403", Cause.STORE_FORBIDDEN),
    (r"NETWORK_CONNECTION|ConnectException|UnknownHostException|SocketTimeout", Cause.STORE_UNREACHABLE),
)  # fmt: skip
_CAUSES = (
    (r"GC is disabled", Cause.GARBAGE_DISABLED),
    (r"^RestProtocolError:", Cause.NOT_ICEBERG),
    (r"^(NoSuchTableError|NoSuchTableException):|TABLE_OR_VIEW_NOT_FOUND", Cause.NO_TABLE),
    (r"NoCredentialsError|PartialCredentialsError|Unable to load credentials|ProfileNotFound|no password supplied"
     r"|NoRegionError|Unable to load region|no password was provided", Cause.NO_CREDENTIAL),
    (r"^(UnauthorizedError|NotAuthorizedException|OAuthError|AuthorizationExpiredError):|invalid_client|invalid_grant"
     r"|invalid_scope|password|(role|user) \"[^\"]*\" does not exist|pg_hba\.conf"
     r"|UnrecognizedClient|InvalidSignature|SignatureDoesNotMatch|ExpiredToken|InvalidClientToken"
     r"|security token included", Cause.LOGIN),
    (r"[Ww]arehouse.* (not known|not found|does not exist)|NoSuchWarehouse|database \"[^\"]*\" does not exist",
     Cause.NO_WAREHOUSE),
    (r"^(ForbiddenError|ForbiddenException):|permission denied for|InsufficientPrivilege|AccessDenied"
     r"|readonly database|SQLITE_READONLY|[Nn]ot authorized|Permission denied", Cause.FORBIDDEN),
    (r"database is locked|SQLITE_BUSY", Cause.LOCKED),
    (r"^(ConnectionError|ConnectTimeout|ReadTimeout|SSLError|ProxyError|ConnectException|UnknownHostException"
     r"|HttpHostConnectException|SocketTimeoutException|TTransportException|EndpointConnectionError"
     r"|ConnectTimeoutException|SSLHandshakeException):|[Cc]onnection( to [^\n]*?)? (refused|failed|attempt failed)"
     r"|failed to resolve|connection timeout", Cause.UNREACHABLE),
)  # fmt: skip


def find_cause(errors: Sequence[str]) -> Cause:
    """Return the cause of an error, given the texts of the error and of its causes."""
    text = "\n".join(errors)
    if _STORE.search(text):
        return next((cause for pattern, cause in _STORE_CAUSES if re.search(pattern, text)), Cause.STORE)
    return next((cause for pattern, cause in _CAUSES if re.search(pattern, text, re.MULTILINE)), Cause.OTHER)
