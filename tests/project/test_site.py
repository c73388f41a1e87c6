"""The documentation builds as a site, and no link in it or name in a docstring is a dead one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import asgineer

from ._pages import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    reference = (tmp_path / "reference" / "asgineer" / "index.html").read_text(encoding="utf-8")
    for name in asgineer.__all__:
        if not name.startswith("__") and name != "utils":
            assert f'id="asgineer.{name}"' in reference, name
    assert (
        "https://"
        not in (tmp_path / "guide" / "live" / "index.html").read_text(encoding="utf-8").partition("<body")[0]
    )
