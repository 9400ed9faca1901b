"""Servers behind TLS, with certificates of a private authority."""

import asyncio
import json
import os
import re
import ssl
import subprocess
import time
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from ops.exit_codes import ExitCode
from ops.stack import jars, neo4j
from ops.stack.ports import answers
from tests.acceptance.conftest import COMMAND, Product
from tests.conftest import HEAP_MEGABYTES, free_ports
from tests.integration.test_driver import relay
from workers.settings import load_settings

#: Commands of a user in Redis's access list.
COMMANDS = ["+@all", "-@dangerous", "+info"]
PAGE = Path(__file__).parents[2] / "docs/operations.md"


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)  # noqa: S607 - a name, not a path


class Authority:
    """A private certificate authority with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.file = folder / "ca.pem"
        self._self_signed = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2)
        key = ("-keyout", folder / "ca.key", "-out", self.file)
        openssl("req", *self._self_signed, *key, "-subj", f"/CN={folder.name}")

    def issue(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate and of its key."""
        certificate, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, *names)
        signed_by = ("-CA", self.file, "-CAkey", self.folder / "ca.key", "-days", 2)
        openssl("x509", "-req", "-in", request, *signed_by, "-out", certificate, "-copy_extensions", "copy")
        return certificate, key


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "private")


@pytest.fixture(scope="module")
def secured(
    authority: Authority, classes: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Address and password file of a Neo4j that is configured as the page says."""
    data, held = tmp_path_factory.mktemp("neo4j"), os.open(os.devnull, os.O_RDONLY)
    password = data / "neo4j.password"
    class_path = jars.install(load_settings().cache, jars.read_lock(), lambda *_: None)
    bolt, http = free_ports(2)
    neo4j.configure(
        data, bolt_port=bolt, http_port=http, heap_megabytes=HEAP_MEGABYTES, pagecache_megabytes=64
    )
    shown = re.search(r"```properties\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    lines = shown[1].replace("neo4j.example:7687", f"localhost:{bolt}").splitlines()
    file = data / "conf" / "neo4j.conf"
    settings = dict(line.split("=", 1) for line in [*file.read_text(encoding="utf-8").splitlines(), *lines])
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
    folder = data / settings["dbms.ssl.policy.bolt.base_directory"]
    folder.mkdir(parents=True)
    for role, source in zip(("public_certificate", "private_key"), authority.issue("localhost"), strict=True):
        (folder / settings[f"dbms.ssl.policy.bolt.{role}"]).write_bytes(source.read_bytes())
    neo4j.ensure_password(data, password, class_path, data / "admin.log", held)
    command, environment = neo4j.command(data, HEAP_MEGABYTES), neo4j.environment(data, class_path)
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            while not answers(http):
                assert server.poll() is None
                time.sleep(0.1)
            yield f"neo4j+s://localhost:{bolt}", neo4j.provisional(password)
        finally:
            server.terminate()
            os.close(held)


def proof(authority: Authority) -> ssl.SSLContext:
    """Return the TLS of a server that wants certificates of this authority from its clients."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
    context.load_cert_chain(*authority.issue("localhost"))
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_load_through_tls_ends_and_a_strange_authority_is_refused_in_one_line(
    product: Product, secured: tuple[str, Path], authority: Authority, sample: list[Path], tmp_path: Path
) -> None:
    # The embedded Valkey is built without TLS, so a relay in front of it has the certificate.
    plain = product.endpoints().redis_url.removesuffix("/0") + "/1"
    password = product.endpoints().redis_password()
    strange = Authority(tmp_path / "strange").file
    certificate, key = authority.issue("graphinator")
    uri, file = secured
    # The privileges that the page names.
    product.redis.acl_setuser(
        "graphinator", enabled=True, passwords=[f"+{password}"], keys=["*"], channels=["*"], commands=COMMANDS
    )
    async with relay(plain, tls=proof(authority)) as port:
        url = f"rediss://graphinator@localhost:{port}/1?ssl_certfile={certificate}&ssl_keyfile={key}"
        servers = {
            "GRAPHINATOR_HOME": str(tmp_path),
            "GRAPHINATOR_REDIS_URL": url,
            "GRAPHINATOR_REDIS_PASSWORD": password,
            "GRAPHINATOR_NEO4J_URI": uri,
            "GRAPHINATOR_NEO4J_PASSWORD_FILE": str(file),
            "SSL_CERT_FILE": str(authority.file),
        }

        async def run(*words: object, **other: object) -> tuple[int | None, str, str]:
            """Run the command to its end."""
            environment = {**os.environ, **servers, **{name: str(value) for name, value in other.items()}}
            process = await asyncio.create_subprocess_exec(
                COMMAND, *map(str, words), env=environment, stdout=PIPE, stderr=PIPE
            )
            output, errors = await process.communicate()
            return process.returncode, output.decode(), errors.decode()

        worker = await asyncio.create_subprocess_exec(
            COMMAND, "worker", env={**os.environ, **servers}, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            code, output, errors = await run("load", sample[1], "--json")
            assert code == 0, errors
            assert json.loads(output)["labels"]["created"] == 1000
        finally:
            worker.terminate()
            await worker.wait()
        trusted = f"{url}&ssl_ca_certs={authority.file}"
        refusal = "Error: Neo4j's certificate is not trusted: unable to get local issuer certificate"
        code, _, errors = await run("load", sample[1], SSL_CERT_FILE=strange, GRAPHINATOR_REDIS_URL=trusted)
        hint = "SSL_CERT_FILE names the file with the certificate of your own authority"
        assert (code, errors) == (ExitCode.NEO4J, f"{refusal}; {hint}\n")
        code, _, errors = await run("worker", SSL_CERT_FILE=strange, GRAPHINATOR_REDIS_URL=trusted)
        assert (code, errors.splitlines()[-1]) == (1, refusal)
        code, _, errors = await run("load", sample[1], SSL_CERT_FILE=strange)
        assert (code, errors.count("\n")) == (ExitCode.REDIS, 1)
        assert errors.startswith("Error: Redis's certificate is not trusted (")
        code, _, errors = await run(
            "verify", sample[1], GRAPHINATOR_NEO4J_URI=uri.replace("localhost", "127.0.0.1")
        )
        assert code == ExitCode.NEO4J
        assert "Neo4j's certificate is not trusted: IP address mismatch" in errors
    product.redis.acl_deluser("graphinator")
    with Redis.from_url(plain, password=password) as redis:
        redis.flushdb()
