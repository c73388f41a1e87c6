"""What the servers of the channels' tests have in common: a folder, a process, the ways that it ends.

How one is started, and what is in its folder, is for `nats_server` and `redis_server`.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from asgineer.testing._process import free_port

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from asgineer.testing._process import ServerProcess

HOST = "127.0.0.1"
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


class EngineServer(ABC):
    """One server with a folder, and a port that it keeps over restarts; stopped by its process id."""

    def __init__(self, kind: str) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix=f"asgineer-{kind}-"))
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    @abstractmethod
    def start(self) -> None:
        """Start it, with what is in its folder, and wait until it listens."""

    @property
    def pid(self) -> int:
        """The process id of the server, which runs."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it well: it writes what it has to."""
        if self._process is not None:
            self.resume()
            self._process.stop()
            self._process = None

    def kill(self) -> None:
        """End it at once; what the kernel has of its files stays."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._process.stop()
            self._process = None

    def pause(self) -> None:
        """Stop it in its tracks; its connections stay."""
        stop_in_its_tracks(self.pid)

    def resume(self) -> None:
        """Let it run on."""
        os.kill(self.pid, signal.SIGCONT)
