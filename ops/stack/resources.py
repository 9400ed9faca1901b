"""Choose how much memory the stack takes; check memory and disk before anything starts."""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from ops.stack.state import StackState
from pipeline.errors import StackError
from workers.settings import Settings, variable

MEGABYTE = 2**20
#: A worker right after its start, and the most that it takes during a load.
WORKER_MEGABYTES, BUSY_WORKER_MEGABYTES = 80, 300
#: Neo4j beyond its heap, right after its start.
NEO4J_MEGABYTES = 150
#: Neo4j's databases preallocate 0.4 GB of transaction logs; a load needs more.
DISK_MEGABYTES = 1024

#: Java addresses larger heaps with longer pointers.
LARGEST_HEAP_MEGABYTES = 31 * 1024
SMALLEST_HEAP_MEGABYTES = 256
#: The most that is left to the system and other programs.
LARGEST_REST_MEGABYTES = 16 * 1024
#: Room for the quarantine, for what waits in the inbox, and for eight batches in flight.
SMALLEST_REDIS_MEGABYTES = 240

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def memory_megabytes() -> int:
    """Return the memory of this machine, or the lower limit of its control group."""
    return min([psutil.virtual_memory().total, *_cgroup_limits()]) // MEGABYTE


def _cgroup_limits() -> Iterator[int]:
    """Yield the limits of this process's control groups, of version 1 and 2, in bytes."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # not Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base, name = (CGROUPS / "memory", "memory.limit_in_bytes") if controllers else (CGROUPS, "memory.max")
        group = base / path.lstrip("/")
        # In a container, the path may be that of the host: then only the topmost group is there.
        for folder in (group, *group.parents):
            with suppress(OSError, ValueError):  # no such group, or `max`
                yield int((folder / name).read_text(encoding="utf-8"))
            if folder == base:
                break


def default_workers() -> int:
    """Return one worker per core, but no more than one per gigabyte of memory."""
    return max(1, min(os.cpu_count() or 1, memory_megabytes() // 1024))


def choose(settings: Settings, workers: int) -> dict[str, int]:
    """Return the memory of the servers, as `StackState.megabytes`.

    Settings come first. Neo4j gets what workers and Valkey leave: three eighths each for heap and page cache, as `neo4j-admin server
    memory-recommendation` advises, and of a large machine all but 16 GB. The heap is taken at once, so it must leave half
    of what is available now.
    """
    memory = memory_megabytes()
    redis = settings.redis_megabytes or max(memory // 16, SMALLEST_REDIS_MEGABYTES)
    left = max(0, memory - redis - workers * BUSY_WORKER_MEGABYTES)
    heap = min(left * 3 // 8, _available_megabytes() // 2, LARGEST_HEAP_MEGABYTES)
    heap = settings.neo4j_heap_megabytes or max(heap, SMALLEST_HEAP_MEGABYTES)
    pagecache = max(left * 3 // 8, left - heap - LARGEST_REST_MEGABYTES, 16)
    return {"heap": heap, "pagecache": settings.neo4j_pagecache_megabytes or pagecache, "redis": redis}


def check(settings: Settings, wanted: StackState, running: Collection[str]) -> None:
    """Check that there is room for daemons that do not run yet.

    Only what cannot work is refused: page cache, Valkey and workers grow later, with the load.

    Raises:
        StackError: there is too little memory or disk.
    """
    missing = set(wanted.roles()) - set(running)
    workers = sum(role.startswith("worker") for role in missing)
    heap = wanted.megabytes["heap"]
    needed = workers * WORKER_MEGABYTES
    if "neo4j" in missing:
        needed += heap + NEO4J_MEGABYTES
    available = _available_megabytes()
    if needed > available:
        raise StackError(
            f"too little memory: {needed:,} MB needed, {available:,} MB available; lower "
            f"{variable('neo4j_heap_megabytes')} ({heap:,}), or the number of workers "
            f"({workers:,}) with {variable('workers')}"
        )
    free = shutil.disk_usage(_existing(settings.home)).free // MEGABYTE
    if {"valkey", "neo4j"} & missing and free < DISK_MEGABYTES:
        raise StackError(
            f"too little disk: {free:,} MB free for {settings.home}, {DISK_MEGABYTES:,} MB needed; "
            f"free some, or set {variable('home')} to a folder on another disk"
        )


def _available_megabytes() -> int:
    available = (psutil.virtual_memory().available + psutil.swap_memory().free) // MEGABYTE
    return min(available, memory_megabytes())


def _existing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())
