"""What a request costs on the HTTP protocol of ours, beside uvicorn's own: D8.

Servers run at the same time, each pinned to the first core; the load (wrk, or for streams the
client of `live.py`) has the other and meets them in turns. The figure is CPU time, user and
system, of the server process for each request or delivery, as the kernel counts it. Goals, by the
lowest of all rounds: ours ≤ 0.70 × raw ASGI on uvicorn's protocol for text and JSON, ≤ 0.60 for SSE.
"""

from __future__ import annotations

import http.client
import os
import re
import resource
import select
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from _live_client import HOST, SSE, Load
from _report import parse_arguments, show

from asgineer.testing._process import ServerProcess, free_port

HERE = Path(__file__).parent
ROUNDS = 7
SECONDS = 2  # of load in a round
CONNECTIONS = 16
CLIENTS = 500  # of a stream
RATE = 20  # messages per second to each of them
DRAIN = 20.0  # seconds at most until all has arrived
TICKS = os.sysconf("SC_CLK_TCK")
OURS, THEIRS = "asgineer._uvicorn:Connection", "httptools"

_cores = sorted(os.sched_getaffinity(0))
SERVER_CORES, CLIENT_CORES = (_cores[:1], _cores[1:]) if len(_cores) > 1 else (_cores, _cores)

# What stands in the table, by row: the app and the protocol it runs on. The first one is the measure.
REQUESTS = {
    "plain text": [
        ("raw ASGI, uvicorn's protocol", "inprocess:raw_text", THEIRS),
        ("raw ASGI, ours", "inprocess:raw_text", OURS),
        ("Asgineer, uvicorn's protocol", "inprocess:our_text", THEIRS),
        ("Asgineer, ours", "inprocess:our_text", OURS),
    ],
    "JSON": [
        ("raw ASGI, uvicorn's protocol", "inprocess:raw_json", THEIRS),
        ("raw ASGI, ours", "inprocess:raw_json", OURS),
        ("Asgineer, uvicorn's protocol", "inprocess:our_json", THEIRS),
        ("Asgineer, ours", "inprocess:our_json", OURS),
    ],
}
STREAMS = [
    ("raw ASGI, uvicorn's protocol", "raw", THEIRS),
    ("raw ASGI, ours", "raw", OURS),
    ("Asgineer, uvicorn's protocol", "asgineer", THEIRS),
    ("Asgineer, ours", "asgineer", OURS),
]


class Server:
    """One app on uvicorn, on the first core."""

    def __init__(self, stack: ExitStack, app: str, protocol: str, lifespan: str, kind: str = "") -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "--port", str(self.port)]
        command += ["--http", protocol, "--log-level", "error", "--no-access-log", "--no-proxy-headers"]
        command += ["--interface", "asgi3", "--lifespan", lifespan, "--timeout-graceful-shutdown", "2", app]
        env = {"LIVE_APP": kind, "PYTHONPATH": str(HERE.parent / "src")}
        process = ServerProcess.command(command, (HOST, self.port), env=env)
        stack.callback(process.stop)
        process.wait_until_ready()
        os.sched_setaffinity(process.pid, SERVER_CORES)
        self._stat = Path("/proc", str(process.pid), "stat")

    def cpu(self) -> float:
        """Return the seconds of CPU, user and system, that it has used."""
        fields = self._stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def cost_of_requests(server: Server) -> float:
    """Return the microseconds of CPU for one request, under load for SECONDS."""
    before = server.cpu()
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", f"http://{HOST}:{server.port}/"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    answered = re.search(r"(\d+) requests in", out)
    if answered is None or "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(out)
    return (server.cpu() - before) / int(answered[1]) * 1e6


def cost_of_deliveries(server: Server, load: Load) -> float:
    """Return the microseconds of CPU for one message to one client, RATE a second for SECONDS."""
    load.begin()
    before, end = server.cpu(), time.monotonic() + SECONDS
    connection = http.client.HTTPConnection(HOST, server.port, timeout=SECONDS + DRAIN)
    connection.request("GET", f"/publish?rate={RATE}&seconds={SECONDS}")
    load.run(
        lambda: time.monotonic() > end and bool(select.select([connection.sock], [], [], 0)[0]),
    )
    published = int(re.findall(rb"\d+", connection.getresponse().read())[0])
    connection.close()
    load.run(lambda: not load.behind(published) or time.monotonic() > end + DRAIN)
    if load.lost or load.twice or load.dropped or load.behind(published):
        raise RuntimeError(f"lost {load.lost}, twice {load.twice}, dropped {load.dropped}")
    return (server.cpu() - before) / load.received * 1e6


def measure() -> str:
    lines = [
        f"µs of CPU per request or delivery, {ROUNDS} rounds of {SECONDS} s in turns",
        f"{'':12} {'':30} {'lowest':>7} {'ratio':>6} {'median':>7} {'ratio':>6}",
    ]
    for row, columns in REQUESTS.items():
        with ExitStack() as stack:
            servers = [Server(stack, app, protocol, "off") for _, app, protocol in columns]
            for server in servers:
                cost_of_requests(server)  # warm up
            rounds = [[cost_of_requests(server) for server in servers] for _ in range(ROUNDS)]
        lines += _lines(row, [name for name, _, _ in columns], rounds)
    with ExitStack() as stack:
        servers = [Server(stack, "_live_apps:app", protocol, "on", app) for _, app, protocol in STREAMS]
        rounds = []
        for number in range(ROUNDS + 1):
            costs = []
            for server in servers:
                load = Load(server.port, CLIENTS, SSE)
                costs.append(cost_of_deliveries(server, load))
                load.close()
            if number:  # the first one warms up
                rounds.append(costs)
    return "\n".join(lines + _lines("SSE", [name for name, _, _ in STREAMS], rounds))


def _lines(row: str, names: list[str], rounds: list[list[float]]) -> list[str]:
    lines = []
    columns = list(zip(*rounds, strict=True))
    for number, (name, costs) in enumerate(zip(names, columns, strict=True)):
        low, middle = min(costs), median(costs)
        ratios = f"{low:7.1f} {low / min(columns[0]):6.2f} {middle:7.1f} {middle / median(columns[0]):6.2f}"
        lines.append(f"{'' if number else row:12} {name:30} {ratios}")
    return lines


if __name__ == "__main__":
    assert __doc__
    arguments = parse_arguments(__doc__.partition("\n")[0])
    if shutil.which("wrk") is None:
        sys.exit("It needs wrk: apt-get install wrk")
    os.sched_setaffinity(0, CLIENT_CORES)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    show("direct", __doc__.strip(), measure(), record=arguments.record)
