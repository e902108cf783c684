"""The one error a person is meant to read."""


class OhlcvError(Exception):
    """Something the user can mend. The message is one line that says what is wrong and what to do."""

    exit_code = 1


class InputError(OhlcvError):
    """What the user asked for cannot be asked: an unknown timeframe, a reversed range, a bad file."""

    exit_code = 2
