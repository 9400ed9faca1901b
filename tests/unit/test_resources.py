"""The memory of the embedded stack fits the machine and its control group."""

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ops.stack import resources
from ops.stack.state import StackState
from workers.settings import Settings

GB = 1024


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine whose memory and control groups a test sets."""
    for name in ("HEAP", "PAGECACHE"):
        monkeypatch.delenv(f"GRAPHINATOR_NEO4J_{name}_MEGABYTES", raising=False)
    monkeypatch.delenv("GRAPHINATOR_REDIS_MEGABYTES", raising=False)
    monkeypatch.setattr(resources, "OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(resources, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=0))
    return monkeypatch


def has(machine: pytest.MonkeyPatch, gigabytes: int, available: float | None = None) -> None:
    memory = SimpleNamespace(total=gigabytes << 30, available=int((available or gigabytes) * 2**30))
    machine.setattr(psutil, "virtual_memory", lambda: memory)


def limit(machine: pytest.MonkeyPatch, line: str, file: str, text: str) -> None:
    resources.OWN_CGROUPS.write_text(f"7:cpu:/else\n{line}\n")
    path = resources.CGROUPS / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("gigabytes", "workers", "heap", "pagecache"),
    [
        (2, 1, 0.57, 0.57),
        (8, 4, 2.4, 2.4),
        (16, 8, 4.9, 4.9),
        (64, 16, 21, 21),
        (128, 32, 31, 65),
        (512, 64, 31, 417),
    ],
)
def test_a_laptop_and_a_server_get_sensible_figures(
    machine: pytest.MonkeyPatch, gigabytes: int, workers: int, heap: float, pagecache: float
) -> None:
    has(machine, gigabytes)
    chosen = resources.choose(Settings(), workers)
    assert chosen["heap"] / GB == pytest.approx(heap, rel=0.1)
    assert chosen["pagecache"] / GB == pytest.approx(pagecache, rel=0.1)
    assert chosen["redis"] == max(240, gigabytes * GB // 16)
    assert sum(chosen.values()) + 250 * workers < gigabytes * GB


def test_a_default_heap_never_prevents_the_start(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    has(machine, 8, available=1.5)
    settings = Settings(home=tmp_path)
    chosen = resources.choose(settings, 2)
    assert chosen["heap"] == 768
    resources.check(settings, StackState(workers=2, megabytes=chosen), [])


def test_settings_override_what_the_machine_suggests(machine: pytest.MonkeyPatch) -> None:
    has(machine, 8)
    settings = Settings(neo4j_heap_megabytes=700, neo4j_pagecache_megabytes=300, redis_megabytes=99)
    assert resources.choose(settings, 2) == {"heap": 700, "pagecache": 300, "redis": 99}


@pytest.mark.parametrize(
    ("line", "file", "text", "memory"),
    [
        ("0::/", "memory.max", f"{2 * GB << 20}", 2 * GB),
        ("0::/a/b", "a/memory.max", f"{2 * GB << 20}", 2 * GB),
        ("0::/a/b", "a/b/memory.max", "max", 8 * GB),
        ("4:memory:/a", "memory/a/memory.limit_in_bytes", f"{3 * GB << 20}", 3 * GB),
        ("4:memory:/docker/of-the-host", "memory/memory.limit_in_bytes", f"{3 * GB << 20}", 3 * GB),
        ("4:memory:/", "memory/memory.limit_in_bytes", "9223372036854771712", 8 * GB),
    ],
)
def test_the_limit_of_a_control_group_counts_where_it_is_lower(
    machine: pytest.MonkeyPatch, line: str, file: str, text: str, memory: int
) -> None:
    has(machine, 8)
    limit(machine, line, file, text)
    assert resources.memory_megabytes() == memory


def test_workers_are_one_per_core_as_long_as_memory_is_enough(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(os, "cpu_count", lambda: 16)
    for gigabytes, workers in {1: 1, 8: 8, 64: 16}.items():
        has(machine, gigabytes)
        assert resources.default_workers() == workers
