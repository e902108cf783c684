"""Commit of a load: files of a failed attempt are removed, conflicts are retried, errors are one line."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from random import Random

import pyarrow as pa

from ohlcv.config.settings import Settings
from ohlcv.iceberg.catalog_errors import catalog_errors, describe_catalog_error
from ohlcv.model.errors import OhlcvError

COMMIT_ATTEMPTS = 16
# The wait before a repeated attempt doubles up to the longest one, so all waits of a load are under five minutes.
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 25.0


def conflict_wait(attempt: int, random: Random) -> float:
    """Return the seconds to wait before an attempt (the second is 1); half of it is random, so that writers spread."""
    longest = min(FIRST_WAIT_SECONDS * 2 ** (attempt - 1), LONGEST_WAIT_SECONDS)
    return random.uniform(longest / 2, longest)


@contextlib.contextmanager
def load_errors(settings: Settings, action: str) -> Iterator[None]:
    """Convert errors of the catalog or the warehouse to one line. The action is "read" or "written"."""
    try:
        yield
    except catalog_errors() as error:
        raise OhlcvError(
            f"{describe_catalog_error(settings, error)}; then load again (no trade is loaded twice)"
        ) from None
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise OhlcvError(
                f"no space left in {settings.warehouse}: nothing was loaded, free space and load again"
            ) from None
        cause = str(error).strip().splitlines()[0]
        if action == "read":
            cause += "; see 'ohlcv doctor'"
        raise OhlcvError(f"the trades table could not be {action}, nothing was loaded: {cause}") from None
