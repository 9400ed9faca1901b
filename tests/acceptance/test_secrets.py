"""Neo4j's password is only in its file: not in logs, messages, process lists, output."""

import base64
import re
from pathlib import Path

import psutil

from ops.stack.stack import Stack
from tests.acceptance.conftest import Product, opened
from tests.acceptance.faults.harness import server, workers
from tests.conftest import Neo4jServer
from workers.settings import Settings

END = "the-end-of-the-test"


def test_the_password_is_nowhere_but_in_its_file(
    staffed: Stack, neo4j_server: Neo4jServer, settings: Settings, sample: list[Path]
) -> None:
    staffed.up(workers=0)
    talkative = Stack(staffed.settings.model_copy(update={"log_level": "DEBUG"}))
    password = neo4j_server.password
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
            "environments": "\n".join(environments(product)),
        }
        product.workers(0)
    assert "graphinator.write_batch" in places["commands to Redis"]
    assert "callbacks" in places["bodies of messages"]
    assert "DEBUG" in places["logs"]
    assert [place for place, text in places.items() if password in text or not text] == []
    assert product.stack.password_file.stat().st_mode & 0o777 == 0o600


def bodies(commands: list[str]) -> list[str]:
    """Decode the bodies of Celery messages in Redis commands."""
    found = re.findall(r"body\W+([A-Za-z0-9+/=]{20,})", "\n".join(commands))
    return [base64.b64decode(body).decode() for body in found]


def logs(product: Product) -> str:
    """Read the logs of workers, Valkey and Neo4j."""
    return "".join(path.read_text(errors="replace") for path in product.stack.home.rglob("*.log"))


def processes(product: Product) -> list[psutil.Process]:
    return [server(product, "valkey"), server(product, "neo4j"), *workers(product)]


def command_lines(product: Product) -> list[str]:
    return [" ".join(process.cmdline()) for process in processes(product)]


def environments(product: Product) -> list[str]:
    return [" ".join(process.environ().values()) for process in processes(product)]
