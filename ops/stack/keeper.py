"""The keeper: starts daemons of the stack again that have ended, and rotates logs.

    python -m ops.stack.keeper

`up` starts it for the home in its settings, and every `up` and `down` stops it first. It stores nothing.
"""

import logging
import math
import time

from ops.stack.logs import rotate
from ops.stack.process import Daemon
from ops.stack.stack import KEEPER, Stack
from ops.stack.state import state_file
from pipeline.errors import GraphinatorError
from workers.logs import format_logs
from workers.settings import load_settings

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
#: Pause between two starts of a daemon: doubled each time, from the first to the last of these.
PAUSE_SECONDS = (1.0, 60.0)


class Pauses:
    """A growing pause for each daemon that ends again and again."""

    def __init__(self) -> None:
        #: By role: the time of the last start, and the pause after it.
        self._last: dict[str, tuple[float, float]] = {}

    def is_due(self, role: str, now: float) -> bool:
        """Return True if the daemon may be started; that counts as a start."""
        shortest, longest = PAUSE_SECONDS
        since, pause = self._last.get(role, (-math.inf, 0.0))
        if now - since < pause:
            return False
        # The pauses of one that ran for long begin with the shortest again.
        ran_long = now - since >= 2 * longest
        self._last[role] = now, shortest if ran_long else min(2 * pause, longest)
        return True


def main() -> None:
    """Run until stopped, or until the folder of the stack is gone."""
    settings = load_settings()
    logging.basicConfig(level=logging.INFO)
    format_logs(settings.log_format)
    stack = Stack(settings)
    Daemon.own = Daemon(stack.home, KEEPER).lock
    pauses = Pauses()
    while state_file(stack.home).exists():
        time.sleep(INTERVAL_SECONDS)
        try:
            stack.restart_dead(lambda role: pauses.is_due(role, time.monotonic()))
        except (GraphinatorError, OSError) as error:
            logger.error("%s", error)  # noqa: TRY400 - one line; the next turn tries again
        for log in (stack.home / "logs").glob("*.log"):
            rotate(log)


if __name__ == "__main__":
    main()
