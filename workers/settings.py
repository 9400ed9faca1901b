"""Every setting, read from the environment once, in one place.

`load_settings()` is the way to get them; `python -m workers.settings` prints the table of docs/reference/settings.md.
"""

import os
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, TypedDict

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.chunk import MAX_RECORD_BYTES
from pipeline.errors import SettingError
from pipeline.reader.source import INFLATE_RATIO
from pipeline.reader.splitter import KEPT_BYTES
from workers.addresses import check_neo4j, check_redis, has_password

PREFIX = "GRAPHINATOR_"

#: Settings that hold or may hold a secret: never shown, and readable from a file named by `<variable>_FILE`.
SECRETS = frozenset({"neo4j_password", "redis_url", "redis_password"})
#: Settings that no message shows: a wrong address may have a password in it.
_UNSHOWN = SECRETS | {"neo4j_uri", "dumps_list_url", "dumps_url"}


class ServerNotSet(SettingError):
    """The address of a server is not set, and no stack is running."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not set")
        self.variable = name


def _below(base: str, fallback: str, name: str) -> Callable[[], Path]:
    """Return a default folder below an XDG base directory."""

    def folder() -> Path:
        try:
            return Path(os.environ.get(base) or Path.home() / fallback) / "graphinator"
        except RuntimeError:
            raise SettingError(f"{variable(name)} is not set, and neither is HOME: set one of them") from None

    return folder


def _shown(default: str) -> dict[str, Any]:
    """Show this as the default in the table where it depends on the machine."""
    return {"shown": default}


class DumpOptions(TypedDict):
    """Arguments of `open_dump`."""

    max_record_bytes: int
    inflate_ratio: int
    tracks: bool


class Settings(BaseSettings):
    """All settings; frozen. Field `name` is the environment variable `GRAPHINATOR_NAME`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    home: Path = Field(
        default_factory=_below("XDG_DATA_HOME", ".local/share", "home"),
        description="folder of the embedded stack: its data, logs, passwords",
        json_schema_extra=_shown("~/.local/share/graphinator"),
    )
    cache: Path = Field(
        default_factory=_below("XDG_CACHE_HOME", ".cache", "cache"),
        description="folder of the downloaded Neo4j jars, shared by all homes",
        json_schema_extra=_shown("~/.cache/graphinator"),
    )
    workers: int | None = Field(
        None,
        ge=0,
        le=256,
        description="worker processes of the embedded stack",
        json_schema_extra=_shown("one a core, with 1 GB of memory each"),
    )
    worker_threads: int = Field(3, ge=1, le=64, description="tasks that a worker runs at a time")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="of a worker's log")
    log_format: Literal["console", "json"] = Field(
        "console", description="of log lines: for people, or one JSON object each"
    )

    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65_400,
        description="first of 100 ports: each worker and each load takes the first free one for its metrics",
        json_schema_extra=_shown("no metrics"),
    )
    metrics_address: str = Field("127.0.0.1", min_length=1, description="address that shows metrics")

    neo4j_uri: str | None = Field(
        None,
        description="Bolt address of Neo4j, such as `bolt://host:7687`",
        json_schema_extra=_shown("the embedded stack's"),
    )
    neo4j_user: str = Field("neo4j", min_length=1, description="user at Neo4j")
    neo4j_password: str | None = Field(
        None, repr=False, description="password at Neo4j", json_schema_extra=_shown("the embedded stack's")
    )
    neo4j_database: str = Field("neo4j", min_length=1, description="database in Neo4j that holds the graph")
    neo4j_heap_megabytes: int | None = Field(
        None,
        ge=256,
        le=65536,
        description="heap of the embedded Neo4j, taken whole at the start",
        json_schema_extra=_shown("by the machine's memory"),
    )
    neo4j_pagecache_megabytes: int | None = Field(
        None,
        ge=16,
        le=1_048_576,
        description="page cache of the embedded Neo4j",
        json_schema_extra=_shown("by the machine's memory"),
    )

    redis_url: str | None = Field(
        None,
        repr=False,
        description="Redis database for broker, results and rows in flight, such as `redis://host:6379/0`; "
        "of its own, shared with upstream tasks only",
        json_schema_extra=_shown("the embedded stack's"),
    )
    redis_password: str | None = Field(
        None,
        repr=False,
        description="password at Redis, unless the URL has one",
        json_schema_extra=_shown("the embedded stack's"),
    )
    redis_megabytes: int | None = Field(
        None,
        ge=32,
        le=65536,
        description="memory of the embedded Valkey, at most",
        json_schema_extra=_shown("by the machine's memory"),
    )
    quarantine_megabytes: int = Field(
        64, ge=1, le=65536, description="raw text of quarantined records kept in Redis, at most"
    )

    ingest_records: int = Field(
        2000, ge=1, le=10_000, description="records of upstream tasks that become a batch at once"
    )
    ingest_seconds: int = Field(
        5, ge=0, le=3600, description="how long they wait for more of them, at most, while no load runs"
    )
    ingest_megabytes: int = Field(
        48, ge=1, le=65536, description="records of upstream tasks that wait in Redis, at most (packed)"
    )

    dumps_list_url: str = Field(
        "https://data.discogs.com/?prefix=data%2F{year}%2F",
        repr=False,
        description="page that names the dumps of a year, for `fetch` and `update`",
    )
    dumps_url: str = Field(
        "https://data.discogs.com/?download=data%2F{year}%2F{name}",
        repr=False,
        description="address of a dump, and of its checksum file",
    )

    tracks: bool = Field(
        True,
        description="`false` leaves tracks, their artists and their credits out of the graph; the next load rewrites releases "
        "if it has changed",
    )
    record_bytes: int = Field(
        MAX_RECORD_BYTES,
        ge=KEPT_BYTES,
        le=64 * 2**20,
        description="longer records are quarantined with their first 64 KiB; parsing takes about 40 times a record's size in a worker",
    )
    inflate_ratio: int = Field(
        INFLATE_RATIO,
        ge=10,
        le=2000,
        description="a gzip dump that inflates to more than this many times its size is a bomb (from 64 MiB of XML on); "
        "Discogs' have about 7",
    )

    chunk_records: int = Field(1000, ge=1, le=10_000, description="records in one `normalise` task, at most")
    chunk_bytes: int = Field(
        3 * 2**20, ge=4096, le=64 * 2**20, description="raw XML in one `normalise` task, about"
    )
    chunks_per_batch: int = Field(2, ge=1, le=64, description="`normalise` tasks before one `write_batch`")
    batches_in_flight: int = Field(
        default_factory=lambda: min(64, max(8, 4 * (os.cpu_count() or 1))),
        ge=1,
        le=1024,
        description="chords under way at a time, per load",
        json_schema_extra=_shown("4 a core, from 8 to 64"),
    )

    statistics_seconds: int = Field(
        3600,
        ge=1,
        le=7 * 86_400,
        description="statistics that have been stale for so long are counted while no load runs",
    )

    batch_timeout_seconds: int = Field(
        200, ge=1, le=3600, description="one task's budget; at most a third of the visibility timeout"
    )
    resend_after_seconds: int = Field(
        120, ge=2, le=86_400, description="a batch without a sign of life for this long is sent again"
    )
    visibility_timeout_seconds: int = Field(
        720, ge=3, le=86_400, description="Redis gives a killed worker's messages to others after this long"
    )

    def dump_options(self) -> DumpOptions:
        """Return the options of `open_dump`."""
        return {
            "max_record_bytes": self.record_bytes,
            "inflate_ratio": self.inflate_ratio,
            "tracks": self.tracks,
        }

    @field_validator("home", "cache")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return _expanded(path).absolute()

    @field_validator("neo4j_uri")
    @classmethod
    def _bolt(cls, uri: str | None) -> str | None:
        if uri is not None:
            check_neo4j(uri)
        return uri

    @field_validator("dumps_list_url", "dumps_url")
    @classmethod
    def _http(cls, url: str, info: ValidationInfo) -> str:
        wanted = "{name}" if info.field_name == "dumps_url" else ""
        if not url.startswith(("https://", "http://")) or wanted not in url:
            msg = f"should be an address that begins with https:// or http://{f' and holds {wanted}' if wanted else ''}"
            raise ValueError(msg)
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str | None) -> str | None:
        if url is not None:
            check_redis(url)
        return url

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.redis_url is not None and self.redis_password is not None and has_password(self.redis_url):
            msg = f"{PREFIX}REDIS_PASSWORD is set, and {PREFIX}REDIS_URL has a password; keep one"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _budgets(self) -> Self:
        if self.batch_timeout_seconds * 3 > self.visibility_timeout_seconds:
            msg = (
                f"{PREFIX}BATCH_TIMEOUT_SECONDS={self.batch_timeout_seconds} should be at most a third of "
                f"{PREFIX}VISIBILITY_TIMEOUT_SECONDS={self.visibility_timeout_seconds}"
            )
            raise ValueError(msg)
        return self


def load_settings(**overrides: Any) -> Settings:
    """Return the settings of the environment, some overridden by name (a command's options).

    Raises:
        SettingError: a variable is wrong or unknown, or a secret's file cannot be read; one line that names it.
    """
    _refuse_unknown()
    given = {
        **dict(_secret_files()),
        **{name: value for name, value in overrides.items() if value is not None},
    }
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingError(_first_line(error.errors(include_url=False)[0])) from None


def variable(name: str) -> str:
    """Return the environment variable of a field."""
    return PREFIX + name.upper()


def default_of(name: str) -> str:
    """Return the default of a field as the documentation shows it."""
    field = Settings.model_fields[name]
    extra = field.json_schema_extra
    if isinstance(extra, dict):
        return str(extra["shown"])
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return f"{field.default:,}" if isinstance(field.default, int) else str(field.default)


def settings_table() -> str:
    """Return the README's table of all settings, as Markdown."""
    lines = ["| variable | default | allowed | what it is |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        what = field.description or ""
        if name in SECRETS:
            what += f"; or `{variable(name)}_FILE`, a file that holds it"
        lines.append(f"| `{variable(name)}` | {default_of(name)} | {_allowed(field)} | {what} |")
    return "\n".join(lines)


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        msg = f"there is no home folder of {path.parts[0]}"
        raise ValueError(msg) from None


def _refuse_unknown() -> None:
    known = {variable(name) for name in Settings.model_fields}
    known |= {f"{variable(name)}_FILE" for name in SECRETS}
    for given in sorted(os.environ):
        if given.startswith(PREFIX) and given not in known:
            near = get_close_matches(given, sorted(known), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingError(f"{given} is not a setting{hint}")


def _secret_files() -> Iterator[tuple[str, str]]:
    for name in sorted(SECRETS):
        file_variable = f"{variable(name)}_FILE"
        path = os.environ.get(file_variable)
        if not path:
            continue
        if os.environ.get(variable(name)):
            raise SettingError(f"{variable(name)} and {file_variable} are both set; keep one")
        try:
            secret = _expanded(Path(path)).read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            raise SettingError(f"{file_variable}: cannot read {path}: not text") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingError(f"{file_variable}: cannot read {path}: {reason}") from None
        if not secret:
            raise SettingError(f"{file_variable}: {path} is empty")
        yield name, secret


def _first_line(error: ErrorDetails) -> str:
    reason = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not error["loc"]:
        return reason
    if error["type"] in ("int_parsing", "int_from_float"):
        reason = "must be a whole number"
    name = str(error["loc"][0])
    value = (
        ""
        if name in _UNSHOWN or error["type"] == "extra_forbidden"
        else f"={os.environ.get(variable(name), '')}"
    )
    return f"{variable(name)}{value}: {reason}"


def _allowed(field: FieldInfo) -> str:
    bounds = {
        key: getattr(rule, key) for rule in field.metadata for key in ("ge", "le") if hasattr(rule, key)
    }
    if bounds:
        return f"{bounds['ge']:,} to {bounds['le']:,}"
    if field.annotation is bool:
        return "true, false"
    choices = getattr(field.annotation, "__args__", ())
    return ", ".join(choices) if choices and all(isinstance(choice, str) for choice in choices) else ""


if __name__ == "__main__":
    print(settings_table())  # noqa: T201 - printing the table is what running this module is for
