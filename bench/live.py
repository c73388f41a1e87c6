"""What one delivery to a live client costs: server-sent events and websockets, beside raw ASGI and peers.

Every application runs on uvicorn, one worker, in an environment of its own that this script
makes once (`bench/.venv-peers`); the server has one core, the clients have the other. Each has
a queue per client and the same publisher in its process, which keeps a timetable; latency is
counted from the time in the table. CPU is what the kernel counts for the server process while
it publishes and until all is delivered. Applications take turns, and the figures are the middle
of the rounds; a run in which the publisher could not keep its timetable shows the share it could.

With `--idle N --minutes M` it holds N silent connections instead, with pings every 15 s.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from _live_client import HOST, SSE, WEBSOCKET, Load
from _report import RESULTS, machine

from asgineer.testing._process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
PEERS = HERE / ".venv-peers"
PEER_PYTHON = PEERS / "bin" / "python"
REQUIREMENTS = [
    "uvicorn[standard]",
    "starlette",
    "sse-starlette",
    "litestar",
    "msgspec",
    "multipart",
    "matplotlib",
]
SHOWN_VERSIONS = ["uvicorn", "uvloop", "httptools", "websockets", "starlette", "sse-starlette", "litestar"]

SSE_APPS = ["raw", "asgineer", "channel", "starlette", "litestar"]
WEBSOCKET_APPS = ["raw", "asgineer", "channel", "starlette"]
SSE_RATES = [10, 20, 100]
WEBSOCKET_RATE = 10
DRAIN = 20.0  # seconds at most until what was published has arrived
FILES = 20_000
TICKS = os.sysconf("SC_CLK_TCK")
GOALS = "goals: CPU per delivery ≤ 1.05 × raw; an idle connection ≤ raw + 3 KiB; nothing lost or twice"


class Server:
    """One application on uvicorn, on the first core."""

    def __init__(self, stack: ExitStack, app: str, kind: str) -> None:
        self.port = free_port()
        command = [str(PEER_PYTHON), "-m", "uvicorn", "--app-dir", str(HERE), "--port", str(self.port)]
        command += ["--log-level", "error", "--no-access-log", "--ws-ping-interval", "3600"]
        command += ["--backlog", "4096", "--timeout-graceful-shutdown", "2"]
        # Nothing of the server's own between it and the application.
        command += ["--no-proxy-headers", "--interface", "asgi3", "_live_apps:app"]
        env = {"LIVE_APP": app, "LIVE_KIND": kind, "PYTHONPATH": str(HERE.parent / "src")}
        process = ServerProcess.command(command, (HOST, self.port), env=env)
        stack.callback(process.stop)
        process.wait_until_ready()
        self._path = Path("/proc", str(process.pid))
        self._pid = process.pid
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(self._pid, SERVER_CORES or cores)

    def cpu(self) -> float:
        """Return the seconds of CPU, user and system, that it has used."""
        fields = (self._path / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> int:
        """Return the bytes of its memory."""
        text = (self._path / "status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024

    def begin_to_publish(self, rate: int, seconds: float) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=seconds + DRAIN)
        connection.request("GET", f"/publish?rate={rate}&seconds={seconds}")
        return connection


_cores = sorted(os.sched_getaffinity(0))
SERVER_CORES, CLIENT_CORES = (_cores[:1], _cores[1:]) if len(_cores) > 1 else ([], _cores)


def prepare() -> None:
    """Take the core of the clients and as many files as are allowed; make the environment of the peers."""
    os.sched_setaffinity(0, CLIENT_CORES)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else FILES, hard))
    if not PEER_PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    wanted = PEERS / "installed.txt"
    if not wanted.exists() or wanted.read_text() != "\n".join(REQUIREMENTS):
        subprocess.run([str(PEER_PYTHON), "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
        wanted.write_text("\n".join(REQUIREMENTS))


def versions() -> str:
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [str(PEER_PYTHON), "-c", code, *SHOWN_VERSIONS]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return ", ".join(f"{name} {version}" for name, version in zip(SHOWN_VERSIONS, found, strict=True))


def measure_rate(server: Server, load: Load, rate: int, seconds: float) -> dict[str, float]:
    load.begin()
    cpu, start = server.cpu(), time.monotonic()
    connection = server.begin_to_publish(rate, seconds)
    end = start + seconds
    load.run(lambda: time.monotonic() > end and _is_readable(connection))
    found = json.loads(connection.getresponse().read())
    connection.close()
    deadline = time.monotonic() + DRAIN
    load.run(lambda: not load.behind(found["published"]) or time.monotonic() > deadline)
    took, used = time.monotonic() - start, server.cpu() - cpu
    late = sorted(load.latencies)
    return {
        "per second": load.received / took,
        "cpu": used / load.received * 1e6,
        "core": used / took * 100,
        "p50": late[len(late) // 2] * 1e3,
        "p99": late[int(len(late) * 0.99)] * 1e3,
        "kept": found["published"] / found["planned"] * 100,
        "lost": load.lost + load.behind(found["published"]),
        "twice": load.twice,
        "dropped": load.dropped,
    }


def _is_readable(connection: http.client.HTTPConnection) -> bool:
    return bool(select.select([connection.sock], [], [], 0)[0])


def measure_app(app: str, kind: str, count: int, rates: Sequence[int], seconds: float) -> dict[str, Any]:
    """Start a server, connect, and publish at each of the rates; return the figures by load."""
    hello = WEBSOCKET if kind == "websocket" else SSE
    with ExitStack() as stack:
        server = Server(stack, app, kind)
        warm = Load(server.port, 10, hello)
        measure_rate(server, warm, 10, 0.5)
        warm.close()
        before = server.memory()
        load = Load(server.port, count, hello)
        stack.callback(load.close)
        load.run(_after(0.5))
        memory = (server.memory() - before) / count / 1024
        name = "websocket" if kind == "websocket" else "SSE"
        return {
            f"{name} {rate}/s": {"memory": memory, **measure_rate(server, load, rate, seconds)}
            for rate in rates
        }


def _after(seconds: float) -> Any:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def measure(clients: int, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Run all, in rounds that take turns; return a row of middles for each load and application."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for number in range(rounds):
        for kind, apps, rates in [
            ("sse", SSE_APPS, SSE_RATES),
            ("websocket", WEBSOCKET_APPS, [WEBSOCKET_RATE]),
        ]:
            for app in apps[number % len(apps) :] + apps[: number % len(apps)]:
                for load, figures in measure_app(app, kind, clients, rates, seconds).items():
                    found.setdefault((load, app), []).append(figures)
                    shown = {key: round(value, 1) for key, value in figures.items()}
                    print(f"round {number + 1}: {load} {app} {shown}", file=sys.stderr, flush=True)
    loads = list(dict.fromkeys(load for load, _ in found))
    rows = []
    for load, app in sorted(found, key=lambda key: (loads.index(key[0]), SSE_APPS.index(key[1]))):
        runs, raw = found[load, app], found[load, "raw"]
        row: dict[str, Any] = {key: median(one[key] for one in runs) for key in runs[0]}
        for key in ("lost", "twice", "dropped"):
            row[key] = sum(one[key] for one in runs)
        ratios = [one["cpu"] / beside["cpu"] for one, beside in zip(runs, raw, strict=True)]
        rows.append({"load": load, "app": app, **row, "ratio": median(ratios)})
    return rows


def table(rows: list[dict[str, Any]], clients: int, seconds: float, rounds: int) -> str:
    lines = [
        f"{clients} clients, {seconds:g} s at each rate, the middle of {rounds} rounds; {GOALS}",
        f"{'':15} {'':10} {'deliveries':>10} {'kept':>5} {'core':>5} {'µs CPU per':>10} {'× raw':>6}"
        f" {'p50':>8} {'p99':>8} {'KiB per':>8} {'lost':>5} {'twice':>5} {'dropped':>7}",
        f"{'':15} {'':10} {'per second':>10} {'%':>5} {'%':>5} {'delivery':>10} {'':>6}"
        f" {'ms':>8} {'ms':>8} {'client':>8}",
    ]
    for row in rows:
        lines.append(
            f"{row['load']:15} {row['app']:10} {row['per second']:10.0f} {row['kept']:5.0f}"
            f" {row['core']:5.0f} {row['cpu']:10.1f} {row['ratio']:6.2f} {row['p50']:8.1f} {row['p99']:8.1f}"
            f" {row['memory']:8.1f} {row['lost']:5.0f} {row['twice']:5.0f} {row['dropped']:7.0f}"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]]) -> None:
    command = [str(PEER_PYTHON), str(HERE / "_live_plot.py"), str(RESULTS / "live.svg")]
    subprocess.run(command, check=True, input=json.dumps(rows), text=True)


def measure_idle(app: str, count: int, seconds: float) -> str:
    with ExitStack() as stack:
        server = Server(stack, app, "sse")
        warm = Load(server.port, 10, SSE)
        warm.close()
        before = server.memory()
        start = time.monotonic()
        load = Load(server.port, count, SSE)
        stack.callback(load.close)
        connected = time.monotonic() - start
        load.run(_after(1), count_pings=True)
        memory = (server.memory() - before) / count / 1024
        load.begin()
        cpu, start = server.cpu(), time.monotonic()
        load.run(_after(seconds), count_pings=True)
        took = time.monotonic() - start
        core = (server.cpu() - cpu) / took * 100
        after = (server.memory() - before) / count / 1024
        return (
            f"{app:10} {count:11} {connected:9.1f} {took / 60:8.1f} {load.dropped:7}"
            f" {load.pings / count:10.2f} {core:6.1f} {memory:8.1f} {after:8.1f}"
        )


def idle(count: int, minutes: float) -> str:
    """Hold `count` silent connections for `minutes`; the raw application for a moment, for its memory."""
    lines = [
        "pings every 15 s; the raw application sends none, and is here for its memory",
        f"{'':10} {'connections':>11} {'connect s':>9} {'held min':>8} {'dropped':>7} {'pings each':>10}"
        f" {'core %':>6} {'KiB each':>8} {'at end':>8}",
    ]
    for app, seconds in [("raw", min(10.0, minutes * 60)), ("asgineer", minutes * 60)]:
        lines.append(measure_idle(app, count, seconds))
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def record(part: str, figures: str, arguments: str) -> None:
    """Keep the figures of one mode in `results/live.md`, beside those of the other."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "live.md"
    text = path.read_text(encoding="utf-8") if path.exists() else f"# live\n\n{(__doc__ or '').strip()}\n"
    before, _, later = text.partition(f"\n## {part}\n")
    _, heading, rest = later.partition("\n## ")
    shown = "![CPU per delivery and p99 latency](live.svg)\n\n" if part == "Load" else ""
    path.write_text(
        f"{before}\n## {part}\n\n```\n{figures}\n```\n\n{shown}- Machine: {machine()}; {versions()}\n"
        f"- Date: {datetime.now(UTC).date()}, on a machine that others used at the same time\n"
        f"- To repeat: `python bench/live.py {arguments} --record`\n{heading}{rest}",
        encoding="utf-8",
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0, help="at each rate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="100 clients, one second, one round")
    parser.add_argument("--idle", type=int, default=0, metavar="N", help="hold N silent connections instead")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, with --idle")
    parser.add_argument("--record", action="store_true", help="keep the figures in bench/results/")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if arguments.quick:
        arguments.clients, arguments.seconds, arguments.rounds = 100, 1.0, 1
    prepare()
    if arguments.idle:
        part, how = "Idle", f"--idle {arguments.idle} --minutes {arguments.minutes:g}"
        figures = idle(arguments.idle, arguments.minutes)
    else:
        part = "Load"
        sizes = (arguments.clients, arguments.seconds, arguments.rounds)
        how = "--clients {} --seconds {:g} --rounds {}".format(*sizes)
        rows = measure(*sizes)
        figures = table(rows, *sizes)
        if arguments.record:
            plot(rows)
    print(figures)
    if arguments.record:
        record(part, figures, how)


if __name__ == "__main__":
    main()
