"""The fake has methods of the driver, with their signatures, and none of its own."""

import inspect

import neo4j
import pytest

from tests.fakes.driver import FakeAsyncDriver
from tests.fakes.result import FakeAsyncResult
from tests.fakes.session import FakeAsyncSession
from tests.fakes.transaction import FakeAsyncManagedTransaction

FAKES: dict[type, type] = {
    neo4j.AsyncDriver: FakeAsyncDriver,
    neo4j.AsyncSession: FakeAsyncSession,
    neo4j.AsyncManagedTransaction: FakeAsyncManagedTransaction,
    neo4j.AsyncResult: FakeAsyncResult,
}


def methods(class_: type) -> set[str]:
    """The public methods that a class defines, and those of `async with` and `async for`."""
    return {
        name
        for name, value in vars(class_).items()
        if inspect.isfunction(value)
        and (not name.startswith("_") or name in {"__aenter__", "__aexit__", "__aiter__"})
    }


def shape(function: object) -> tuple[bool, bool, list[tuple[object, object]]]:
    """Sort of a function, and kinds and defaults of its parameters."""
    assert callable(function)
    parameters = inspect.signature(function).parameters.values()
    sort = inspect.iscoroutinefunction(function), inspect.isasyncgenfunction(function)
    return *sort, [(each.kind, each.default) for each in parameters]


@pytest.mark.parametrize("real", FAKES, ids=lambda class_: class_.__name__)
def test_methods_of_the_fake_have_the_signatures_of_the_installed_driver(real: type) -> None:
    fake = FAKES[real]
    assert methods(fake)
    for name in methods(fake):
        assert shape(getattr(fake, name)) == shape(getattr(real, name)), name


@pytest.mark.parametrize("name", ["__enter__", "__exit__", "__iter__", "__next__"])
def test_no_class_can_be_used_synchronously(name: str) -> None:
    for real, fake in FAKES.items():
        assert not hasattr(real, name)
        assert not hasattr(fake, name)
