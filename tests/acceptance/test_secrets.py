"""Passwords are only in their files: not in logs, messages, process lists, output."""

import base64
import json
import re
import stat
from pathlib import Path

import psutil
from celery import Celery

from ops.stack.process import running_roles
from ops.stack.stack import Stack
from tests.acceptance.conftest import BOUND_SECONDS, Product, opened
from tests.acceptance.faults.harness import server
from tests.conftest import Neo4jServer
from workers.settings import Settings

END = "the-end-of-the-test"


def test_passwords_are_nowhere_but_in_their_files(
    staffed: Stack, neo4j_server: Neo4jServer, settings: Settings, sample: list[Path]
) -> None:
    staffed.up(workers=0)
    talkative = Stack(staffed.settings.model_copy(update={"log_level": "DEBUG"}))
    passwords = {neo4j_server.password, settings.redis_password or ""}
    assert min(map(len, passwords)) == 40
    with opened(talkative, neo4j_server, settings) as product:
        with product.redis.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
            ended = [product.run(*command) for command in (["load", sample[1]], ["status"], ["up", "--json"])]
            product.redis.echo(END)
            said = list(iter(lambda: monitor.next_command()["command"], f"ECHO {END}"))
        places = {
            "output": "".join(each.stdout + each.stderr for each in ended),
            "commands to Redis": "\n".join(said),
            "bodies of messages": "\n".join(bodies(said)),
            "logs": logs(product),
            "command lines": "\n".join(command_lines(product)),
            "what Flower asks workers": seen_by_flower(product),
            "environments": "\n".join(environments(product)),
        }
        product.workers(0)
    assert "graphinator.write_batch" in places["commands to Redis"]
    assert "callbacks" in places["bodies of messages"]
    assert "[debug" in places["logs"]
    assert "result_backend" in places["what Flower asks workers"]
    assert [
        place for place, text in places.items() if not text or any(each in text for each in passwords)
    ] == []
    holders = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in product.stack.home.rglob("*")
        if path.is_file() and any(each.encode() in path.read_bytes() for each in passwords)
    }
    assert holders == dict.fromkeys(("neo4j.password", "redis.password", "valkey.conf"), 0o600)


def seen_by_flower(product: Product) -> str:
    with Celery(broker=product.endpoints().broker_url(), set_as_current=False) as app:
        inspect = app.control.inspect(timeout=BOUND_SECONDS, limit=2)
        return json.dumps([inspect.conf(with_defaults=True), inspect.stats(), inspect.report()])


def bodies(commands: list[str]) -> list[str]:
    """Decode the bodies of Celery messages in Redis commands."""
    found = re.findall(r"body\W+([A-Za-z0-9+/=]{20,})", "\n".join(commands))
    return [base64.b64decode(body).decode() for body in found]


def logs(product: Product) -> str:
    """Read the logs of workers, Valkey and Neo4j."""
    return "".join(path.read_text(errors="replace") for path in product.stack.home.rglob("*.log"))


def processes(product: Product) -> list[psutil.Process]:
    return [server(product, role) for role in running_roles(product.stack.home)]


def command_lines(product: Product) -> list[str]:
    return [" ".join(process.cmdline()) for process in processes(product)]


def environments(product: Product) -> list[str]:
    return [" ".join(process.environ().values()) for process in processes(product)]
