"""Java's classes, as a job asks for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from py4j.java_gateway import JavaClass, JavaMember, JavaPackage, JVMView
from pyspark import SparkContext

# What py4j hands out: no types, any name.
JavaObject = Any


def java_class(name: str) -> JavaObject:
    """Give a class of the job's JVM by its whole name, in one question.

    Part by part (`jvm.org.apache…`) Java is asked for each: is there a class `org`, a class `org.apache`? It looks into
    every jar before it says no.
    """
    return getattr(SparkContext._jvm, name)


def cache_class_lookups() -> None:
    """Ask the JVM but once what a name means: a package, a class, a method of a class.

    pyspark asks anew at every use of every function, `F.col` too: fifteen hundred questions in a run, of which some
    have Java look into every jar. That is a second of a short job.
    """
    for holder in (JVMView, JavaPackage, JavaClass):
        ask = holder.__getattr__
        # Twice in one process, as in tests, is as good as once.
        if not hasattr(ask, "__wrapped__"):
            holder.__getattr__ = _remembering(ask)


def _remembering(ask: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    @wraps(ask)
    def answer(holder: Any, name: str) -> Any:
        found = ask(holder, name)
        # Python looks here first the next time. Values of static fields may change; what names mean does not.
        if isinstance(found, JavaPackage | JavaClass | JavaMember):
            holder.__dict__[name] = found
        return found

    return answer
