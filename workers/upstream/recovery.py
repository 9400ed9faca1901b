"""Recovery: the work in Redis that no load does at the moment."""

import logging
import threading

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from pipeline.errors import BusyError, GraphinatorError
from workers.app import GraphinatorApp, connect_inbox, connect_redis
from workers.sender import TaskFailed, open_sender
from workers.state.in_flight import InFlight
from workers.state.lease import Holder, is_load_locked
from workers.state.statistics import StatisticsState
from workers.upstream.dispatch import dispatch, is_due

logger = logging.getLogger(__name__)

#: Pause between two looks, and after an error.
LOOK_SECONDS, RETRY_SECONDS = 0.5, 10.0


class Stopping(Exception):
    """The worker ends; another one goes on."""


class Recovery:
    """A thread of each worker, which works while no load runs.

    It sends waiting records of upstream calls, sends lost batches again, and counts statistics that have been stale for
    too long. One thread of all workers works at a time: the one that holds the load lock.
    """

    def __init__(self, app: GraphinatorApp) -> None:
        self._app = app
        self._redis = connect_redis(app.settings)
        self._inbox = connect_inbox(app.settings, self._redis)
        self._in_flight = InFlight(self._redis)
        self._statistics = StatisticsState(self._redis)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._main, name="recovery", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; batches in flight are left to other workers."""
        self._stopping.set()
        self._thread.join()

    def is_needed(self) -> bool:
        """Return True if no load runs and there is something to do."""
        return not is_load_locked(self._redis) and (
            is_due(self._inbox, self._app.settings)
            or len(self._in_flight) > 0
            or self._statistics.is_due(self._app.settings.statistics_seconds)
        )

    def run(self) -> None:
        """Do everything that is due. Raises BusyError while a load runs."""
        with open_sender(self._app, self._on_wait, Holder.RECOVERY) as sender:
            dispatch(sender, self._app.settings, everything=False)
            sender.drain()
            if self._statistics.is_due(self._app.settings.statistics_seconds):
                try:
                    sender.finish()
                except TaskFailed:
                    self._statistics.mark_failed()
                    raise

    def _main(self) -> None:
        pause = LOOK_SECONDS
        while not self._stopping.wait(pause):
            pause = LOOK_SECONDS
            try:
                if self.is_needed():
                    self.run()
            except (BusyError, Stopping):
                continue
            except (RedisError, OperationalError, GraphinatorError) as error:
                pause = RETRY_SECONDS
                logger.warning("recovery is retried: %s", error)
            except Exception:
                pause = RETRY_SECONDS
                logger.exception("recovery is retried")

    def _on_wait(self, _: str) -> None:
        if self._stopping.is_set():
            raise Stopping
