"""Use by one task at a time, as the real driver checks in debug mode.

Two tasks at once break the driver outside of that mode.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Exclusive:
    """A guard that a task holds while it runs a method of `owner`.

    A second task is refused; the same task may enter again.
    """

    def __init__(self, owner: object) -> None:
        self._owner = type(owner).__name__
        self._task: asyncio.Task[object] | None = None
        self._depth = 0

    @contextmanager
    def __call__(self) -> Iterator[None]:
        task = asyncio.current_task()
        if self._depth and self._task is not task:
            raise RuntimeError(
                f"Methods of {self._owner} are not concurrency safe, but were invoked concurrently."
            )
        self._task = task
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
