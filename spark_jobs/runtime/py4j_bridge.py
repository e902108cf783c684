"""Access to Java classes through py4j."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from py4j import protocol
from py4j.java_gateway import JavaClass, JavaMember, JavaPackage, JVMView
from pyspark import SparkContext

# py4j objects have no static types.
JavaObject = Any


def java_class(name: str) -> JavaObject:
    """Return a class of the job's JVM by its full name, with one call.

    For `jvm.org.apache…` py4j asks for each part whether it is a class (`org`, `org.apache`, …), and Java searches
    every jar before it answers no.
    """
    return getattr(SparkContext._jvm, name)


def static_method(owner: JavaClass, name: str) -> JavaMember:
    """Return a static method of a class that also has instance methods of this name.

    `owner.name` works only if the JVM lists the static one first, and the order differs from JVM to JVM.
    """
    return JavaMember(name, None, f"{protocol.STATIC_PREFIX}{owner._fqn}", owner._gateway_client)


def cache_class_lookups() -> None:
    """Cache what a name refers to in the JVM: a package, a class, a method of a class.

    pyspark looks names up again at every use of every function, even `F.col`: 1,500 calls to the JVM in one run, some
    of which search every jar. The cache saves one second of a short job.
    """
    for holder in (JVMView, JavaPackage, JavaClass):
        look_up = holder.__getattr__
        # Tests open several sessions in one process; the method is wrapped only once.
        if not hasattr(look_up, "__wrapped__"):
            holder.__getattr__ = _cached(look_up)


def _cached(look_up: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    @wraps(look_up)
    def look_up_and_cache(holder: Any, name: str) -> Any:
        found = look_up(holder, name)
        # Python finds it in __dict__ the next time. Values of static fields may change and are not cached.
        if isinstance(found, JavaPackage | JavaClass | JavaMember):
            holder.__dict__[name] = found
        return found

    return look_up_and_cache
