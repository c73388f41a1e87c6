"""Tests of one group run in one worker, so that a server is started once; see tests/conftest.py."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from ._pages import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TESTS = """
import os, pytest

@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in "ab"])
def group(request):
    return request.param

@pytest.mark.parametrize("number", range(6))
def test_one(group, number):
    with open("workers", "a") as file:
        print(group, os.environ["PYTEST_XDIST_WORKER"], file=file)
"""


def test_a_group_stays_in_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").touch()
    options = ["-n2", "--dist=loadgroup", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        check=True,
        capture_output=True,
    )
    lines = (tmp_path / "workers").read_text().splitlines()
    assert len(lines) == 12
    assert {line.split()[0] for line in set(lines)} == {"a", "b"}
    assert len(set(lines)) == 2, "each group has one worker"
