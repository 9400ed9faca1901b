"""Ctrl-C, also while Python runs a finalizer."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer, main_thread
from types import FrameType

#: Pause before another attempt; a finalizer is short.
RETRY_SECONDS = 0.01


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block, but not inside a `__del__`, where Python drops it.

    The driver's sessions have one, which runs in the garbage collections of this thread.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield  # Ctrl-C is ignored, as in the background of a shell
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            Timer(RETRY_SECONDS, signal.pthread_kill, [main_thread().ident, number]).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt
