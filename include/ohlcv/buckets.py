"""The bucket of an S3 store: made once, by whoever sets a site up. Nothing else makes one by accident."""

from __future__ import annotations

from urllib.parse import urlsplit

from pyarrow.fs import FileType, S3FileSystem

from ohlcv.errors import InputError, OhlcvError
from ohlcv.settings import Settings


def make_bucket(settings: Settings) -> str | None:
    """Make the bucket the warehouse lies in; give its name, or None where it was there."""
    if settings.store is None:
        raise InputError("OHLCV_WAREHOUSE is no s3:// location: there is no bucket to make")
    store, bucket = settings.store, urlsplit(settings.warehouse).netloc
    try:
        files = S3FileSystem(
            access_key=store.access_key,
            secret_key=store.secret_key,
            region=store.region,
            endpoint_override=store.endpoint,
            allow_bucket_creation=True,
        )
        if files.get_file_info(bucket).type is not FileType.NotFound:
            return None
        files.create_dir(bucket)
    except OSError as error:
        cause = str(error).strip().splitlines()[0]
        raise OhlcvError(f"the bucket {bucket} could not be made at {store} ({cause}): check OHLCV_S3_…") from None
    return bucket
