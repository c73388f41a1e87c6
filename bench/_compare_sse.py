"""The row of `compare.py` for server-sent events: client and publisher are those of `live.py`.

A delivery is what is counted here, in place of a request: a message is published to all clients
by the application itself, and the CPU time is that until the last of them has it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import live
from _compare_load import Load
from _compare_servers import HOST, SERVER_CORE, on_uvicorn
from _compare_setup import APPS, HERE, PEERS, python_of
from _live_client import SSE
from _live_client import Load as LiveLoad

from asgineer.testing._process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 500
RATE = 10  # messages a second, each to all clients


def _by_run(port: int) -> list[str]:
    return [python_of(PEERS), str(APPS / "asgineer_run.py"), str(port), "_live_apps:app"]


# Its application is no coroutine function, so uvicorn has to be told what it is.
_by_uvicorn = on_uvicorn("_live_apps", PEERS, "--interface", "asgi3")
COMMANDS: dict[str, tuple[str, Callable[[int], list[str]]]] = {
    "raw": ("raw", _by_uvicorn),
    "asgineer": ("asgineer", _by_uvicorn),
    "run": ("asgineer", _by_run),
    "starlette": ("starlette", _by_uvicorn),
    "litestar": ("litestar", _by_uvicorn),
}


class LiveServer(live.Server):
    """One application of `live.py`, by a command of ours."""

    def __init__(self, stack: ExitStack, column: str) -> None:
        app, command = COMMANDS[column]
        self.port = free_port()
        paths = os.pathsep.join([str(HERE), str(HERE.parent / "src")])
        env = {"LIVE_APP": app, "LIVE_KIND": "sse", "PYTHONPATH": paths}
        pinned = ["taskset", "--cpu-list", str(SERVER_CORE), *command(self.port)]
        process = ServerProcess.command(pinned, (HOST, self.port), env=env)
        stack.callback(process.stop)
        process.wait_until_ready()
        self._pid = process.pid

    def cpu(self) -> float:
        """Return the seconds of CPU that it used until now, to the nanosecond."""
        from _compare_servers import _cpu

        return _cpu(self._pid)


def measure_deliveries(column: str, seconds: float) -> tuple[float, Load]:
    """Return µs of CPU for one delivery, and how many a second there were.

    Raises:
        RuntimeError: the server did not start, or something got lost.
    """
    with ExitStack() as stack:
        server = LiveServer(stack, column)
        warm = LiveLoad(server.port, 10, SSE)
        live.measure_rate(server, warm, 10, 0.5)
        warm.close()
        load = LiveLoad(server.port, CLIENTS, SSE)
        stack.callback(load.close)
        found = live.measure_rate(server, load, RATE, seconds)
        if found["lost"] or found["twice"] or found["dropped"]:
            raise RuntimeError(f"{found['lost']:.0f} lost, {found['twice']:.0f} twice")
        count = load.received
    return found["cpu"], Load(count, count / found["per second"], found["p99"])
