"""A wrong setting is one line that names its variable, before anything starts."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from ops.commands.console import plain_console
from ops.commands.context import Context
from ops.commands.progress import DumpProgress
from ops.commands.verify import chunks_of
from pipeline.errors import SettingError
from pipeline.reader.dump import open_dump
from workers.settings import SECRETS, Settings, load_settings, settings_table, variable


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("GRAPHINATOR_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("WORKERS", "abc", "must be a whole number"),
        ("WORKERS", "1.5", "must be a whole number"),
        ("WORKERS", "-1", "greater than or equal to 0"),
        ("RECORD_BYTES", "65535", "greater than or equal to 65536"),
        ("RECORD_BYTES", "500000000", "less than or equal to 67108864"),
        ("INFLATE_RATIO", "0", "greater than or equal to 10"),
        ("WORKER_THREADS", "0", "greater than or equal to 1"),
        ("LOG_LEVEL", "loud", "'DEBUG'"),
        ("NEO4J_URI", "http://host:7474", "bolt://"),
        ("NEO4J_URI", "bolt://", "bolt://"),
        ("REDIS_URL", "localhost:6379", "redis://"),
        ("NEO4J_URI", "bolt://host:abc", "bolt://host:port"),
        ("NEO4J_URI", "bolt://host:70000", "bolt://host:port"),
        ("NEO4J_URI", "bolt://[::1", "bolt://host:port"),
        ("REDIS_URL", "redis://host:abc/0", "redis://host:port"),
        ("REDIS_URL", "redis://:6379/0", "redis://host:port"),
        ("REDIS_URL", "redis://h/abc", "the database a number"),
        ("REDIS_URL", "redis://h/0/1", "the database a number"),
        ("REDIS_URL", "redis://h/0#1", "the database a number"),
        ("REDIS_URL", "redis://h:1/0?foo=1", "options of TLS"),
        ("REDIS_URL", "redis://h:1/0?socket_timeout=x", "options of TLS"),
        ("REDIS_URL", "redis://h:1/0?socket_timeout=5", "options of TLS"),
        ("REDIS_URL", "redis://h:1/0?ssl_ca_certs=ca.pem", "options of TLS"),
        ("REDIS_URL", "rediss://h:1/0?ssl_cert_reqs=maybe", "options of TLS"),
        ("NEO4J_URI", "bolt://h:1?a=b", "nothing with bolt://"),
        ("NEO4J_URI", "neo4j://h?a=1&a=2", "each name once"),
        ("NEO4J_URI", "neo4j://h?a=", "each name once"),
        ("DUMPS_LIST_URL", "ftp://host/", "begins with https:// or http://"),
        ("DUMPS_URL", "https://host/", "holds {name}"),
        ("HOME", "~nouser/x", "no home folder of ~nouser"),
        ("CACHE", "~nouser/x", "no home folder of ~nouser"),
        ("REDIS_URL_FILE", "~nouser/x", "no home folder of ~nouser"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    environment: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    environment.setenv(f"GRAPHINATOR_{name}", value)
    with pytest.raises(SettingError) as raised:
        load_settings()
    assert str(raised.value).startswith(f"GRAPHINATOR_{name}")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis://host"),
        ("REDIS_URL", "redis://user:word@host:6379/"),
        ("REDIS_URL", "rediss://host:6379/15?ssl_ca_certs=ca.pem&ssl_cert_reqs=required"),
        ("NEO4J_URI", "neo4j+s://host"),
        ("NEO4J_URI", "neo4j://host:7687?region=eu&policy=a"),
    ],
)
def test_what_the_clients_take_is_taken(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(f"GRAPHINATOR_{name}", value)
    settings = load_settings()
    assert getattr(settings, name.lower()) == value


def test_without_a_home_folder_the_variable_to_set_is_named(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        environment.delenv(name, raising=False)
    environment.setattr(pwd, "getpwuid", {}.__getitem__)  # a user without an entry
    with pytest.raises(SettingError, match=r"^GRAPHINATOR_HOME is not set, and neither is HOME"):
        load_settings()
    with pytest.raises(SettingError, match=r"^GRAPHINATOR_CACHE is not set, and neither is HOME"):
        load_settings(home=tmp_path)
    environment.setenv("GRAPHINATOR_CACHE", str(tmp_path))
    assert load_settings(home=tmp_path).cache == tmp_path


def test_the_limits_of_dumps_are_settings(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings().dump_options() == {
        "max_record_bytes": 4 << 20,
        "inflate_ratio": 200,
        "tracks": True,
    }
    environment.setenv("GRAPHINATOR_RECORD_BYTES", "70000")
    environment.setenv("GRAPHINATOR_INFLATE_RATIO", "1000")
    options = load_settings().dump_options()
    assert options == {"max_record_bytes": 70_000, "inflate_ratio": 1000, "tracks": True}
    path = tmp_path / "dump.xml"
    path.write_text(f"<masters><master id='1'>{'x' * 70_000}</master><master id='2'/></masters>")
    with open_dump(path, **options) as dump:
        (chunk,) = dump.chunks(10, 1 << 20)
    assert chunk.ids == [2]
    assert [each.reason for each in chunk.rejected] == ["longer than 70,000 bytes: 70,024"]


def test_a_dump_is_compared_in_the_chunks_in_which_it_is_loaded(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("GRAPHINATOR_CHUNK_RECORDS", "3")
    environment.setenv("GRAPHINATOR_CHUNK_BYTES", "5000")
    path = tmp_path / "dump.xml"
    small, long = "<master id='1'/>", f"<master id='1'>{'x' * 5000}</master>"
    path.write_text(f"<masters>{small * 4}{long}{small}</masters>")
    progress = DumpProgress(Context(load_settings()), plain_console())
    with open_dump(path) as dump:
        chunks = [*chunks_of(dump, load_settings(), progress)]
    assert [len(chunk.ids) for chunk in chunks] == [3, 1, 1, 1]


def test_a_secret_is_in_no_message_and_in_no_representation(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GRAPHINATOR_NEO4J_PASSWORD", "swordfish")
    environment.setenv("GRAPHINATOR_REDIS_URL", "redis://:swordfish@host:6379/0")
    assert "swordfish" not in repr(load_settings())
    for wrong in ("http://:swordfish@host", "redis://:swordfish/x@host:6379/0"):
        environment.setenv("GRAPHINATOR_REDIS_URL", wrong)
        with pytest.raises(SettingError) as raised:
            load_settings()
        assert "swordfish" not in str(raised.value)
    environment.delenv("GRAPHINATOR_REDIS_URL")
    for wrong in (
        "bolt://neo4j:swordfish@host:7687",
        "http://neo4j:swordfish@host",
        "bolt://u:swordfish/x@h:1",
    ):
        environment.setenv("GRAPHINATOR_NEO4J_URI", wrong)
        with pytest.raises(SettingError, match=r"^GRAPHINATOR_NEO4J_URI: ") as raised:
            load_settings()
        assert "swordfish" not in str(raised.value)
    environment.delenv("GRAPHINATOR_NEO4J_URI")
    environment.setenv("GRAPHINATOR_DUMPS_URL", "http://me:swordfish@host")
    with pytest.raises(SettingError, match=r"^GRAPHINATOR_DUMPS_URL: ") as raised:
        load_settings()
    assert "swordfish" not in str(raised.value)


def test_two_passwords_of_redis_are_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GRAPHINATOR_REDIS_PASSWORD", "swordfish")
    environment.setenv("GRAPHINATOR_REDIS_URL", "redis://user@host/0")
    assert load_settings().redis_password == "swordfish"
    environment.setenv("GRAPHINATOR_REDIS_URL", "redis://:other@host/0")
    with pytest.raises(SettingError, match=r"^GRAPHINATOR_REDIS_PASSWORD is set, and .* keep one$"):
        load_settings()


def test_a_mistyped_variable_is_refused_with_the_nearest_one(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GRAPHINATOR_WORKER", "3")
    with pytest.raises(SettingError, match=r"GRAPHINATOR_WORKER is not a setting; .* GRAPHINATOR_WORKERS\?"):
        load_settings()


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_may_come_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("redis://:s3cret@host:1/0\n")
    environment.setenv(f"{variable(name)}_FILE", str(tmp_path / "secret"))
    assert getattr(load_settings(), name) == "redis://:s3cret@host:1/0"


def test_only_a_secret_may_come_from_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("GRAPHINATOR_WORKERS_FILE", str(tmp_path))
    with pytest.raises(SettingError, match="GRAPHINATOR_WORKERS_FILE is not a setting"):
        load_settings()


def test_a_secret_file_that_cannot_be_used_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    environment.setenv("GRAPHINATOR_NEO4J_PASSWORD_FILE", str(file))
    with pytest.raises(SettingError, match="GRAPHINATOR_NEO4J_PASSWORD_FILE: cannot read"):
        load_settings()
    file.write_text(" \n")
    with pytest.raises(SettingError, match="is empty"):
        load_settings()
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SettingError, match="not text"):
        load_settings()
    environment.setenv("GRAPHINATOR_NEO4J_PASSWORD", "x")
    with pytest.raises(SettingError, match="both set"):
        load_settings()


def test_budgets_that_contradict_each_other_name_both(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GRAPHINATOR_BATCH_TIMEOUT_SECONDS", "300")
    with pytest.raises(
        SettingError, match=r"GRAPHINATOR_BATCH_TIMEOUT_SECONDS=300 .* GRAPHINATOR_VISIBILITY_TIME"
    ):
        load_settings()


def test_folders_follow_xdg_and_an_option_goes_before_the_environment(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    environment.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert load_settings().home == tmp_path / "data" / "graphinator"
    assert load_settings().cache == tmp_path / "cache" / "graphinator"
    environment.setenv("GRAPHINATOR_HOME", "~/elsewhere")
    assert load_settings(home=None).home == Path.home() / "elsewhere"
    assert load_settings(home=tmp_path).home == tmp_path


def test_an_empty_variable_counts_as_unset(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GRAPHINATOR_WORKERS", "")
    environment.setenv("GRAPHINATOR_NEO4J_URI", "")
    assert load_settings() == Settings()


def test_the_table_tells_every_setting() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "workers.settings"], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == settings_table()
    for name, field in Settings.model_fields.items():
        assert f"`{variable(name)}`" in printed
        assert field.description
        assert field.description in printed
    for name in SECRETS:
        assert f"`{variable(name)}_FILE`" in printed
