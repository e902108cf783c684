"""Generated requests that trigger a run of a DAG, as Airflow's REST API receives them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from hostile.values import INJECTIONS, LONG, civil, given_time, json_value, number, text
from ohlcv.model.timeframes import DEFAULT_TIMEFRAMES

RANGE = ("start", "end")
CANDLES = tuple(timeframe.dag_id for timeframe in DEFAULT_TIMEFRAMES.values())
REPROCESS, RETENTION = "ohlcv_reprocess", "ohlcv_retention"
LEDGER, COVERAGE, RECONCILE, HEALTH = "ohlcv_ledger", "ohlcv_coverage", "ohlcv_reconcile", "ohlcv_health"
FSCK = "ohlcv_fsck"
# DAG -> its share of the requests.
SHARES = {
    **dict.fromkeys(CANDLES, 6),
    **{REPROCESS: 30, RETENTION: 20, LEDGER: 5, COVERAGE: 2, RECONCILE: 5, HEALTH: 2, FSCK: 8},
}
FLAGS = ("prune", "dry_run", "new_source")
Outcome = Literal["accepted", "either", "refused"]


@dataclass(frozen=True)
class Given:
    """The value of a parameter, what it means, and what may become of it."""

    value: Any
    meaning: Any
    outcome: Outcome


@dataclass(frozen=True)
class RunRequest:
    """A request: the DAG, the parameters of its run, and the other fields of the body."""

    dag_id: str
    given: dict[str, Given]
    fields: dict[str, Any] = field(default_factory=dict)
    # In place of the parameters: something that is no JSON object with texts as names.
    replaced_conf: Any = None
    # Airflow or the job refuses it, whatever the parameters are.
    is_malformed: bool = False

    @property
    def body(self) -> dict[str, Any]:
        """Return the body of the request as JSON values."""
        conf = {name: each.value for name, each in self.given.items()}
        given = self.replaced_conf if self.replaced_conf is not None else conf
        return {"logical_date": None, "conf": given, **self.fields}

    @property
    def outcome(self) -> Outcome:
        """Return what the single values allow."""
        outcomes = {each.outcome for each in self.given.values()}
        if self.is_malformed or "refused" in outcomes:
            return "refused"
        return "either" if "either" in outcomes else "accepted"

    def meaning(self, name: str, default: Any = None) -> Any:
        """Return what a parameter means, by default that it is not given."""
        return self.given[name].meaning if name in self.given else default


def run_request(rng: random.Random, now: int) -> RunRequest:
    """Return a request at a number of seconds since the epoch."""
    [dag_id] = rng.choices(list(SHARES), list(SHARES.values()))
    given = {name: make(rng, now) for name, make in PARAMETERS[dag_id].items() if rng.random() < 0.75}
    if set(RANGE) <= given.keys() and rng.random() < 0.7:
        given |= _plausible_range(rng, now)
    if rng.random() < 0.15:
        given |= _unknown_parameters(rng, dag_id)
    fields, malformed = _fields(rng, now) if rng.random() < 0.3 else ({}, False)
    if rng.random() < 0.04:
        conf = rng.choice(([], "start", 1, [["start", "2026-01-01"]], True, nested(rng.choice((50, 400)))))
        # A nested object is an unknown parameter.
        return RunRequest(dag_id, {}, fields, conf, is_malformed=True)
    return RunRequest(dag_id, given, fields, is_malformed=malformed)


def nested(depth: int) -> dict[str, Any]:
    """Return an object in an object in an object."""
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": found}
    return found


def _plausible_range(rng: random.Random, now: int) -> dict[str, Given]:
    """Return a range with a start before its end, of which both have a meaning."""
    while True:
        found = sorted((given_time(rng, now) for _ in RANGE), key=lambda each: each.instant or 0)
        if all(each.instant is not None for each in found) and (found[0].instant or 0) < (found[1].instant or 0):
            return {name: Given(each.text, each.instant, each.outcome) for name, each in zip(RANGE, found, strict=True)}


def _unknown_parameters(rng: random.Random, dag_id: str) -> dict[str, Given]:
    known = PARAMETERS[dag_id]
    names = ("strat", "Start", "start ", "dryrun", "dry-run", "timeframe", "__class__", "dag_run", "", "é", "x" * LONG)
    name = rng.choice([each for each in (*names, *INJECTIONS) if each not in known])
    return {name: Given(json_value(rng), None, "refused")}


def _fields(rng: random.Random, now: int) -> tuple[dict[str, Any], bool]:
    """Return further fields of a body, and whether the run is refused because of them."""
    logical_date, start, end = (_date(rng, now) for _ in range(3))
    valid: list[dict[str, Any]] = [
        {"logical_date": logical_date},
        {"logical_date": logical_date, "data_interval_start": start, "data_interval_end": end},
        {"run_after": start},
        {"dag_run_id": f"hostile-{rng.randrange(10**12)}.~:+{'x' * rng.choice((0, 200))}"},
    ]
    ids = ("a/b", "a..b", "a b", "scheduled__2026-03-01T00:00:00+00:00", "x" * 300 + "!", *(INJECTIONS[:12]))
    # Airflow accepts ids that look like options of the job.
    options = ("--start", "-h", "--")
    wrong: list[dict[str, Any]] = [
        {"dag_run_id": rng.choice(ids)},
        {"dag_run_id": rng.choice(options)},
        {"logical_date": rng.choice((True, [], {}, "soon", "2026-02-30T00:00:00Z", 1e300))},
        {"run_after": text(rng, 5_000) + "!"},
        {"data_interval_end": end},
        {"unknown": json_value(rng, 1)},
        {"conf": text(rng) + "!"},
    ]
    if rng.random() < 0.6:
        return rng.choice(valid), False
    return rng.choice(wrong), True


def _date(rng: random.Random, now: int) -> str:
    extremes = ("0001-01-01T00:00:00Z", "0001-01-05T12:00:00Z", "9999-12-31T23:59:59Z", "2099-01-01T00:00:00Z")
    if rng.random() < 0.3:
        return rng.choice(extremes)
    return iso(now + rng.randrange(-500, 500) * rng.choice((1, 60, 3_600)))


def iso(seconds: int) -> str:
    """Return a number of seconds since the epoch in the documented form."""
    year, month, day, hour, minute, second = civil(seconds)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


Maker = Callable[[random.Random, int], Given]


def _time(rng: random.Random, now: int) -> Given:
    if rng.random() < 0.1:
        return _wrong_type(rng)
    if rng.random() < 0.05:
        return Given(None, None, "accepted")
    found = given_time(rng, now)
    if found.text == "":
        # An empty field of the form.
        return Given("", None, "either")
    return Given(found.text, found.instant, found.outcome)


def _wrong_type(rng: random.Random) -> Given:
    """Return a value that is neither a text nor null."""
    value = rng.choice((number(rng), True, [], ["2026-03-01T00:00:00Z"], {"start": 1}, nested(20)))
    return Given(value, None, "refused")


def _flag(rng: random.Random, _: int) -> Given:
    if rng.random() < 0.8:
        value = rng.random() < 0.5
        return Given(value, value, "accepted")
    return Given(rng.choice(("true", "false", "no", "", 0, 1, None, [], {}, *INJECTIONS)), None, "refused")


def _timeframes(rng: random.Random, _: int) -> Given:
    names = list(DEFAULT_TIMEFRAMES)
    chosen = rng.sample(names, rng.randint(1, len(names)))
    if rng.random() < 0.8:
        return Given(chosen, chosen, "accepted")
    wrong: tuple[Any, ...] = (
        [],
        [*chosen, chosen[0]],
        [*chosen, "7m"],
        # Known, but not enabled.
        [*chosen, "15m"],
        ",".join(chosen),
        [",".join(chosen)] if len(chosen) > 1 else [f"{chosen[0]},"],
        [f"{chosen[0]}\n"],
        [chosen[0].upper() + " "],
        [chosen],
        [None],
        dict.fromkeys(chosen, True),
        [*chosen, text(rng, 5_000)],
        None,
        chosen * 2_000,
    )
    return Given(rng.choice(wrong), None, "refused")


def _as_of(rng: random.Random, now: int) -> Given:
    """Return a day. None is between now and the clock of this machine."""
    kind = rng.random()
    if kind < 0.6:
        year, month, day, *_ = civil(now - 86_400 * rng.randrange(3_000))
        written = f"{year:04}-{month:02}-{day:02}"
        return Given(written, written, "accepted")
    if kind < 0.7:
        return Given(None, None, "accepted")
    if kind < 0.8:
        return _wrong_type(rng)
    wrong = ("2026-02-30", "20260301", "2026-W09-7", "1969-12-31", "0001-01-01", "2999-01-01", "9999-12-31", "soon")
    return Given(rng.choice((*wrong, "2026-03-01T00:00:00Z", "２０２６-０３-０１", text(rng))), None, "refused")


def _max_share(rng: random.Random, _: int) -> Given:
    if rng.random() < 0.6:
        share = rng.choice((0.01, 0.5, 1, 1.0, 1e-9))
        return Given(share, share, "accepted")
    return Given(
        rng.choice((0, -1, 1.0000001, 2, 1e308, 10**400, float("nan"), "0.5", None, True, [])), None, "refused"
    )


def _days(rng: random.Random, _: int) -> Given:
    if rng.random() < 0.5:
        days = rng.choice((1, 7, 3650, 7.0))
        return Given(days, days, "accepted")
    return Given(
        rng.choice((0, -1, 3651, 1.5, 10**400, float("inf"), float("nan"), "7", None, True, [7])), None, "refused"
    )


_RANGE: dict[str, Maker] = dict.fromkeys(RANGE, _time)
# DAG -> its parameters.
PARAMETERS: dict[str, dict[str, Maker]] = {
    **{dag_id: {**_RANGE, "prune": _flag} for dag_id in CANDLES},
    REPROCESS: {**_RANGE, "timeframes": _timeframes, **dict.fromkeys(FLAGS, _flag)},
    RETENTION: {"dry_run": _flag, "as_of": _as_of, "timeframes": _timeframes, "max_share": _max_share},
    LEDGER: {"timeframes": _timeframes},
    COVERAGE: {},
    RECONCILE: {"days": _days},
    HEALTH: {},
    FSCK: {"timeframes": _timeframes, "trades": _flag, "records": _flag, "since": _time},
}
