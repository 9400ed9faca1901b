"""The context of a command: its settings, servers and Celery app."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ops.stack.state import read_endpoints
from pipeline.errors import SettingError
from workers.app import GraphinatorApp, configuration
from workers.logs import format_logs
from workers.settings import Settings, load_settings

#: For a server without which a command has more to show, or to do.
SERVER_SECONDS = 3.0


class WholeNumber(click.IntRange):
    """An integer in a range, in plain words."""

    name = "whole number"


class DumpPath(click.Path):
    """A path of dumps that exists; one that cannot be read is no wrong usage."""

    def __init__(self) -> None:
        super().__init__(exists=True, readable=False, path_type=Path)


@dataclass(frozen=True)
class Context:
    """The context of one command; click passes it as `obj`."""

    settings: Settings

    def connected(self) -> Settings:
        """Return the settings with the addresses of the running stack filled in."""
        endpoints = read_endpoints(self.settings.home)
        return self.settings if endpoints is None else endpoints.connect(self.settings)

    @contextmanager
    def app(self) -> Iterator[GraphinatorApp]:
        """Open a Celery app for the servers; close its connections at the end."""
        settings = self.connected()
        format_logs(settings.log_format)
        with GraphinatorApp("graphinator", set_as_current=False) as app:
            app.settings = settings
            app.add_defaults(lambda: configuration(settings))
            yield app

    def program(self) -> str:
        """Return the command line of graphinator for this home."""
        program = sys.argv[0] if shutil.which("graphinator") is None else "graphinator"
        try:
            is_default = self.settings.home == load_settings().home
        except SettingError:  # without HOME there is no default
            is_default = False
        return shlex.join([program, *([] if is_default else ["--home", str(self.settings.home)])])

    def command(self, command: str) -> str:
        """Return the command line of a command for this home, for hints."""
        return f"{self.program()} {command}"

    def worker_command(self) -> str:
        """Return the command line that starts a worker, for hints."""
        return self.command("up" if self.settings.redis_url is None else "worker")
