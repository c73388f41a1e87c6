"""What `import asgineer` costs above the standard-library modules that any ASGI application loads.

Each import runs in an interpreter of its own, in rounds that take turns; compiled files are
written first. The figure is the time around the import statement, the lowest of the rounds.
"""

from __future__ import annotations

import subprocess
import sys
from statistics import median

from _report import parse_arguments, show

ROUNDS = 15
GOAL = 10.0  # ms above the modules below
STANDARD = "asyncio, logging, dataclasses, urllib.parse"

PROGRAM = """
import time
start = time.perf_counter()
import {modules}
print((time.perf_counter() - start) * 1e3)
"""


def import_once(modules: str) -> float:
    """Return the milliseconds of importing `modules` in a fresh interpreter."""
    command = [sys.executable, "-c", PROGRAM.format(modules=modules)]
    environment = {"PYTHONDONTWRITEBYTECODE": ""}  # compiled files are what users have
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return float(output)


def measure() -> str:
    both = f"{STANDARD}, asgineer"
    for modules in (STANDARD, both):
        import_once(modules)
    rounds = [(import_once(STANDARD), import_once(both)) for _ in range(ROUNDS)]
    standard, with_ours = zip(*rounds, strict=True)
    return "\n".join(
        [
            f"ms to import, {ROUNDS} rounds; goal: at most {GOAL:.0f} more than {STANDARD}",
            f"{'':22} {'lowest':>8} {'median':>8}",
            f"{'standard library':22} {min(standard):8.1f} {median(standard):8.1f}",
            f"{'and asgineer':22} {min(with_ours):8.1f} {median(with_ours):8.1f}",
            f"{'more':22} {min(with_ours) - min(standard):8.1f} {median(with_ours) - median(standard):8.1f}",
        ]
    )


if __name__ == "__main__":
    assert __doc__
    arguments = parse_arguments(__doc__.partition("\n")[0])
    show("import_cost", __doc__.strip(), measure(), record=arguments.record)
