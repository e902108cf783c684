"""Hostile values of parameters: texts, times whose instant is known by construction, and JSON of any shape."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

MICROSECONDS = 1_000_000
DAY_SECONDS = 86_400

INJECTIONS = (
    "' OR '1'='1",
    "BTC-USD'; DROP TABLE gold_ohlcv_1h; --",
    '" UNION SELECT * FROM gold_crypto_trades --',
    "$(touch /tmp/x)",
    "`id`",
    "a;reboot",
    "--prune=yes",
    "--conf spark.driver.extraJavaOptions=-Dx",
    "{{ 7 * 7 }}",
    "{{ dag_run.conf }}",
    "{% for x in range(9) %}y{% endfor %}",
    "${jndi:ldap://127.0.0.1:1/x}",
    "%s%n%x",
    "<script>alert(1)</script>",
    "../../../etc/passwd",
    "file:///etc/passwd",
    "a\x00b",
    "a\r\nSet-Cookie: x=1",
    "\x1b[31m",
    "\u202e\ufeff",
    "２０２６-０３-０１",
    "١٢٣",
    "😀" * 40,
    "",
    " ",
    "null",
    "NaN",
    "yes",
)
LONG = 1_000_000


def text(rng: random.Random, longest: int = LONG) -> str:
    """Return a text that is no valid value of any parameter, or is only a name."""
    if rng.random() < 0.1:
        return rng.choice("A0é{'") * rng.choice((51, 300, 5_000, longest))
    return rng.choice(INJECTIONS)


def number(rng: random.Random) -> Any:
    """Return a JSON number."""
    numbers = (0, -1, 1, 7, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 0.5, 1.5, -0.0, 1e308, 1e-320)
    return rng.choice((*numbers, float("inf"), float("nan")))


def json_value(rng: random.Random, depth: int = 3) -> Any:
    """Return a JSON value of any shape."""
    choices: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: number(rng),
        lambda: text(rng, 100_000),
    ]
    if depth:
        choices += [
            lambda: [json_value(rng, depth - 1) for _ in range(rng.randrange(4))],
            lambda: {text(rng, 5_000): json_value(rng, depth - 1) for _ in range(rng.randrange(3))},
            lambda: {"__type": "dict", "__var": {"start": "2026-03-01"}},
        ]
    return rng.choice(choices)()


@dataclass(frozen=True)
class GivenTime:
    """A text in place of a time, and what may become of it."""

    text: str
    # Microseconds since the epoch that the text means, if it means any.
    instant: int | None
    # A text of the documented form is accepted, one of another form may be, and one without a meaning must not be.
    outcome: Literal["accepted", "either", "refused"]


def given_time(rng: random.Random, near: int) -> GivenTime:
    """Return a time around a number of seconds since the epoch, or something else."""
    kind = rng.random()
    if kind < 0.2:
        return GivenTime(rng.choice((text(rng), *_NO_TIMES)), None, "refused")
    if kind < 0.3:
        seconds, written = rng.choice(_EXTREMES)
        return GivenTime(written, seconds * MICROSECONDS, "accepted")
    steps = rng.choice((1, 60, 300, 3_600, DAY_SECONDS))
    seconds = (near + rng.randrange(-400, 100) * steps) // steps * steps
    return _written(rng, seconds)


def _written(rng: random.Random, seconds: int) -> GivenTime:
    """Return a text that means a number of seconds since the epoch, in the documented form or in another one."""
    offset = rng.choice((0, 0, 0, 0, 330, -570, 840, -720, 1, 1439))
    year, month, day, hour, minute, second = civil(seconds + 60 * offset)
    date = f"{year:04}-{month:02}-{day:02}"
    sign, (hours, minutes) = "-" if offset < 0 else "+", divmod(abs(offset), 60)
    zone = f"{sign}{hours:02}:{minutes:02}" if offset else rng.choice(("Z", "+00:00", "-00:00"))
    clock = f"{hour:02}:{minute:02}:{second:02}"
    micros = rng.choice((0, 0, 0, 1, 999_999))
    fraction = f".{micros:06}" if micros else ""
    instant = seconds * MICROSECONDS + micros
    if rng.random() < 0.7:
        return GivenTime(f"{date}T{clock}{fraction}{zone}", instant, "accepted")
    whole = seconds * MICROSECONDS
    others = [
        (f"{date} {clock}{fraction}{zone}", instant),
        (f" {date}T{clock}{zone}\n", whole),
        (f"{date}t{clock}{zone.lower()}", whole),
        (f"{date.replace('-', '')}T{clock.replace(':', '')}{zone.replace(':', '')}", whole),
        (f"{date}T{clock}.{micros:06}999{zone}", instant),
        # Python takes the second colon for a decimal point.
        (f"{date}T{clock}:00{zone}", whole),
        (f"{date}T24:00:00{zone}", None),
        (f"{date}T{hour:02}:{minute:02}:60{zone}", None),
        (f"{date[:8]}32T{clock}{zone}", None),
        (f"{year:04}-02-30T{clock}{zone}", None),
        (f"{date}T{clock}+24:00", None),
        (f"+{date}T{clock}{zone}", None),
        (str(seconds), None),
    ]
    if not offset:
        others.append((f"{date}T{clock}", whole))
    written, meaning = rng.choice(others)
    return GivenTime(written, meaning, "refused" if meaning is None else "either")


def civil(seconds: int) -> tuple[int, int, int, int, int, int]:
    """Return year, month, day, hour, minute and second of a number of seconds since the epoch, without a library."""
    days, rest = divmod(seconds, DAY_SECONDS)
    days += 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + 400 * era + (1 if month <= 2 else 0)
    day = day_of_year - (153 * shifted + 2) // 5 + 1
    return year, month, day, rest // 3_600, rest // 60 % 60, rest % 60


_FIRST, _LAST = -62_135_596_800, 253_402_300_799
_EXTREMES = (
    (_FIRST, "0001-01-01T00:00:00Z"),
    (_FIRST + DAY_SECONDS, "0001-01-02T00:00:00Z"),
    (_LAST, "9999-12-31T23:59:59Z"),
    (0, "1970-01-01T00:00:00Z"),
    (-1, "1969-12-31T23:59:59Z"),
    (951_782_400, "2000-02-29T00:00:00Z"),
)
_NO_TIMES = (
    "yesterday",
    "now",
    "2026-13-01T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
    "-0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-03-01T00:00:00+99:99",
    "2026-03-01T00:00:00 UTC",
    "2026-03-01T00:00:00Z Z",
    "01.03.2026",
    "03/01/2026",
    "1772323200000",
    "2026-03-01T00:00:00Z/2026-03-02T00:00:00Z",
)
