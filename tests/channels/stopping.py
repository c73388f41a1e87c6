"""SIGSTOP for a server of a test: sent, and seen to have stopped all of its threads."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

PATIENCE = 5.0  # seconds


def stop_in_its_tracks(pid: int) -> None:
    """Stop a process, and return when it has: the signal takes a moment to reach the last thread."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while not all(_is_stopped(task) for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"{pid} does not stop"
        os.sched_yield()


def _is_stopped(task: Path) -> bool:
    return (task / "stat").read_text().rpartition(") ")[2].startswith("T")
