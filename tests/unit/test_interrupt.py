import signal
import threading

import pytest

from ops.commands.interrupt import interruptible


def test_an_interrupt_inside_a_finalizer_is_not_lost() -> None:
    class Session:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible():
        Session()
        threading.Event().wait(60)
    assert signal.getsignal(signal.SIGINT) is before
