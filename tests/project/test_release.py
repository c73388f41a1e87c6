"""What is released works where nothing of this repository is: built, freshly installed, run."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from typing import TYPE_CHECKING

import pytest

from asgineer.testing._process import ServerProcess, free_port

from ._pages import ROOT, read_blocks

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.timeout(180)  # it installs from the registry


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and sdist as a release does, the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--quiet", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_wheel_has_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    source = {
        f"asgineer/{path.relative_to(ROOT / 'src' / 'asgineer')}" for path in (ROOT / "src").rglob("*.py")
    }
    assert source | {"asgineer/py.typed"} == {
        name for name in names if not name.split("/")[0].endswith(".dist-info")
    }


def test_sdist_can_be_tested(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "README.md",
        "CHANGES.md",
        "SECURITY.md",
        "LICENSE",
        "tests/conftest.py",
        "docs/design.md",
        "mkdocs.yml",
    ):
        assert name in names
    assert not {
        name for name in names if ".venv" in name or "__pycache__" in name or name.startswith(".coverage")
    }


def test_readme_programs_run_where_it_is_installed(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[uvicorn]"]
    subprocess.run(install, check=True, capture_output=True)
    example, app = [block.text for block in read_blocks(ROOT / "README.md") if block.language == "python"]
    port = free_port()
    here = f"127.0.0.1:{port}"
    (tmp_path / "example.py").write_text(example.replace("localhost:8080", here), encoding="utf-8")
    (tmp_path / "app.py").write_text(app, encoding="utf-8")
    run_app = [str(tmp_path / "venv" / "bin" / "asgineer"), "run", "app.py:main", "--bind", here]
    for command, path, expected in (
        ([python, "example.py"], "/api/items/3", '{"item":3}'),
        (run_app, "/api/board", '{"messages":[],'),
    ):
        process = ServerProcess.command(command, ("127.0.0.1", port), cwd=str(tmp_path))
        try:
            process.wait_until_ready()
            ask = f"import urllib.request as u; print(u.urlopen('http://{here}{path}').read().decode())"
            answer = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
            assert answer.stdout.startswith(expected)
        finally:
            assert process.stop() == 0, process.output


def test_what_is_supported_is_what_the_project_asks_for() -> None:
    """The README's table, the bounds of the extras, and the Pythons of the classifiers are one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", README, re.MULTILINE))
    for server in ("uvicorn", "hypercorn", "daphne", "granian"):
        (requirement,) = project["optional-dependencies"][server]
        oldest = requirement.partition(">=")[2]
        assert rows[server].startswith(f"{oldest} and newer"), server
    pythons = [name.rpartition(" ")[2] for name in project["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert rows["Python"] == ", ".join(pythons)
    assert project["requires-python"] == f">={pythons[0]}"
