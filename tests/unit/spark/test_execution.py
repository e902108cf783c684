"""Choice of the engine in a session, and the restart on the JVM after a native failure."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from ohlcv.config.settings import Settings, load_settings
from spark_jobs.runtime import execution, spark_errors
from spark_jobs.runtime.execution import ON_JVM, Execution, choose_execution, run_on_engine

NATIVE = load_settings({"OHLCV_1D_EXECUTION": "native", "OHLCV_1H_EXECUTION": "shadow"})
CLUSTER = "spark://master:7077"


LOST_EXECUTOR = (
    "org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0 failed 1 times, "
    "most recent failure: Lost task 0.0 in stage 0.0 (TID 0) (127.0.0.1 executor 0): "
    "ExecutorLostFailure (executor 0 exited) Reason: exited with code 139\nDriver stacktrace:"
)


class JavaError:
    """A Java exception."""

    def __init__(self, text: str) -> None:
        self._text = text

    def toString(self) -> str:  # noqa: N802  # the name of Java
        return self._text


class Session:
    """The parts of a session that the choice of the engine uses."""

    def __init__(self, master: str = CLUSTER, plugins: str | None = "org.apache.spark.CometPlugin") -> None:
        properties = {"spark.plugins": plugins}
        self.sparkContext = SimpleNamespace(master=master, getConf=lambda: properties)
        self.cleared = 0
        self.catalog = SimpleNamespace(clearCache=self._clear)

    def _clear(self) -> None:
        self.cleared += 1


class Library:
    """NativeBase of Comet."""

    def __init__(self, problem: Exception | None = None) -> None:
        self._problem = problem

    def isLoaded(self) -> bool:  # noqa: N802  # the name of Java
        if self._problem:
            raise self._problem
        return True


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "java_class", lambda name: Library())
    monkeypatch.setattr(spark_errors, "_is_raised_in_a_task", lambda cause: False)


def choose(session: Any, settings: Settings = NATIVE, timeframe: str = "1d") -> Execution:
    return choose_execution(session, settings, settings.tuning[timeframe])


def test_the_engine_is_the_requested_one_where_it_can_run() -> None:
    assert choose(Session()) == Execution("native", "native")
    assert choose(Session(), timeframe="1h") == Execution("shadow", "jvm")
    assert choose(Session(), timeframe="1m") == ON_JVM


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        (Session(plugins=None), "the job was submitted without its jar: run 'make setup' with the jar set native"),
        (Session(master="local[2]"), "the master is local, and a native crash would end the driver"),
    ],
)
def test_a_session_without_native_execution_runs_on_the_jvm(session: Session, reason: str) -> None:
    assert choose(session) == Execution("native", "jvm", reason)


@pytest.mark.parametrize("kind", [Py4JError, PySparkException])
def test_a_library_that_cannot_be_loaded_is_the_reason_to_run_on_the_jvm(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    library = Library(kind("no comet in java.library.path\nat line 1"))
    monkeypatch.setattr(execution, "java_class", lambda name: library)
    assert choose(Session()).reason == "its library cannot be loaded (no comet in java.library.path)"


def test_a_setting_is_the_reason_before_anything_of_the_session() -> None:
    settings = load_settings({"OHLCV_1D_EXECUTION": "native", "OHLCV_NATIVE": "no"})
    assert choose(Session(plugins=None), settings).reason == "OHLCV_NATIVE is no"


class Work:
    """Work that fails while it runs natively."""

    def __init__(self, error: Exception | None = None, on_jvm: Exception | None = None) -> None:
        self._errors = {"native": error, "jvm": on_jvm}
        self.engines: list[str] = []

    def __call__(self, found: Execution) -> dict[str, Any]:
        self.engines.append(found.engine)
        if error := self._errors[found.engine]:
            raise error
        return {"snapshot": 1, "execution": found.to_json()}


def run(work: Work, session: Any, timeframe: str = "1d") -> dict[str, Any]:
    return run_on_engine(session, NATIVE, NATIVE.tuning[timeframe], work)


def test_the_log_and_the_report_name_the_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Work(), Session())["execution"] == {"requested": "native", "engine": "native"}
    assert capsys.readouterr().err == "execution: native (requested: native)\n"
    found = run(Work(), Session("local[*]"))["execution"]
    assert found["engine"] == "jvm"
    assert capsys.readouterr().err == f"execution: jvm, because {found['reason']} (requested: native)\n"
    assert run(Work(), Session(), "1m")["execution"] == {"requested": "jvm", "engine": "jvm"}
    assert capsys.readouterr().err == ""


def test_the_run_starts_again_on_the_jvm_after_a_native_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spark_errors, "java_causes", lambda error: [JavaError(str(error))])
    session = Session()
    work = Work(PySparkException(LOST_EXECUTOR))
    found = run(work, session)
    reason = "native execution failed: ExecutorLostFailure (executor 0 exited) Reason: exited with code 139"
    assert found == {"snapshot": 1, "execution": {"requested": "native", "engine": "jvm", "reason": reason}}
    assert work.engines == ["native", "jvm"]
    # Results of the native engine are not used again.
    assert session.cleared == 1
    assert capsys.readouterr().err.splitlines()[1:] == [
        "execution: native execution failed, the run starts again on the JVM: "
        "ExecutorLostFailure (executor 0 exited) Reason: exited with code 139"
    ]


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (LOST_EXECUTOR, "ExecutorLostFailure (executor 0 exited) Reason: exited with code 139"),
        (
            "…: Job aborted due to stage failure: ResultStage 1 has failed too often",
            "ResultStage 1 has failed too often",
        ),
        ("org.apache.comet.CometRuntimeException: no plan\nat x", "org.apache.comet.CometRuntimeException: no plan"),
        ("org.apache.iceberg.exceptions.CommitFailedException: x", None),
    ],
)
def test_failures_that_native_operators_can_cause(
    monkeypatch: pytest.MonkeyPatch, text: str, failure: str | None
) -> None:
    monkeypatch.setattr(spark_errors, "java_causes", lambda error: [JavaError("java.lang.X: y"), JavaError(text)])
    assert spark_errors.find_native_failure(PySparkException("")) == failure


def test_errors_that_no_task_raised_and_errors_on_the_jvm_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_errors, "java_causes", lambda error: [JavaError(str(error))])
    no_task = Work(PySparkException("the catalog denies access"))
    with pytest.raises(PySparkException, match="denies access"):
        run(no_task, Session())
    assert no_task.engines == ["native"]
    twice = Work(PySparkException(LOST_EXECUTOR), PySparkException(LOST_EXECUTOR))
    with pytest.raises(PySparkException, match="ExecutorLostFailure"):
        run(twice, Session())
    assert twice.engines == ["native", "jvm"]
