"""Errors that are shown to the user."""


class OhlcvError(Exception):
    """An error that the user can fix. The message is one line that says what is wrong and what to do."""

    exit_code = 1


class InputError(OhlcvError):
    """An invalid request or setting: an unknown timeframe, a reversed range, a bad file."""

    exit_code = 2
