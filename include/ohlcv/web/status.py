"""Document of the pipeline page: freshness, runs, size and maintenance of each timeframe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from ohlcv.config.settings import Settings
from ohlcv.iceberg.audit_state import age_of, read_audit_state
from ohlcv.iceberg.snapshot_summary import job_summary, main_snapshots
from ohlcv.model import summary_keys
from ohlcv.model.errors import OhlcvError
from ohlcv.model.intervals import from_microseconds, iso
from ohlcv.model.timeframes import Timeframe
from ohlcv.readers.latest import newest_window_start
from ohlcv.web.airflow_reader import NOT_CONFIGURED, DagFacts, Json, Runs, airflow_document, airflow_reader
from ohlcv.web.data import CandleData
from ohlcv.web.index_refresher import NoAnswerError
from ohlcv.web.table_index import TableIndex

NO_TABLE: Json = {
    **{"newest_window_end": None, "rejected": {}, "withheld": None},
    **{"held": 0, "held_since": None, "rows": 0, "files": 0, "bytes": 0, "last_maintenance": None},
}
_known_tables: WeakKeyDictionary[TableIndex, Json] = WeakKeyDictionary()


def read_status(settings: Settings, data: CandleData, timeframes: Sequence[str]) -> dict[str, Any]:
    """Return the state of the timeframes. Without Airflow it lacks the runs. Waits at most a few seconds for it."""
    reader = airflow_reader(settings)
    found, problem = (None, NOT_CONFIGURED) if reader is None else reader.runs.get()
    # Runs of an Airflow that does not answer any more would look like the present ones.
    runs = Runs({}, ()) if found is None or problem is not None else found
    now = datetime.now(UTC)
    ages = [age for name in timeframes if (age := data.stale_seconds(name)) is not None]
    return {
        "airflow": airflow_document(problem),
        "stale_seconds": max(ages, default=None),
        "timeframes": [_status(settings.timeframe(name), data, runs, now) for name in timeframes],
    }


def _status(timeframe: Timeframe, data: CandleData, runs: Runs, now: datetime) -> Json:
    facts = runs.dags.get(timeframe.dag_id, DagFacts())
    table, problem = NO_TABLE, None
    try:
        if (index := data.index(timeframe.name)) is not None:
            table = _table_facts(timeframe, index)
    except NoAnswerError:
        # The next table would wait as long.
        raise
    except (OhlcvError, OSError) as error:
        # The other tables may be readable.
        problem = str(error)
    end = table["newest_window_end"]
    maintenance = [table["last_maintenance"], *_retention_runs(timeframe, runs)]
    return {
        "name": timeframe.name,
        "dag_id": timeframe.dag_id,
        "problem": problem,
        **table,
        "newest_window_end": None if end is None else iso(end),
        "lag_seconds": None if end is None else (now - end).total_seconds(),
        "held_seconds": None if table["held_since"] is None else age_of(table["held_since"], now).total_seconds(),
        "time_target_seconds": timeframe.time_target.total_seconds(),
        "paused": facts.paused,
        "last_run": _last_run(facts),
        "runs_24h": facts.counts.ended,
        "succeeded_24h": facts.counts.successful,
        "durations": [_duration(job) for job in reversed(facts.jobs) if job["duration"] is not None],
        "retention_horizon": timeframe.cutoff(now.date()).isoformat(),
        "last_maintenance": max(filter(None, maintenance), key=lambda each: each["at"], default=None),
    }


def _table_facts(timeframe: Timeframe, index: TableIndex) -> Json:
    """Return the facts of the table, which are read once per index."""
    if index not in _known_tables:
        _known_tables[index] = _read_table(timeframe, index)
    return _known_tables[index]


def _read_table(timeframe: Timeframe, index: TableIndex) -> Json:
    start = newest_window_start(index.table, timeframe)
    job: dict[str, str] = {}
    maintenance = None
    for snapshot in main_snapshots(index.table):
        summary = job_summary(snapshot)
        if not job and summary_keys.TRADES_REJECTED in summary:
            job = summary
        if maintenance is None and summary_keys.MAINTENANCE in summary:
            at = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)
            maintenance = {"at": iso(at), "run_id": summary.get(summary_keys.RUN_ID) or None}
    withheld = job.get(summary_keys.CANDLES_WITHHELD)
    held = read_audit_state(index.table, timeframe).held
    return {
        "newest_window_end": None if start is None else from_microseconds(start) + timeframe.length,
        "rejected": json.loads(job.get(summary_keys.TRADES_REJECTED, "{}")),
        "withheld": None if withheld is None else int(withheld),
        "held": len(held),
        "held_since": held[0].since if held else None,
        "rows": index.rows,
        "files": len(index.files),
        "bytes": index.bytes,
        "last_maintenance": maintenance,
    }


def _retention_runs(timeframe: Timeframe, runs: Runs) -> list[Json]:
    """Return the end of the newest run of the retention DAG that maintained the table. It may have changed nothing."""
    for run in runs.retention:
        conf = run.get("conf") or {}
        if run.get("end_date") and not conf.get("dry_run") and timeframe.name in conf.get("timeframes", timeframe.name):
            return [{"at": _time(run["end_date"]), "run_id": run["dag_run_id"]}]
    return []


def _last_run(facts: DagFacts) -> Json | None:
    run = facts.last_run
    if run is None:
        return None
    return {
        "run_id": run["dag_run_id"],
        "run_type": run.get("run_type"),
        "state": run["state"],
        "start": _time(run.get("start_date")),
        "end": _time(run.get("end_date")),
        # Of the job, like the time target.
        "duration_seconds": facts.last_duration,
    }


def _duration(job: Json) -> Json:
    return {
        "run_id": job["dag_run_id"],
        "start": _time(job["start_date"]),
        "duration_seconds": job["duration"],
        "state": job["state"],
    }


def _time(text: str | None) -> str | None:
    return None if text is None else iso(datetime.fromisoformat(text))
