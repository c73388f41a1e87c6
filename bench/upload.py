"""What large uploads cost a server: memory, lateness of the event loop, speed; beside Starlette.

Each row is one multipart upload of one file to an application on uvicorn (a child process, one
worker), sent over a socket of the loopback as fast as it is taken. Rows take turns, and the
figures are the middle of the rounds. Memory is what the process had at most above what it had
before the upload. Lag is how much later than asked a task of the same event loop woke up;
"nothing" is the same without an upload, so it tells what the machine itself does.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from statistics import median

from _report import parse_arguments, show

from asgineer.testing._process import ServerProcess, free_port

ROUNDS = 3
MEGABYTE = 1_000_000
PIECE = bytes(range(256)) * 1024  # 256 KiB
ROWS = [
    ("nothing", "ours", "", 0),
    ("iter_form, counted", "ours", "/count", 1000),
    ("iter_form, saved", "ours", "/save", 1000),
    ("Starlette form()", "starlette", "/form", 1000),
    ("get_form", "ours", "/get_form", 200),
    ("Starlette form()", "starlette", "/form", 200),
]
GOALS = "goals: memory at most 16 MiB more, lag p99 at most 20 ms"


class Client:
    """One server, and the connection to it."""

    def __init__(self, stack: ExitStack, app: str) -> None:
        port = free_port()
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(Path(__file__).parent)]
        command += [
            "--port",
            str(port),
            "--log-level",
            "warning",
            "--timeout-keep-alive",
            "600",
            f"_upload_apps:{app}",
        ]
        server = ServerProcess.command(command, ("127.0.0.1", port))
        stack.callback(server.stop)
        server.wait_until_ready()
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        stack.callback(self._connection.close)

    def ask(self, path: str) -> dict[str, float]:
        self._connection.request("GET", path)
        return self._answer()

    def upload(self, path: str, size: int) -> float:
        """Upload a file of `size` bytes; return the seconds from the first byte to the answer."""
        head = b'--b-0\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        tail = b"\r\n--b-0--\r\n"
        start = time.perf_counter()
        self._connection.putrequest("POST", path)
        self._connection.putheader("content-type", "multipart/form-data; boundary=b-0")
        self._connection.putheader("content-length", str(len(head) + size + len(tail)))
        self._connection.endheaders(head)
        left = size
        while left:
            piece = PIECE[:left]
            self._connection.send(piece)
            left -= len(piece)
        self._connection.send(tail)
        found = self._answer()
        assert found["size"] == size, found
        return time.perf_counter() - start

    def _answer(self) -> dict[str, float]:
        response = self._connection.getresponse()
        found: dict[str, float] = json.loads(response.read())
        assert response.status == 200, found
        return found


def measure_row(client: Client, path: str, megabytes: int) -> dict[str, float]:
    client.ask("/begin")
    if path:
        seconds = client.upload(path, megabytes * MEGABYTE)
    else:
        time.sleep(seconds := 2)
    return {**client.ask("/end"), "speed": megabytes / seconds}


def measure() -> str:
    with ExitStack() as stack:
        clients = {app: Client(stack, app) for app in ("ours", "starlette")}
        for _, app, path, size in ROWS:
            measure_row(clients[app], path, min(size, 20))  # warm up
        rounds = [
            [measure_row(clients[app], path, size) for _, app, path, size in ROWS] for _ in range(ROUNDS)
        ]
    versions = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "starlette", "multipart"))
    lines = [
        f"the middle of {ROUNDS} rounds; {versions}; {GOALS}",
        f"{'':20} {'MB':>5} {'memory MiB':>10} {'lag p99 ms':>10} {'max ms':>8} {'CPU s':>7} {'MB/s':>6}",
    ]
    for (name, _, _, size), found in zip(ROWS, zip(*rounds, strict=True), strict=True):
        middle = {key: median(one[key] for one in found) for key in found[0]}
        lines.append(
            f"{name:20} {size:5} {middle['memory'] / 2**20:10.1f} {middle['p99'] * 1e3:10.1f}"
            f" {middle['max'] * 1e3:8.1f} {middle['cpu']:7.2f} {middle['speed']:6.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    assert __doc__
    arguments = parse_arguments(__doc__.partition("\n")[0])
    show("upload", __doc__.strip(), measure(), record=arguments.record)
