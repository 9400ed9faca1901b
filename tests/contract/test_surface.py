"""The fake has the methods of the driver that the product uses, with their signatures, and no others."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import neo4j
import pytest

import pipeline
import workers
from tests.checks.kinds import Kind
from tests.checks.module import Module
from tests.fakes.driver import FakeAsyncDriver
from tests.fakes.result import FakeAsyncResult
from tests.fakes.session import FakeAsyncSession
from tests.fakes.transaction import FakeAsyncManagedTransaction

Method = tuple[type, str]

REAL: dict[Kind | None, type] = {
    Kind.SESSION: neo4j.AsyncSession,
    Kind.TRANSACTION: neo4j.AsyncManagedTransaction,
    Kind.RESULT: neo4j.AsyncResult,
    Kind.DRIVER: neo4j.AsyncDriver,
}
FAKES: dict[type, type] = {
    neo4j.AsyncDriver: FakeAsyncDriver,
    neo4j.AsyncSession: FakeAsyncSession,
    neo4j.AsyncManagedTransaction: FakeAsyncManagedTransaction,
    neo4j.AsyncResult: FakeAsyncResult,
}
#: What a method that the product uses calls in turn.
IMPLIED: dict[Method, Method] = {
    (neo4j.AsyncSession, "__aexit__"): (neo4j.AsyncSession, "close"),
    (neo4j.AsyncResult, "single"): (neo4j.AsyncResult, "__aiter__"),
}


def methods_in(text: str) -> Iterator[Method]:
    """The methods of the driver's classes that a module calls, by name or by syntax."""
    module = Module(text)
    for node in module.walk():
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=name)):
                names = [name]
            case ast.withitem(context_expr=value):
                names = ["__aenter__", "__aexit__"]
            case ast.AsyncFor(iter=value) | ast.comprehension(iter=value, is_async=1):
                names = ["__aiter__"]
            case _:
                continue
        kind = module.kind(value)
        if kind in REAL:
            yield from ((REAL[kind], name) for name in names)


def used() -> set[Method]:
    """The methods of the driver's classes that the product uses."""
    files = [file for package in (pipeline, workers) for file in Path(package.__path__[0]).rglob("*.py")]
    found = {method for file in files for method in methods_in(file.read_text(encoding="utf-8"))}
    return found | {implied for method, implied in IMPLIED.items() if method in found}


def has(class_: type) -> set[str]:
    """The public methods that a class defines, those of the language included, construction aside."""
    names = {name for name, value in vars(class_).items() if inspect.isfunction(value)}
    return {
        name for name in names if not name.startswith("_") or name in {"__aenter__", "__aexit__", "__aiter__"}
    }


def shape(function: object) -> tuple[str, list[tuple[str, object, object]]]:
    """Whether a function is a coroutine's, and its parameters: name, kind, default."""
    assert callable(function)
    sort = "coroutine" if inspect.iscoroutinefunction(function) else "plain"
    sort = "async generator" if inspect.isasyncgenfunction(function) else sort
    parameters = inspect.signature(function).parameters.values()
    return sort, [(each.name, each.kind, each.default) for each in parameters]


def test_the_fake_has_what_the_product_uses_and_no_more() -> None:
    assert {(real, name) for real, fake in FAKES.items() for name in has(fake)} == used()


@pytest.mark.parametrize(
    ("real", "name"), sorted(used(), key=str), ids=lambda value: getattr(value, "__name__", value)
)
def test_a_method_of_the_fake_has_the_signature_of_the_installed_driver(real: type, name: str) -> None:
    real_sort, real_parameters = shape(getattr(real, name))
    fake_sort, fake_parameters = shape(getattr(FAKES[real], name))
    assert fake_sort == real_sort
    if (
        name == "__aexit__"
    ):  # the language passes its arguments by position; their names differ even in the driver
        assert len(fake_parameters) == len(real_parameters)
    else:
        assert fake_parameters == real_parameters


@pytest.mark.parametrize("name", ["__enter__", "__exit__", "__iter__", "__next__"])
def test_no_class_can_be_used_synchronously(name: str) -> None:
    for real, fake in FAKES.items():
        assert not hasattr(real, name)
        assert not hasattr(fake, name)
