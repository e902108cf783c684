"""Errors that are shown to the user."""

import re

# Characters of a given text that a message repeats.
MAX_QUOTED = 50


def quoted(text: str) -> str:
    """Return the beginning of a given text, in quotes, for a message."""
    return f"'{one_line(text[:MAX_QUOTED])}{'…' if len(text) > MAX_QUOTED else ''}'"


def one_line(text: str) -> str:
    """Return the text with escapes in place of line breaks, control characters and invisible characters."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class OhlcvError(Exception):
    """An error that the user can fix. The message is one line that says what is wrong and what to do."""

    exit_code = 1


class InputError(OhlcvError):
    """An invalid request or setting: an unknown timeframe, a reversed range, a bad file."""

    exit_code = 2


class UnknownSeriesError(InputError):
    """A symbol or exchange of which a table has no candle."""


class MissingTableError(OhlcvError):
    """A table that the catalog does not contain."""


class DamagedFileError(OhlcvError):
    """A file of a table or of the catalog that is missing, truncated or unreadable."""

    def __init__(self, file: str, problem: str) -> None:
        """Name the file without the scheme of a local one, the problem, and the recovery."""
        self.path = re.sub(r"^file:/+", "/", file)
        self.problem = problem
        super().__init__(f"{self.path} {problem}: restore it from a backup, or see Damaged files in docs/runbook.md")


class UnusableMetadataError(OhlcvError):
    """A table whose catalog entry names no metadata file that exists."""

    def __init__(self, message: str, problem: str) -> None:
        """`problem` is what is wrong, without the recovery."""
        self.problem = problem
        super().__init__(message)


class EqualityDeletesError(OhlcvError):
    """A table with equality deletes, which pyiceberg does not apply."""

    def __init__(self, table: str) -> None:
        """Name the table and the procedure that applies its deletes."""
        super().__init__(
            f"{table} has equality deletes, which pyiceberg cannot read: rewrite its files with Iceberg's "
            "rewrite_data_files ('delete-file-threshold' => '1', 'remove-dangling-deletes' => 'true')"
        )
