"""The columns of `compare.py`: how each server is started, and what the kernel counts for it.

A server is a process tree on one core, ready when it has answered. Its CPU time is that of all
its threads and processes, user and system, from the clock that the kernel keeps per process in
nanoseconds (`clock_getcpuclockid`); its memory is what is resident.
"""

from __future__ import annotations

import http.client
import os
import time
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, NamedTuple

from _compare_apps import shared
from _compare_rows import Answer, Row
from _compare_setup import APPS, ENVIRONMENTS, FILES, HERE, HONO, OLDER, PEERS, python_of

from asgineer.testing._process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
READY_TIMEOUT = 20.0  # seconds until the first answer
LOOK = 0.001  # seconds between two tries

_cores = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = _cores[0], _cores[-1]


class Column(NamedTuple):
    """An application on a server."""

    key: str
    title: str
    command: Callable[[int], list[str]]
    cannot: dict[str, str] = {}  # row → why it can't
    parts: tuple[str, ...] = ()  # parts of the rows that need a process of their own
    sources: bool = False  # imports the asgineer of this tree
    can_only: tuple[str, ...] = ()  # the only rows it has


def on_uvicorn(module: str, environment: Path = PEERS, *more: str) -> Callable[[int], list[str]]:
    options = [*more, "--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "600"]
    return lambda port: [
        *(python_of(environment), "-m", "uvicorn", f"{module}:app", "--host", HOST, "--port", str(port)),
        *options,
    ]


def on_granian(module: str) -> Callable[[int], list[str]]:
    return lambda port: [
        *(python_of(PEERS), "-m", "granian", "--interface", "asgi", "--host", HOST, "--port", str(port)),
        *("--workers", "1", "--no-access-log", "--log-level", "warning", f"{module}:app"),
    ]


def by_run(port: int) -> list[str]:
    return [python_of(PEERS), str(APPS / "asgineer_run.py"), str(port)]


def on_node(port: int) -> list[str]:
    return ["node", str(HONO / "hono_app.mjs"), str(port), str(ENVIRONMENTS / "texts.json")]


def by_nginx(port: int) -> list[str]:
    folder = ENVIRONMENTS / "nginx"
    folder.mkdir(parents=True, exist_ok=True)
    text = (APPS / "nginx.conf.in").read_text()
    import json

    values = {"port": port, "folder": folder, "files": FILES, "text": shared.TEXT}
    path = folder / f"{port}.conf"
    path.write_text(Template(text).safe_substitute(values, small=json.dumps(shared.SMALL)))
    return ["nginx", "-p", str(folder), "-c", str(path)]


NO_SESSIONS = {"session": "has no sessions"}
COLUMNS = [
    Column("raw", "raw ASGI", on_uvicorn("_compare_apps.raw_app")),
    Column("asgineer", "Asgineer", on_uvicorn("_compare_apps.asgineer_app"), sources=True),
    Column("run", "Asgineer, run()", by_run, sources=True),
    Column(
        "older",
        "older Asgineer",
        on_uvicorn("_compare_apps.older_app", OLDER),
        {**NO_SESSIONS, "upload": "reads no multipart"},
    ),
    Column("starlette", "Starlette", on_uvicorn("_compare_apps.starlette_app")),
    Column("fastapi", "FastAPI", on_uvicorn("_compare_apps.fastapi_app")),
    Column(
        "blacksheep",
        "BlackSheep",
        on_uvicorn("_compare_apps.blacksheep_app"),
        {"asset": "compresses no files"},
        parts=("session",),
    ),
    Column(
        "falcon",
        "Falcon",
        on_uvicorn("_compare_apps.falcon_app"),
        {**NO_SESSIONS, "asset": "compresses nothing by itself"},
    ),
    Column(
        "litestar",
        "Litestar",
        on_uvicorn("_compare_apps.litestar_app"),
        {"asset304": "sends the file again"},
        parts=("session", "assets"),
    ),
    Column("raw_granian", "raw, granian", on_granian("_compare_apps.raw_app")),
    Column("asgineer_granian", "Asgineer, granian", on_granian("_compare_apps.asgineer_app"), sources=True),
    Column("hono", "Hono, Node", on_node),
    Column("nginx", "nginx", by_nginx, can_only=("text", "json", "json10", "asset", "asset304", "page")),
]


class Server:
    """One server that runs, from its start to `stop()`.

    Raises:
        RuntimeError, OSError: it did not start, or gives no answer.
    """

    def __init__(self, column: Column, part: str = "") -> None:
        self.port = free_port()
        paths = [str(HERE), *([str(HERE.parent / "src")] if column.sources else [])]
        env = {"PYTHONPATH": os.pathsep.join(paths), "COMPARE_PART": part, "NODE_ENV": "production"}
        command = ["taskset", "--cpu-list", str(SERVER_CORE), *column.command(self.port)]
        start = time.monotonic()
        self._process = ServerProcess.command(command, (HOST, self.port), env=env)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        self.seconds_to_start = time.monotonic() - start
        self._pids = _tree(self._process.pid)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        while True:
            try:
                if self.ask(Row("", "", "/text", bool)).status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            if self._process.status is not None or time.monotonic() > deadline:
                last = self._process.lines[-1:] or ["no output"]
                raise RuntimeError(f"did not start: {last[0][:200]}")
            time.sleep(LOOK)

    def ask(self, row: Row) -> Answer:
        """Send the request of `row` once, and return what came."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            method = "POST" if row.body else "GET"
            connection.request(method, row.path, row.body or None, dict(row.headers))
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        finally:
            connection.close()

    def cpu(self) -> float:
        """Return the seconds of CPU that it used until now."""
        return sum(_cpu(pid) for pid in self._pids)

    def memory(self) -> float:
        """Return the MiB that are resident now."""
        return sum(_resident(pid) for pid in self._pids) / 2**20

    def has_ended(self) -> bool:
        return self._process.status is not None

    def stop(self) -> None:
        self._process.stop()


def _tree(pid: int) -> list[int]:
    """Return `pid` and the processes that it started."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += _tree(int(child))
    return found


def _cpu(pid: int) -> float:
    clock = (~pid << 3) | 2  # what clock_getcpuclockid(pid) returns on Linux
    return time.clock_gettime(clock)


def _resident(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024
