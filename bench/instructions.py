"""How many instructions a request takes in one process, under valgrind's callgrind.

The number is the same on every run, so a regression of two percent shows, which no clock does:
`tests/project/test_instructions.py` holds the package to what is recorded. It depends on the
interpreter, how that was compiled, and msgspec; each such set has its own record.

A process is run with a hundred requests of each row, and with six hundred of one of them: the
difference is what five hundred took, without the start of the interpreter.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from _report import RESULTS, parse_arguments

HERE = Path(__file__).parent
RECORD = RESULTS / "instructions.json"
ROWS = ["text", "json", "item", "order"]  # by the keys of compare.py
WARM, MORE = 100, 500
TOLERANCE = 0.02
# Nothing of this process's own: not its coverage measurement, not its random hashes.
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONPATH": str(HERE.parent / "src")}


def environment() -> str:
    """Return what the numbers depend on, besides the code."""
    return f"CPython {platform.python_version()}, {platform.python_compiler()}, msgspec {version('msgspec')}"


def has_callgrind() -> bool:
    return shutil.which("valgrind") is not None


def count_instructions(more: str | None) -> int:
    """Return the instructions of a whole process, with more requests of one row."""
    counts = [f"{row}={WARM + MORE if row == more else WARM}" for row in ROWS]
    program = [sys.executable, str(HERE / "_instructions_program.py"), *counts]
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *program]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr
    return int(found[1])


def measure() -> dict[str, int]:
    """Return the instructions of one request, by row."""
    warm_up = [sys.executable, str(HERE / "_instructions_program.py"), *[f"{row}=1" for row in ROWS]]
    subprocess.run(warm_up, env=ENVIRONMENT, check=True)  # writes the compiled files
    with ThreadPoolExecutor(2) as pool:
        base, *others = pool.map(count_instructions, [None, *ROWS])
    return {row: round((count - base) / MORE) for row, count in zip(ROWS, others, strict=True)}


def recorded() -> dict[str, int] | None:
    """Return what was recorded for this environment."""
    records: dict[str, dict[str, int]] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return records.get(environment())


def record(found: dict[str, int]) -> None:
    records = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    records[environment()] = found
    RECORD.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    assert __doc__
    arguments = parse_arguments(__doc__.partition("\n")[0])
    if not has_callgrind():
        raise SystemExit("valgrind is needed: apt-get install valgrind")
    found = measure()
    before = recorded() or {}
    for row, count in found.items():
        change = f"{count / before[row] - 1:+.1%} since the record" if row in before else "no record"
        print(f"{row:8} {count:8} {change}")
    if arguments.record:
        record(found)
