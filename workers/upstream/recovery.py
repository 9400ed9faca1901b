"""What has to be done in Redis while no load runs: every worker looks after it, and one at a time does it."""

import logging
import threading

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from pipeline.errors import BusyError, GraphinatorError
from workers.app import GraphinatorApp, connect_inbox, connect_redis
from workers.sender import Sender, TaskFailed, open_sender
from workers.state.in_flight import InFlight
from workers.state.load_lock import Holder, is_load_locked
from workers.state.statistics import StatisticsState
from workers.upstream.dispatch import dispatch, is_due

logger = logging.getLogger(__name__)

#: How often a worker looks, and how long it waits after an error.
LOOK_SECONDS, AGAIN_SECONDS = 0.5, 10.0


class Stopping(Exception):
    """The worker ends; another one goes on."""


class Caretaker:
    """A thread that does what no load does now: sends what is due, and finishes what an interrupted load has left."""

    def __init__(self, app: GraphinatorApp) -> None:
        self._app = app
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._main, name="caretaker", daemon=True)

    def start(self) -> None:
        """Begin to look whether there is something to do."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it has sent is finished by others."""
        self._stopping.set()
        self._thread.join()

    def _main(self) -> None:
        settings = self._app.settings
        redis = connect_redis(settings)
        inbox, in_flight, statistics = connect_inbox(settings, redis), InFlight(redis), StatisticsState(redis)
        pause = LOOK_SECONDS
        while not self._stopping.wait(pause):
            pause = LOOK_SECONDS
            try:
                is_abandoned = len(in_flight) > 0 or statistics.is_due(settings.statistics_seconds)
                if is_due(inbox, settings) or (is_abandoned and not is_load_locked(redis)):
                    with open_sender(self._app, self._go_on, Holder.RECOVERY) as sender:
                        dispatch(sender, settings, everything=False)
                        sender.drain()
                        self._finish(sender, statistics)
            except (BusyError, Stopping):
                continue
            except (RedisError, OperationalError, GraphinatorError) as error:
                pause = AGAIN_SECONDS
                logger.warning("what is to be done waits: %s", error)
            except Exception:
                pause = AGAIN_SECONDS
                logger.exception("what is to be done waits")

    def _finish(self, sender: Sender, statistics: StatisticsState) -> None:
        """Count the statistics when they have been stale for long."""
        if statistics.is_due(self._app.settings.statistics_seconds):
            try:
                sender.finish()
            except TaskFailed:
                statistics.mark_failed()
                raise

    def _go_on(self, _: str) -> None:
        if self._stopping.is_set():
            raise Stopping
