"""One task at a time: what the real driver checks in its debug mode, and what breaks it otherwise."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Exclusive:
    """Held by a task while it runs a method of `owner`; a second task is refused, the same one is not."""

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
