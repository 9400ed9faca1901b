"""What has to be done in Redis while no load runs: every worker looks after it, and one at a time does it."""

import logging
import threading

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from pipeline.errors import BusyError, GraphinatorError
from workers.app import GraphinatorApp
from workers.sender import Holder, Sender, StepFailed
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
        sender = Sender(self._app)
        sender.on_wait = self._go_on
        pause = LOOK_SECONDS
        while not self._stopping.wait(pause):
            pause = LOOK_SECONDS
            try:
                if is_due(sender.inbox, self._app.settings):
                    with sender.locked(Holder.CARETAKER):
                        dispatch(sender, self._app.settings, everything=False)
                        self._settle(sender)
                elif sender.is_abandoned():
                    with sender.locked(Holder.CARETAKER):
                        self._settle(sender)
            except (BusyError, Stopping):
                continue
            except (RedisError, OperationalError, GraphinatorError) as error:
                pause = AGAIN_SECONDS
                logger.warning("what is to be done waits: %s", error)
            except Exception:
                pause = AGAIN_SECONDS
                logger.exception("what is to be done waits")

    @staticmethod
    def _settle(sender: Sender) -> None:
        """See what is in flight to its end; what ends a load is up to the load that takes its place."""
        sender.drain()
        if sender.steps.is_unsettled():
            try:
                sender.finish()
            except StepFailed:
                sender.steps.give_up_settling()
                raise

    def _go_on(self, _: str) -> None:
        if self._stopping.is_set():
            raise Stopping
