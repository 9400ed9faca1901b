"""A built wheel is complete, and its command runs outside of the repository."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: object, **environment: str) -> str:
    """Run a command away from the repository; return its output."""
    ended = subprocess.run(
        [*map(str, command)],
        cwd=os.sep,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", os.sep), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_a_wheel_holds_every_file_of_the_packages_but_those_of_a_clone(wheel: Path) -> None:
    packages = [path for name in ("pipeline", "workers", "ops") for path in (ROOT / name).rglob("*")]
    files = {path.relative_to(ROOT) for path in packages if path.is_file() and path.suffix != ".pyc"}
    with ZipFile(wheel) as archive:
        packed = {Path(name) for name in archive.namelist() if ".dist-info/" not in name}
    clone = (Path("ops/bench"), Path("ops/kubernetes"), Path("ops/monitoring"))
    assert packed == {path for path in files if not any(map(path.is_relative_to, clone))}


def test_the_command_of_an_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "a venv"
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    run(uv, "pip", "install", "--offline", "--no-deps", "--no-cache", "--python", python, wheel)
    # The dependencies are those of this environment, whose editable install stays out.
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    assert str(packages) in run(python, "-c", "import ops, workers.tasks; print(ops.__file__)")
    assert "Load dumps into the graph." in run(home / "bin" / "graphinator", "--help")
    assert '"$schema"' in run(home / "bin" / "graphinator", "schema")
