"""What the types promise, held by both type checkers: a good program passes strict, mistakes are found.

The programs stand in `typing/`; the lines of `bad.py` that are mistakes say so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "typing"
GOOD, BAD = [PROGRAMS / "good.py", PROGRAMS / "clients.py"], PROGRAMS / "bad.py"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def expected_lines() -> set[tuple[str, int]]:
    lines = BAD.read_text(encoding="utf-8").splitlines()
    return {("bad.py", number) for number, line in enumerate(lines, 1) if line.endswith("# error")}


def test_programs_are_there() -> None:
    assert EXAMPLES
    assert len(expected_lines()) > 5


def run_mypy(folder: Path) -> set[tuple[str, int]]:
    """Return file and line of each error that mypy finds."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--config-file=",
        f"--cache-dir={folder}",
    ]
    result = subprocess.run(
        [*command, *EXAMPLES, *GOOD, BAD], capture_output=True, text=True, check=False, cwd=folder
    )
    assert result.returncode == 1, result.stdout + result.stderr
    found = re.findall(r"^(.+?):(\d+): error:", result.stdout, re.MULTILINE)
    return {(Path(name).name, int(line)) for name, line in found}


def run_pyright(folder: Path) -> set[tuple[str, int]]:
    """Return file and line of each error that pyright finds, in strict mode."""
    settings = {
        "typeCheckingMode": "strict",
        "include": [path.name for path in [*EXAMPLES, *GOOD, BAD]],
    }
    for path in [*EXAMPLES, *GOOD, BAD]:
        shutil.copy(path, folder)  # pyright takes only what is below its settings
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--project", str(folder)]
    result = subprocess.run(
        [*command, "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )
    assert result.returncode == 1, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert report["summary"]["filesAnalyzed"] == len([*EXAMPLES, *GOOD, BAD])
    return {
        (Path(entry["file"]).name, entry["range"]["start"]["line"] + 1)
        for entry in report["generalDiagnostics"]
        if entry["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [run_mypy, run_pyright])
def test_good_program_passes_and_mistakes_are_found(checker: object, tmp_path: Path) -> None:
    assert callable(checker)
    assert checker(tmp_path) == expected_lines()
