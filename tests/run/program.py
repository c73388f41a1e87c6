"""A program of ours as a real process: started in its own process group, its output read as it comes."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 30.0  # seconds until a thing that should come counts as lost; nothing waits for it in full
STEP = 0.01  # seconds between two looks at something that gives no notice of itself

SERVERS = ("uvicorn", "hypercorn", "daphne", "granian")


def until(condition: Callable[[], bool], what: str) -> None:
    """Look at a condition until it holds, at most PATIENCE long."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {PATIENCE} s"
        pause.wait(STEP)


class Program:
    """A started program; `end()` it, or let the fixture do so."""

    def __init__(self, folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.out = ""
        self.at_end = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.out += line
                self._news.notify_all()
        with self._news:
            self.at_end = True
            self._news.notify_all()

    def wait_for(self, pattern: str, times: int = 1) -> str:
        """Wait until the output matches `pattern` so many times; return the last match's first group."""
        with self._news:
            self._news.wait_for(lambda: self.at_end or len(re.findall(pattern, self.out)) >= times, PATIENCE)
            found = list(re.finditer(pattern, self.out))
        assert len(found) >= times, f"no {pattern!r} in:\n{self.out}"
        return found[-1].group(1) if found[-1].groups() else found[-1].group()

    def serving(self) -> str:
        """Wait until the program says where it serves, and does; return the address as "host:port"."""
        address = self.wait_for(r"Serving http://(\S+) with")
        host, _, port = address.rpartition(":")
        until(lambda: self.accepts(host.strip("[]"), int(port)), f"a connection to {address}")
        return address

    def accepts(self, host: str, port: int) -> bool:
        """Tell whether somebody listens there."""
        assert self.process.poll() is None, f"the program has ended:\n{self.out}"
        try:
            socket.create_connection((host, port), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True

    def tell(self, signum: int = signal.SIGTERM) -> None:
        """Send a signal to the main process alone."""
        os.kill(self.process.pid, signum)

    def ended(self) -> int:
        """Wait for the end of every process of the program; return the status of the main one."""
        status = self.process.wait(PATIENCE)
        until(lambda: not self.is_left_over(), "the end of every process")
        self._reader.join(PATIENCE)
        return status

    def end(self, signum: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end."""
        self.tell(signum)
        return self.ended()

    def is_left_over(self) -> bool:
        """Tell whether a process of the program's group is alive; one that waits to be reaped is not."""
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended in between
                state, _, group = entry.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state not in "ZX":
                    return True
        return False

    def destroy(self) -> None:
        """End what a failed test left behind."""
        if self.is_left_over():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


def get(address: str, path: str = "/") -> tuple[int, str]:
    """Ask once over a connection of its own; return status and body."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def get_over(sock: socket.socket) -> str:
    """Ask for / over a socket that is connected; return everything that comes."""
    with sock:
        sock.settimeout(PATIENCE)
        sock.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()
