import ast
from pathlib import Path

import pytest

from tests.checks.mutant_table import Outcome, keys, missing, render
from tests.checks.mutants import PAGE, ROOT, all_mutations
from tests.checks.mutations import mutations
from tests.checks.project_copy import Relevance

SOURCE = '''"""A module."""

class Store:
    async def read(self, driver, record_type):
        async with await driver.session(database="neo4j") as session:
            result = await session.run("RETURN 'ä'", record_type=record_type)
            for name in [x async for x in result]:
                return name
        return None

    async def close(self):
        async def inner():
            await self.driver.close()
        try:
            async for record in self.rest():
                await inner()
        except asyncio.CancelledError:
            self.log()
            raise
        except ValueError as error:
            raise KeyError from error


def plain():
    raise ValueError
'''


def changed(text: str) -> tuple[str, ...]:
    """The lines of a wrong version that are not in the right one."""
    return tuple(line.strip() for line in text.splitlines() if line not in SOURCE.splitlines())


def of(kind: str) -> dict[str, tuple[str, ...]]:
    return {each.key[3]: changed(each.text) for each in mutations("store", SOURCE) if each.kind == kind}


def test_each_await_is_dropped_once() -> None:
    assert of("`await` dropped") == {
        'await driver.session(database="neo4j")': (
            'async with driver.session(database="neo4j") as session:',
        ),
        "await session.run(\"RETURN 'ä'\", record_type=record_type)": (
            "result = session.run(\"RETURN 'ä'\", record_type=record_type)",
        ),
        "await self.driver.close()": ("self.driver.close()",),
        "await inner()": ("inner()",),
    }


def test_each_async_with_and_async_for_becomes_sync_once() -> None:
    head = 'async with await driver.session(database="neo4j") as session'
    assert of("`async with` → `with`") == {head: (f"{head.removeprefix('async ')}:",)}
    assert of("`async for` → `for`") == {
        "async for x in result": ("for name in [x for x in result]:",),
        "async for record in self.rest()": ("for record in self.rest():",),
    }


def test_each_session_is_left_open_when_an_error_passes() -> None:
    (lines,) = of("session closed only on success").values()
    assert lines[0] == "session = await driver.session(database='neo4j')"
    assert lines[-4:] == (
        "returned = name",
        "await session.close()",
        "return returned",
        "await session.close()",
    )


def test_each_cancellation_is_swallowed_where_a_session_is_open_or_a_handler_raises_it() -> None:
    opened, handled = of("cancellation swallowed").values()
    assert opened[0] == "import asyncio"
    assert opened[-1] == "pass"
    assert handled == ("pass",)


def test_each_exception_that_a_handler_raises_is_lost() -> None:
    assert of("exception lost") == {"except ValueError as error: raise KeyError from error": ("pass",)}


def test_what_depends_on_the_record_type_is_broken_for_one_type_at_a_time() -> None:
    (lines,) = of("`async with` → `with`, labels only").values()
    assert lines[0] == "if record_type == 'labels':"
    assert lines[1].startswith("with await driver.session")
    assert of("`await` dropped, releases only")


def test_every_wrong_version_is_a_program_and_has_a_key_of_its_own() -> None:
    made = [*all_mutations(ROOT), *mutations("store", SOURCE)]
    for mutation in made:
        ast.parse(mutation.text)
    assert len({mutation.key for mutation in made}) == len(made)


def test_every_await_of_the_product_is_among_the_mutants() -> None:
    text = "".join(
        file.read_text() for part in ("pipeline", "workers") for file in (ROOT / part).rglob("*.py")
    )
    nodes = [type(node).__name__ for node in ast.walk(ast.parse(text))]
    kinds = [mutation.kind for mutation in all_mutations(ROOT)]
    assert kinds.count("`await` dropped") == nodes.count("Await") > 50
    assert kinds.count("`async with` → `with`") == nodes.count("AsyncWith") > 5


def test_a_module_without_async_code_has_no_mutants() -> None:
    assert (
        mutations("plain", "def f():\n    try:\n        pass\n    except ValueError:\n        raise\n") == []
    )


def test_the_page_says_what_was_found_and_can_be_read_back() -> None:
    made = mutations("a.store", SOURCE)
    outcomes = [
        Outcome(made[0], ["GA101", "mypy [misc]"], "tests/unit/test_x.py::test_y[a|b]"),
        Outcome(made[1]),
    ]
    page = render(outcomes, [], [made[0].module])
    assert "2 mutants: 1 fail a test, 1 are found by a static check, 1 survive." in page
    assert keys(page) == [made[0].key, made[1].key]
    assert missing(page, made) == ({mutation.key for mutation in made[2:]}, set())
    assert [outcome.survives for outcome in outcomes] == [False, True]


def test_modules_that_were_not_tried_keep_their_rows() -> None:
    first, second = (mutations(module, SOURCE)[:2] for module in ("first", "second"))
    modules = ["first", "second"]
    page = render([Outcome(each, ["GA101"], "x::y") for each in (*first, *second)], modules, modules)
    page = render([Outcome(first[0])], ["first"], modules, page)
    assert "3 mutants: 2 fail a test, 2 are found by a static check, 1 survive." in page
    assert keys(page) == [first[0].key, *(mutation.key for mutation in second)]
    assert keys(render([], ["first"], modules, page)) == [mutation.key for mutation in second]
    assert keys(render([], [], ["second"], page)) == [mutation.key for mutation in second]


def test_the_page_lists_the_mutants_of_the_code_as_it_is_and_each_fails_a_test() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert missing(page, all_mutations(ROOT)) == (set(), set()), "run `make mutants`"
    assert "**none**" not in page


@pytest.mark.parametrize(
    ("module", "test"),
    [
        ("pipeline.graph.driver", "tests/integration/test_batch_processor_integration.py"),
        ("pipeline.records.rows", "tests/unit/test_records.py"),
    ],
)
def test_the_relevant_tests_are_those_that_import_the_module_or_what_imports_it(
    module: str, test: str
) -> None:
    tests = Relevance(ROOT, ("unit", "integration")).tests(module)
    assert test in tests
    assert "tests/unit/test_splitter.py" not in tests
    assert all(Path(ROOT, test).exists() for test in tests)
