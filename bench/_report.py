"""How a benchmark shows its figures, and keeps them with what they were measured on. Measures nothing."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Return one line about the machine and the interpreter."""
    cores = os.cpu_count() or 1
    return (
        f"{_processor()}, {cores} core{'s' if cores > 1 else ''}, {platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def parse_arguments(text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--record", action="store_true", help="keep the figures in bench/results/")
    return parser.parse_args()


def show(name: str, text: str, figures: str, *, record: bool) -> None:
    """Print the figures of the benchmark `name`; with `record` also write them to `results/name.md`."""
    print(figures)
    print(f"({machine()})")
    if not record:
        return
    date = datetime.now(UTC).date()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(
        f"# {name}\n\n{text}\n\n```\n{figures}\n```\n\n"
        f"- Machine: {machine()}\n- Date: {date}\n- To repeat: `python bench/{name}.py --record`\n",
        encoding="utf-8",
    )
    print(f"recorded in bench/results/{name}.md", file=sys.stderr)
