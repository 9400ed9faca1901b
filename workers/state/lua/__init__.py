"""Lua scripts, one commented file each."""

from functools import cache
from importlib.resources import files

from redis import Redis
from redis.commands.core import Script


def script(redis: Redis, name: str) -> Script:
    """Return the script of the file `<name>.lua`, ready to be called."""
    return redis.register_script(_text(name))


@cache
def _text(name: str) -> str:
    return (files(__package__) / f"{name}.lua").read_text(encoding="utf-8")
