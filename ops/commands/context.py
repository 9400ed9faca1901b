"""What a command works with: the settings, the stack of its home, the servers that both point to."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ops.stack.endpoints import read_endpoints
from pipeline.errors import SettingError
from workers.app import GraphinatorApp, app
from workers.settings import Settings, load_settings


@dataclass(frozen=True)
class Context:
    """One call of the command."""

    settings: Settings

    def connected(self) -> Settings:
        """The settings, with the servers of the running stack where they name none of their own."""
        endpoints = read_endpoints(self.settings.home)
        return self.settings if endpoints is None else endpoints.connect(self.settings)

    @contextmanager
    def app(self) -> Iterator[GraphinatorApp]:
        """The Celery app, pointed at the servers; its connections are closed afterwards."""
        app.settings = self.connected()
        try:
            yield app
        finally:
            app.close()

    def program(self) -> str:
        """Return how a user calls graphinator for the same home."""
        program = sys.argv[0] if shutil.which("graphinator") is None else "graphinator"
        try:
            is_default = self.settings.home == load_settings().home
        except SettingError:  # there is no default one
            is_default = False
        return shlex.join([program, *([] if is_default else ["--home", str(self.settings.home)])])

    def command(self, command: str) -> str:
        """Return how a user calls a command for the same home."""
        return f"{self.program()} {command}"
