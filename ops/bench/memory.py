"""Peak memory of processes."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import psutil

INTERVAL_SECONDS = 0.05


class Peaks:
    """Sampled peaks of resident memory; `bytes_of` has the peak of each process.

    Pages that processes share count for each of them. A process that has ended keeps its peak.
    """

    def __init__(self, processes: Mapping[str, int]) -> None:
        self.bytes_of = dict.fromkeys(processes, 0)
        self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peaks", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._sample()
            if self._ended.wait(INTERVAL_SECONDS):
                return

    def _sample(self) -> None:
        for name, process in self._processes.items():
            try:
                self.bytes_of[name] = max(self.bytes_of[name], process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
