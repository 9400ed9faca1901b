"""The jars of the embedded Neo4j, locked by checksum in `neo4j.lock`.

A line of the lock is `group:artifact[:classifier]:version sha256`. `python -m ops.stack.jars` updates the lock.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.stack.files import exclusive
from pipeline.errors import StackError

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

LOCK = Path(__file__).with_name("neo4j.lock")

#: The lock holds these and their dependencies: server with HTTP, import tool, Browser page.
ROOTS = (
    "org.neo4j.app:neo4j-server:2026.08.1",
    "org.neo4j:neo4j:2026.08.1",
    "org.neo4j:neo4j-import-tool:2026.08.1",
    "org.neo4j.client:neo4j-browser:5.24.0",
)

DOWNLOADS_AT_A_TIME = 8
ATTEMPTS = 3

#: Called with the number of jars done and the total.
OnJar = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar."""

    group: str
    artifact: str
    classifier: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """`group:artifact[:classifier]:version`, as in the lock."""
        return ":".join(part for part in (self.group, self.artifact, self.classifier, self.version) if part)

    @property
    def path(self) -> Path:
        """The path below the cache's folder of jars."""
        name = "-".join(part for part in (self.artifact, self.version, self.classifier) if part)
        return Path(self.group, f"{name}.jar")


def read_lock(path: Path = LOCK) -> list[Jar]:
    """Read the locked jars, in the lock's order.

    Raises:
        StackError: a line is not a coordinate and a checksum.
    """
    jars = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        coordinate, _, sha256 = line.partition(" ")
        match coordinate.split(":"):
            case [group, artifact, version] if len(sha256) == 64:
                jars.append(Jar(group, artifact, "", version, sha256))
            case [group, artifact, classifier, version] if len(sha256) == 64:
                jars.append(Jar(group, artifact, classifier, version, sha256))
            case _:
                raise StackError(f"{path.name}, line {number}: not a coordinate and its sha256")
    return jars


def install(
    cache: Path,
    jars: Sequence[Jar],
    on_jar: OnJar | None = None,
    *,
    repositories: Mapping[str, str] | None = None,
) -> list[Path]:
    """Download missing jars to `cache` and return the class path, in the lock's order.

    Every call verifies all checksums (0.2 s). Several processes may call it at once. `repositories` are Maven
    repositories by name; the default is Maven Central.

    Raises:
        StackError: a jar cannot be downloaded, or has a wrong checksum; then it is removed.
    """
    folder = cache / "jars"
    remotes = None if repositories is None else dict(repositories)
    with exclusive(cache / "jars.lock"), ThreadPoolExecutor(DOWNLOADS_AT_A_TIME) as pool:
        under_way = [pool.submit(_ensure, folder, jar, remotes) for jar in jars]
        try:
            for done, future in enumerate(as_completed(under_way), start=1):
                future.result()
                if on_jar is not None:
                    on_jar(done, len(jars))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [folder / jar.path for jar in jars]


def _ensure(folder: Path, jar: Jar, remotes: dict[str, str] | None) -> None:
    path = folder / jar.path
    if not path.exists():
        _download(path, jar, remotes)
    elif _sha256(path) != jar.sha256:
        path.unlink()
        raise StackError(
            f"{path} is not {jar.coordinate} of {LOCK.name} (wrong checksum): removed; run it again"
        )


def _download(path: Path, jar: Jar, remotes: dict[str, str] | None) -> None:
    from jgo.maven import MavenContext  # noqa: PLC0415 - of the extra `embedded`: other commands run without it

    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        # A new folder for each attempt, so that an interrupted download is never used.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as part:
            try:
                fetched = _artifact(
                    jar, MavenContext(repo_cache=Path(part), remote_repos=remotes, timeout=60)
                ).resolve()
            except (OSError, RuntimeError) as error:  # requests' errors are OSErrors, jgo's are RuntimeErrors
                if attempt == ATTEMPTS:
                    reason = f"{type(error).__name__}; is this machine online?"
                    raise StackError(f"cannot download {jar.coordinate}: {reason}") from error
                continue
            if _sha256(fetched) != jar.sha256:
                raise StackError(
                    f"{jar.coordinate} arrived with another checksum than {LOCK.name} has: refused"
                )
            fetched.replace(path)
            return


def _artifact(jar: Jar, context: "MavenContext") -> "Artifact":
    return context.project(jar.group, jar.artifact).at_version(jar.version).artifact(jar.classifier, "jar")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock(path: Path = LOCK) -> int:
    """Resolve the roots, write the lock and return the number of jars."""
    import jgo  # noqa: PLC0415 - of the extra `embedded`: other commands run without it

    lines = []
    for artifact in jgo.resolve("+".join(ROOTS)):
        parts = (artifact.groupId, artifact.artifactId, artifact.classifier, artifact.version)
        lines.append(f"{':'.join(part for part in parts if part)} {_sha256(artifact.resolve())}\n")
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text("".join(sorted(set(lines))), encoding="utf-8")
    temporary.replace(path)
    return len(set(lines))


@click.command()
def main() -> None:
    """Update neo4j.lock: every jar that the roots need, with its checksum."""
    click.echo(f"{LOCK.name}: {lock()} jars")


if __name__ == "__main__":
    main()
