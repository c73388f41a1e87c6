"""A server in a process of its own, over real sockets.

Ready when it listens, its output kept line by line, stopped by its process id. Its standard input
is a pipe that says nothing, and ends with this process: who reads it learns that nobody will stop it.
What is run is the caller's affair: a command, or (`fork`) a function of this process, which costs no
pickling and no second import.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Address = tuple[str, int] | str  # host and port, or the path of a unix socket

START_TIMEOUT = 30.0  # seconds until it must listen
STOP_TIMEOUT = 15.0  # seconds from SIGTERM to SIGKILL; run() needs up to 11 for slow handlers
POLL = 0.01  # seconds between two looks at a process that starts or stops


class Child(Protocol):
    """What `subprocess.Popen` and a forked child have in common."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""


class ServerProcess:
    """A process that listens at `address`, from its start to `stop()`."""

    def __init__(self, child: Child, lifeline: IO[bytes], output: IO[bytes], address: Address) -> None:
        self._child = child
        self._lifeline = lifeline
        self._output = output
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, name=f"output of {child.pid}", daemon=True)
        self._reader.start()
        self.address = address

    @classmethod
    def command(
        cls,
        command: Sequence[str],
        address: Address,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> ServerProcess:
        """Start `command`; `env` is added to this process's environment."""
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
            start_new_session=True,  # a Ctrl-C meant for the tests doesn't reach it
        )
        assert child.stdin is not None  # as it is a pipe
        assert child.stdout is not None
        return cls(child, child.stdin, child.stdout, address)

    @classmethod
    def fork(cls, function: Callable[[], object], address: Address) -> ServerProcess:
        """Call `function` in a copy of this process."""
        reading, writing = os.pipe()
        lifeline = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # or else the copy would print it again
        with warnings.catch_warnings():
            # From 3.12 on, when there are other threads. What they hold, the child never asks for:
            # it has one thread, which starts a server, and ends without the parent's cleanup.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:  # pragma: no cover - runs in the child, which ends by os._exit
            os.close(reading)
            os.close(lifeline[1])
            _run_forked(function, lifeline[0], writing)
        os.close(writing)
        os.close(lifeline[0])
        return cls(ForkedChild(pid), os.fdopen(lifeline[1], "wb"), os.fdopen(reading, "rb"), address)

    @property
    def pid(self) -> int:
        """The process id of the server (of its main process, where it has several)."""
        return self._child.pid

    @property
    def lines(self) -> list[str]:
        """The lines that it printed until now; all of them once it was stopped."""
        return list(self._lines)

    @property
    def output(self) -> str:
        """What it printed until now."""
        return "\n".join(self._lines)

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._child.poll()

    def wait_until_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until it listens.

        Raises:
            RuntimeError: it ended, or needs more than `timeout` seconds. The text holds its output.
        """
        deadline = time.monotonic() + timeout
        while not is_listening(self.address):
            if self.status is not None:
                self.stop()
                raise RuntimeError(f"The server ended with status {self.status}:\n{self.output}")
            if time.monotonic() > deadline:
                self.stop(0)
                raise RuntimeError(f"The server doesn't listen after {timeout} s:\n{self.output}")
            time.sleep(POLL)

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """Send SIGTERM, after `timeout` seconds SIGKILL, and return the exit status.

        A second call only returns it: the process id may be another's by then.
        """
        if self._output.closed:
            return self.status or 0
        if self.status is None:
            os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self.status is None:
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(POLL)
        with suppress(ProcessLookupError):  # what it started itself and left behind
            os.killpg(self.pid, signal.SIGKILL)
        self._reader.join()
        self._lifeline.close()
        self._output.close()
        return self.status

    def _read(self) -> None:
        for line in self._output:
            self._lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))


class ForkedChild:
    """A child made by `os.fork`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Return the exit status (minus the signal that ended it), None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status


def _run_forked(
    function: Callable[[], object], lifeline: int, output: int
) -> None:  # pragma: no cover - in the child
    """Make this copy a process of its own, call `function`, and end without the parent's cleanup."""
    status = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)
        os.dup2(lifeline, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        # The parent's may be replaced by what captures them there.
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
        function()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def is_listening(address: Address) -> bool:
    """Say whether somebody accepts connections at `address`."""
    if isinstance(address, str):
        family, target = socket.AF_UNIX, address
    else:
        family, target = (socket.AF_INET6 if ":" in address[0] else socket.AF_INET), address  # type: ignore[assignment] # narrower than mypy sees
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(target) == 0


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free now; the system hands out the same one again only after a while."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
