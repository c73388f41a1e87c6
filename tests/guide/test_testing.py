"""The guide's page on testing: its app and its tests, as they are written, run and type-checked.

A block whose first line is `# name.py` is that file. pytest runs them in a process of its
own, in a folder that holds nothing else, as a reader would.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.project._pages import ROOT, read_blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "guide" / "testing.md"
FILES = ["shop.py", "test_shop.py", "test_closing.py"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the page in it."""
    for block in read_blocks(PAGE):
        if name := re.match(r"# (\w+\.py)\n", block.text):
            (tmp_path / name[1]).write_text(block.text, encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    return tmp_path


def check(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a module of this Python in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.server
def test_they_pass(folder: Path) -> None:
    done = check(folder, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *FILES[1:])
    assert "\n11 passed in " in done.stdout, done.stdout + done.stderr  # ten, and the one about closing


@pytest.mark.server
@pytest.mark.parametrize(
    ("was", "becomes", "failing"),
    [
        ("Welcome to the tea shop", "Welcome", "test_page"),
        ("return 201, {}, await request.get_json(type=Order)", "return 201, {}, {}", "test_order"),
        ("get_json(type=Order)", "get_json()", "test_order_that_is_wrong"),
        ('    while True:\n        yield "fff\\n"', '    yield "fff\\n"', "test_stream_that_never_ends"),
        ("int(request.last_event_id or 0)", "0", "test_events_go_on_after_a_break"),
        ('{"rang": message}', "message", "test_websocket"),
        ('return 401, {}, "Who rings?"', "return None", "test_websocket_denied"),
        ('raise ValueError("no cake left")', 'return "cake"', "test_error"),
    ],
)
def test_they_can_fail(folder: Path, was: str, becomes: str, failing: str) -> None:
    app = (folder / "shop.py").read_text(encoding="utf-8")
    assert app.count(was) == 1
    (folder / "shop.py").write_text(app.replace(was, becomes), encoding="utf-8")
    done = check(
        folder, "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py", "-k", f"{failing} and not real"
    )
    assert f"FAILED test_shop.py::{failing}" in done.stdout, done.stdout + done.stderr


def test_mypy_passes_them(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.mktemp("cache")
    done = check(folder, "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", *FILES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_passes_them(folder: Path) -> None:
    settings = {"typeCheckingMode": "strict", "include": FILES, "extraPaths": [str(ROOT / "src")]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = check(folder, "pyright", "--outputjson", "--pythonpath", sys.executable)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(FILES), done.stdout + done.stderr
    assert report["generalDiagnostics"] == []
