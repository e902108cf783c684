"""Access to the object store: a write check with a description of each error, and creation of the bucket."""

from __future__ import annotations

import re
import secrets
from urllib.parse import urlsplit

from pyarrow.fs import FileType, S3FileSystem

from ohlcv.config.settings import Settings
from ohlcv.config.storage import S3Store
from ohlcv.model.errors import InputError, OhlcvError

# A store that does not answer must be reported quickly, not use up the time of the task.
_TIMEOUT_SECONDS = 10.0

# Text that pyarrow adds before and after the message of the store.
_PYARROW_TEXT = (
    r"^.*?AWS Error \w+( \(HTTP status \d+\))? during \w+ operation: (Unable to parse ExceptionName: (?=\w+ Message))?"
    r"| \(Request ID: \w*\)"
)
# Property of each setting in a remedy.
_PROPERTIES = {"endpoint": "s3.endpoint", "warehouse": "warehouse", "region": "s3.region"}
# Pattern of a message -> description and remedy. AWS and versitygw use different names for an unknown key.
_ERRORS = (
    (r"NETWORK_CONNECTION", "does not answer", "start it, or correct {endpoint}"),
    (
        r"SIGNATURE_DOES_NOT_MATCH|INVALID_ACCESS_KEY_ID|INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT|UserNotFound",
        "rejects the access keys",
        "correct {keys}",
    ),
    (r"ExpiredToken|InvalidToken", "rejects the session token", "renew {keys}"),
    (r"NO_SUCH_BUCKET", "does not contain the bucket {bucket}", "create it, or correct {warehouse}"),
    (r"AuthorizationHeaderMalformed|PERMANENT_REDIRECT", "is in another region", "correct {region}"),
    (r"ACCESS_DENIED", "denies access to {bucket}", "grant it, or correct {keys}"),
)


def find_store_problem(settings: Settings) -> str | None:
    """Return one line that says why the warehouse in the store cannot be written and what to do, or None."""
    store, parts = settings.store, urlsplit(settings.warehouse)
    # The service of a REST catalog decides where its warehouse is.
    if store is None or parts.scheme != "s3":
        return None
    key = f"{parts.netloc}{parts.path.rstrip('/')}/.ohlcv-probe-{secrets.token_hex(8)}"
    try:
        files = file_system(store)
        with files.open_output_stream(key) as stream:
            stream.write(b"write check")
        files.delete_file(key)
    except OSError as error:
        return describe_store_error(settings, error)
    return None


def create_warehouse_bucket(settings: Settings) -> str | None:
    """Create the bucket of the warehouse. Return its name, or None if it existed.

    Only the setup calls this. No other code creates a bucket.
    """
    if settings.store is None:
        raise InputError(
            f"{settings.catalog.setting('warehouse')} is not an s3:// location: there is no bucket to create"
        )
    bucket = urlsplit(settings.warehouse).netloc
    try:
        files = file_system(settings.store, allow_bucket_creation=True)
        if files.get_file_info(bucket).type is not FileType.NotFound:
            return None
        files.create_dir(bucket)
    except OSError as error:
        raise OhlcvError(describe_store_error(settings, error)) from None
    return bucket


def file_system(store: S3Store, *, allow_bucket_creation: bool = False) -> S3FileSystem:
    """Return the file system of the store, configured as in pyiceberg."""
    return S3FileSystem(
        allow_bucket_creation=allow_bucket_creation,
        endpoint_override=store.endpoint,
        region=store.region,
        access_key=store.access_key,
        secret_key=store.secret_key,
        session_token=store.session_token,
        connect_timeout=_TIMEOUT_SECONDS,
        request_timeout=_TIMEOUT_SECONDS,
    )


def describe_store_error(settings: Settings, error: OSError) -> str:
    """Return one line that says what an error of the store means and what to do."""
    message = str(error).strip().splitlines()[0]
    # "When initiating … in bucket 'b': AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation: message (…)"
    cause = re.sub(_PYARROW_TEXT, "", message)
    found = ((problem, remedy) for pattern, problem, remedy in _ERRORS if re.search(pattern, message))
    problem, remedy = next(found, ("reports an error", "check the store"))
    named = re.search(r"in bucket '([^']+)'", message)
    bucket = named[1] if named else urlsplit(settings.warehouse).netloc
    catalog = settings.catalog
    names = {name: catalog.setting(key) for name, key in _PROPERTIES.items()}
    names["keys"] = catalog.store_access
    store = settings.store or f"of the catalog {catalog}"
    cause = catalog.without_secrets(cause)
    return f"the store {store} {problem.format(bucket=bucket)} ({cause}): {remedy.format(**names)}"


def is_store_error(error: BaseException) -> bool:
    """Return whether pyarrow reports an error of an object store, which says nothing about the file."""
    return isinstance(error, OSError) and "AWS Error" in str(error)
