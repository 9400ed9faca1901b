"""The jars of Neo4j match the lock; a local Maven repository serves the tests."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from typing_extensions import override

from ops.stack.jars import LOCK, ROOTS, Jar, install, main, read_lock
from pipeline.errors import StackError


@dataclass
class Repository:
    """Jars by path, the paths of requests, and the number of requests that fail first."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: int = 0


@pytest.fixture
def repository() -> Iterator[Repository]:
    repository = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            repository.asked.append(self.path)
            body = repository.files.get(self.path)
            if repository.failures > 0:
                repository.failures -= 1
                body = None
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        repository.url = f"http://127.0.0.1:{server.server_port}"
        yield repository
        server.shutdown()
        thread.join()


def publish(repository: Repository, artifact: str, classifier: str = "") -> Jar:
    body = f"the bytes of {artifact}".encode()
    jar = Jar("org.example", artifact, classifier, "1.0", hashlib.sha256(body).hexdigest())
    repository.files[f"/org/example/{artifact}/1.0/{jar.path.name}"] = body
    return jar


def install_from(cache: Path, jars: list[Jar], repository: Repository) -> list[Path]:
    return install(cache, jars, repositories={"test": repository.url})


def test_the_lock_names_every_root_and_no_jar_twice() -> None:
    jars = read_lock()
    coordinates = [jar.coordinate for jar in jars]
    assert set(ROOTS) <= set(coordinates)
    assert len({jar.path for jar in jars}) == len(jars)
    assert coordinates == sorted(coordinates)
    assert "io.netty:netty-transport-native-epoll:linux-x86_64" in {c.rpartition(":")[0] for c in coordinates}


@pytest.mark.parametrize(
    "line", ["org.example:thing:1.0", "org.example:thing 00", f"org.example {'0' * 64}", ""]
)
def test_a_lock_with_a_broken_line_is_refused(tmp_path: Path, line: str) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(f"org.example:thing:1.0 {'0' * 64}\n{line}\n")
    with pytest.raises(StackError, match=r"some.lock, line 2"):
        read_lock(lock)


def test_installed_jars_are_not_downloaded_again(tmp_path: Path, repository: Repository) -> None:
    jars = [publish(repository, "one"), publish(repository, "two", "linux-x86_64")]
    paths = install_from(tmp_path, jars, repository)
    assert [path.read_bytes() for path in paths] == [b"the bytes of one", b"the bytes of two"]
    assert paths[1].name == "two-1.0-linux-x86_64.jar"
    repository.asked.clear()
    assert install_from(tmp_path, jars, repository) == paths
    assert repository.asked == []


def test_progress_counts_every_jar(tmp_path: Path, repository: Repository) -> None:
    jars = [publish(repository, name) for name in ("one", "two", "three")]
    seen: list[tuple[int, int]] = []
    install(
        tmp_path, jars, lambda done, total: seen.append((done, total)), repositories={"test": repository.url}
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_jar_that_arrives_wrong_is_refused_by_name_and_leaves_nothing(
    tmp_path: Path, repository: Repository
) -> None:
    jar = replace(publish(repository, "one"), sha256="0" * 64)
    with pytest.raises(StackError, match=r"^org\.example:one:1\.0 .*checksum.*refused$"):
        install_from(tmp_path, [jar], repository)
    assert list(tmp_path.rglob("*.jar")) == []


def test_a_jar_that_was_changed_in_the_cache_is_removed_and_comes_again(
    tmp_path: Path, repository: Repository
) -> None:
    jar = publish(repository, "one")
    [path] = install_from(tmp_path, [jar], repository)
    path.write_bytes(b"other bytes")
    with pytest.raises(StackError, match=r"one-1\.0\.jar .*\(wrong checksum\): removed"):
        install_from(tmp_path, [jar], repository)
    assert not path.exists()
    assert install_from(tmp_path, [jar], repository) == [path]
    assert path.read_bytes() == b"the bytes of one"


def test_a_passing_fault_of_the_network_is_tried_again(tmp_path: Path, repository: Repository) -> None:
    jar = publish(repository, "one")
    repository.failures = 2
    assert install_from(tmp_path, [jar], repository)[0].exists()


def test_a_jar_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    jar = Jar("org.example", "none", "", "1.0", "0" * 64)
    with pytest.raises(StackError, match=r"^cannot download org\.example:none:1\.0: .*online\?$"):
        install(tmp_path, [jar], repositories={"test": "http://127.0.0.1:9"})


def test_two_installers_at_once_download_each_jar_once(tmp_path: Path, repository: Repository) -> None:
    jars = [publish(repository, f"jar{number}") for number in range(20)]
    threads = [threading.Thread(target=install_from, args=(tmp_path, jars, repository)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([path for path in repository.asked if path.endswith(".jar")]) == 20
    assert len(list(tmp_path.rglob("*.jar"))) == 20


def test_help_does_not_write_the_lock() -> None:
    before = LOCK.stat().st_mtime_ns
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
    assert LOCK.stat().st_mtime_ns == before
