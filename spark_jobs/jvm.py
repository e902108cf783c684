"""Java's classes, as a job asks for them."""

from __future__ import annotations

from typing import Any

from pyspark import SparkContext

# What py4j hands out: no types, any name.
JavaObject = Any


def java_class(name: str) -> JavaObject:
    """Give a class of the job's JVM by its whole name, in one question.

    Part by part (`jvm.org.apache…`) Java is asked for each: is there a class `org`, a class `org.apache`? It looks into
    every jar before it says no.
    """
    return getattr(SparkContext._jvm, name)
