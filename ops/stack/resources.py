"""Check memory and disk before anything starts."""

import shutil
from collections.abc import Collection
from pathlib import Path

import psutil

from pipeline.errors import StackError
from workers.settings import Settings, variable

MEGABYTE = 2**20
#: A worker right after its start.
WORKER_MEGABYTES = 80
#: Neo4j beyond its heap, right after its start.
NEO4J_MEGABYTES = 150
#: Neo4j's databases preallocate 0.4 GB of transaction logs; a load needs more.
DISK_MEGABYTES = 1024


def check(settings: Settings, wanted: Collection[str], running: Collection[str]) -> None:
    """Check that there is room for daemons that do not run yet.

    Only what cannot work is refused: page cache, Valkey and workers grow later, with the load.

    Raises:
        StackError: there is too little memory or disk.
    """
    missing = set(wanted) - set(running)
    workers = sum(role.startswith("worker") for role in missing)
    needed = workers * WORKER_MEGABYTES
    if "neo4j" in missing:
        needed += settings.neo4j_heap_megabytes + NEO4J_MEGABYTES
    available = (psutil.virtual_memory().available + psutil.swap_memory().free) // MEGABYTE
    if needed > available:
        raise StackError(
            f"too little memory: {needed:,} MB needed, {available:,} MB available; lower "
            f"{variable('neo4j_heap_megabytes')} ({settings.neo4j_heap_megabytes:,}), or the number of workers "
            f"({workers:,}) with {variable('workers')}"
        )
    free = shutil.disk_usage(_existing(settings.home)).free // MEGABYTE
    if {"valkey", "neo4j"} & missing and free < DISK_MEGABYTES:
        raise StackError(
            f"too little disk: {free:,} MB free for {settings.home}, {DISK_MEGABYTES:,} MB needed; "
            f"free some, or set {variable('home')} to a folder on another disk"
        )


def _existing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())
