"""What channels cost, in one process, through each engine and over the wire, beside peers.

Each system has a process of its own on the first core; engines, publishers of other processes and
clients have the other. A publisher keeps a timetable, and latency counts from the time in it, so
one that falls behind shows. The rate doubles until the 99th percentile is over 100 ms, a message is
lost or comes twice, or the timetable isn't kept; then the best rate is searched between the last two.
Later rounds begin where the one before them ended. Each part has a time, and does as many rounds as
it has time for; each row has its share of it.
CPU is that of the process with the subscribers, user and system, at the best rate; in one
process the publisher is in it. Where rates differ, one that is idle for longer takes more for each
message; so there it is also measured flat out. Systems take turns; the figures are the middle of the rounds.

Everything runs in an environment of its own that this script makes once (`bench/.venv-channels`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from _live_client import HOST, SSE, Load
from _report import RESULTS, machine

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for the servers of the tests

from live import CLIENT_CORES, SERVER_CORES, Server, measure_rate  # noqa: E402

from asgineer.testing._process import ServerProcess, free_port  # noqa: E402
from tests.channels.nats_server import NatsServer  # noqa: E402
from tests.channels.redis_server import RedisServer  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    Figures = dict[str, float]

PEERS = HERE / ".venv-channels"
PYTHON = PEERS / "bin" / "python"
REQUIREMENTS = [
    "uvicorn[standard]",
    "starlette",
    "sse-starlette",
    "litestar",
    "msgspec",
    "multipart",
    "redis[hiredis]",
    "nats-py",
    "broadcaster[redis]",
    "python-socketio",
    "matplotlib",
]
#: broadcaster 0.3.1 gets nothing from the redis-py that the others use, so it has an older one.
OLDER = {"broadcaster": "redis[hiredis]<6"}
SHOWN = ["uvloop", "uvicorn", "litestar", "broadcaster", "python-socketio", "redis", "nats-py"]

#: system and engine, in the order of the rows.
IN_PROCESS = [("asgineer", ""), ("litestar", ""), ("broadcaster", "")]
WITH_ENGINE = [("asgineer", "redis"), ("asgineer", "nats"), ("litestar", "redis"), ("broadcaster", "redis")]
WIRE = [*IN_PROCESS, *WITH_ENGINE]
WEBSOCKET = [
    ("asgineer", ""),
    ("asgineer", "redis"),
    ("asgineer", "nats"),
    ("socketio", ""),
    ("socketio", "redis"),
]

FAN_OUT = [1, 10, 100, 1000, 10_000]
HOPS = [1, 100, 1000]
CHANNELS = 5000
LATEST = 100.0  # ms of the 99th percentile
KEPT = 0.98  # of the timetable
FLAT_OUT = 1e9  # messages a second, which nothing keeps: the process is never idle, and late
CLOSE = 1.16  # between a rate that holds and one that doesn't, then the search ends
IDLE = 14  # times as long nothing happens, to be measured
CALM = 50.0  # messages a second, to see what one costs that meets nobody
PUBSUB_LIMITS = ("--client-output-buffer-limit", "pubsub", "0", "0", "0")  # so that peers aren't cut off
UPGRADE = (
    b"Host: live\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ENGINE_IO = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n" + UPGRADE
PLAIN = b"GET / HTTP/1.1\r\n" + UPGRADE
JOIN = b"\x81\x82\x00\x00\x00\x0040"  # a masked frame: Socket.IO's CONNECT


class Worker:
    """A process that has one system; `_channels_worker` says what it can be told."""

    def __init__(self, system: str, url: str, cores: list[int]) -> None:
        command = [str(PYTHON), str(HERE / "_channels_worker.py"), system, url, ",".join(map(str, cores))]
        env = {**os.environ, "PYTHONPATH": path_of(system)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self._answer()

    def tell(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have it do something, and return its answer."""
        self.begin_to(do, **arguments)
        return self._answer()

    def begin_to(self, do: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with status {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Engines:
    """The servers, and how many commands they were given."""

    def __init__(self, stack: ExitStack) -> None:
        self._monitor = free_port()
        self._redis = stack.enter_context(RedisServer(None, *PUBSUB_LIMITS))
        self._nats = stack.enter_context(NatsServer(f'http: "{HOST}:{self._monitor}"'))
        for server in (self._redis, self._nats):
            for thread in os.listdir(f"/proc/{server.pid}/task"):
                os.sched_setaffinity(int(thread), CLIENT_CORES)

    def url(self, engine: str) -> str:
        return {"redis": self._redis.url, "nats": self._nats.url, "": ""}[engine]

    def commands(self, engine: str) -> int:
        """Return how many commands (Redis) or messages (NATS) came in so far."""
        if engine == "redis":
            text = self._redis.call("INFO", "stats")
            return int(text.partition("total_commands_processed:")[2].split()[0])
        with urllib.request.urlopen(f"http://{HOST}:{self._monitor}/varz", timeout=5) as answer:
            return int(json.loads(answer.read())["in_msgs"])


def prepare() -> None:
    """Take as many files as are allowed, and make the environment of the peers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard > 0 else 20_000, hard))
    os.sched_setaffinity(0, CLIENT_CORES)
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
    wanted = PEERS / "installed.txt"
    text = "\n".join([*REQUIREMENTS, *OLDER.values()])
    if not wanted.exists() or wanted.read_text() != text:
        install = [str(PYTHON), "-m", "pip", "install", "-q", "--upgrade"]
        subprocess.run([*install, *REQUIREMENTS], check=True)
        for system, requirement in OLDER.items():
            subprocess.run([*install, "--target", str(PEERS / system), requirement], check=True)
        wanted.write_text(text)


def path_of(system: str) -> str:
    """Return where the process of a system finds what isn't in the environment of all."""
    return f"{HERE.parent / 'src'}{os.pathsep}{PEERS / system}"


def versions() -> str:
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [str(PYTHON), "-c", code, *SHOWN]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return ", ".join(f"{name} {version}" for name, version in zip(SHOWN, found, strict=True))


class Hunt:
    """The search for the highest rate that holds.

    Args:
        seconds: after which it takes the best so far.
        known: the best rate of the round before.
    """

    def __init__(self, seconds: float, known: float | None) -> None:
        self._end = time.monotonic() + seconds
        self._known = known

    def search(self, measure: Callable[[float], Figures], start: float) -> Figures:
        """Return the figures at the best rate, which is known within a sixth when there was time."""
        rate, step = (self._known, CLOSE) if self._known else (start, 2.0)
        best: Figures | None = None
        failed: float | None = None
        while True:
            found = self._try(measure, rate)
            if holds(found):
                best = found
            else:
                failed = rate
            if best is None:
                if rate < 0.5 or self._is_over():
                    return found  # it can't do anything: the row shows what was lost
                rate /= step**2
            elif self._is_over() or (failed is not None and failed / best["rate"] <= CLOSE):
                return best
            else:
                rate = best["rate"] * step if failed is None else (best["rate"] * failed) ** 0.5

    def _try(self, measure: Callable[[float], Figures], rate: float) -> Figures:
        found = measure(rate)
        if not holds(found) and not self._is_over():  # something else may have been in the way
            found = measure(rate)
        return found

    def _is_over(self) -> bool:
        return time.monotonic() > self._end


def holds(found: Figures) -> bool:
    return found["p99"] <= LATEST and not found["lost"] and not found["twice"] and found["kept"] >= KEPT


def measure_pair(
    receiver: Worker, sender: Worker, channels: int, each: int, seconds: float, *, calm: bool = False
) -> Callable[[float], Figures]:
    """Return what measures at a rate of messages, in one process or two."""

    def measure(rate: float) -> Figures:
        receiver.tell("begin")
        told = sender.tell("publish", rate=rate, seconds=seconds, channels=channels, calm=calm)
        found = receiver.tell("end", expected=int(told["published"]) * each)
        received = max(found["received"], 1)
        return {
            "rate": rate,
            "per second": found["received"] / max(told["seconds"], seconds),
            "cpu": found["cpu"] / received * 1e6,
            "kept": told["published"] / told["planned"] * min(seconds / told["seconds"] * 1.02, 1.0),
            **{key: found[key] for key in ("p50", "p99", "lost", "twice")},
        }

    return measure


def measure_fan_out(hunt: Hunt, url: str, system: str, count: int, seconds: float) -> Figures:
    """One process: a publisher and `count` subscribers of one channel."""
    with Worker(system, url, SERVER_CORES) as worker:
        worker.tell("listen", channels=1, each=count)
        measure = measure_pair(worker, worker, 1, count, seconds)
        flat = measure(FLAT_OUT)["cpu"]
        return {**hunt.search(measure, min(20_000, 200_000 / count)), "flat": flat}


def measure_channels(hunt: Hunt, url: str, system: str, seconds: float) -> Figures:
    """One process, many channels with one subscriber each, published to in turn."""
    with Worker(system, url, SERVER_CORES) as worker:
        told = worker.tell("listen", channels=CHANNELS, each=1)
        measure = measure_pair(worker, worker, CHANNELS, 1, seconds)
        flat = measure(FLAT_OUT)["cpu"]
        found = hunt.search(measure, 2000 if url else 10_000)
        return {**found, "flat": flat, "join": told["seconds"], "memory": told["memory"] / 1024}


def measure_hop(
    hunt: Hunt, engines: Engines, system: str, engine: str, count: int, seconds: float
) -> Figures:
    """Two processes: one publishes, the other has `count` subscribers."""
    url = engines.url(engine)
    with Worker(system, url, SERVER_CORES) as receiver, Worker(system, url, CLIENT_CORES) as sender:
        receiver.tell("listen", channels=1, each=count)
        measure = measure_pair(receiver, sender, 1, count, seconds)
        measure_calm = measure_pair(receiver, sender, 1, count, seconds, calm=True)
        measure_calm(CALM)
        before = engines.commands(engine)
        calm = measure_calm(CALM)
        commands = (engines.commands(engine) - before) / (CALM * seconds)
        found = hunt.search(measure, min(2000, 100_000 / count))
        return {**found, "calm": calm["p50"], "commands": commands}


def measure_idle(hunt: Hunt, engines: Engines, system: str, engine: str, seconds: float) -> Figures:
    """One process that listens to a thousand channels in which nothing happens."""
    with Worker(system, engines.url(engine), SERVER_CORES) as worker:
        worker.tell("listen", channels=1000, each=1)
        worker.tell("wait", seconds=1.0)
        before = engines.commands(engine)
        told = worker.tell("wait", seconds=seconds)
        return {
            "commands": (engines.commands(engine) - before) / seconds,
            "core": told["cpu"] / seconds * 100,
        }


class WireServer(Server):
    """One application on uvicorn, on the first core."""

    def __init__(self, stack: ExitStack, app: str, kind: str, url: str) -> None:
        self.port = free_port()
        command = [str(PYTHON), "-m", "uvicorn", "--app-dir", str(HERE), "--port", str(self.port)]
        command += ["--log-level", "error", "--no-access-log", "--ws-ping-interval", "3600"]
        command += [
            "--backlog",
            "4096",
            "--timeout-graceful-shutdown",
            "2",
            "--ws-per-message-deflate",
            "false",
        ]
        command += ["--no-proxy-headers", "--interface", "asgi3", "_channels_apps:app"]
        env = {"CHANNELS_APP": app, "CHANNELS_URL": url, "CHANNELS_KIND": kind, "LIVE_APP": "raw"}
        env["PYTHONPATH"] = path_of(app)
        process = ServerProcess.command(command, (HOST, self.port), env=env)
        stack.callback(process.stop)
        process.wait_until_ready()
        self._path = Path("/proc", str(process.pid))
        self._pid = process.pid
        os.sched_setaffinity(self._pid, SERVER_CORES or sorted(os.sched_getaffinity(0)))


class JoinedLoad(Load):
    """Connections that say more once they are websockets."""

    def join(self) -> None:
        for client in self._clients.values():
            client.socket.send(JOIN)


def measure_wire(
    hunt: Hunt, engines: Engines, system: str, engine: str, kind: str, clients: int, seconds: float
) -> Figures:
    """Clients over the wire, and the publisher in the process of the server."""
    hello = SSE if kind == "sse" else ENGINE_IO if system == "socketio" else PLAIN
    with ExitStack() as stack:
        server = WireServer(stack, system, kind, engines.url(engine))
        load = JoinedLoad(server.port, clients, hello)
        stack.callback(load.close)
        if system == "socketio":
            load.join()
        end = time.monotonic() + 1.0
        load.run(lambda: time.monotonic() > end)
        measure_rate(server, load, 5, 0.5)

        def measure(rate: float) -> Figures:
            told = measure_rate(server, load, round(rate), seconds)
            return {**told, "rate": round(rate), "kept": told["kept"] / 100}

        return hunt.search(measure, max(8000 / clients, 2))


def rows_of(
    engines: Engines, part: str, seconds: float, clients: int, sizes: int
) -> Iterator[tuple[str, str, str, Callable[[Hunt], Figures]]]:
    """Yield the rows of a part of the benchmark: what, system, engine, and what measures it."""
    if part == "fan-out":
        for count in FAN_OUT[:sizes]:
            for system, engine in IN_PROCESS:
                yield (
                    f"{count} subscribers",
                    system,
                    engine,
                    _bind(measure_fan_out, "", system, count, seconds),
                )
    elif part == "channels":
        for system, engine in [*IN_PROCESS, *WITH_ENGINE]:
            url = engines.url(engine)
            yield f"{CHANNELS} channels", system, engine, _bind(measure_channels, url, system, seconds)
    elif part == "hop":
        for count in HOPS[:sizes]:
            for system, engine in WITH_ENGINE:
                yield (
                    f"{count} subscribers",
                    system,
                    engine,
                    _bind(measure_hop, engines, system, engine, count, seconds),
                )
    elif part == "wire":
        for kind, systems in (("sse", WIRE), ("websocket", WEBSOCKET)):
            for system, engine in systems:
                yield (
                    f"{clients} × {kind}",
                    system,
                    engine,
                    _bind(measure_wire, engines, system, engine, kind, clients, seconds),
                )
    else:
        for system, engine in WITH_ENGINE:
            yield (
                "1000 channels",
                system,
                engine,
                _bind(measure_idle, engines, system, engine, seconds * IDLE),
            )


def _bind(function: Callable[..., Figures], *arguments: Any) -> Callable[[Hunt], Figures]:
    return lambda hunt: function(hunt, *arguments)


PARTS = {
    "fan-out": "One process, one channel: a publisher and its subscribers",
    "channels": f"One process, {CHANNELS} channels with a subscriber each",
    "hop": "Two processes, one channel: through an engine",
    "wire": "Over the wire, one channel: uvicorn, the publisher in the same process",
    "idle": "One process that listens to 1000 channels, and nothing happens",
}
#: How long each takes, on the machine of the recorded figures and on any other.
MINUTES = {"fan-out": 3.25, "channels": 1.5, "hop": 2.75, "wire": 2.5, "idle": 1.0}
WARM = 0.6  # of the time of a round is what the next one needs
LEAST = 4.0  # seconds for a row, however late it is

COLUMNS = {
    "per second": ("deliveries/s", "{:.0f}"),
    "rate": ("messages/s", "{:.0f}"),
    "cpu": ("µs CPU each", "{:.1f}"),
    "flat": ("µs flat out", "{:.1f}"),
    "p50": ("p50 ms", "{:.1f}"),
    "p99": ("p99 ms", "{:.1f}"),
    "calm": ("one: p50 ms", "{:.2f}"),
    "commands": ("commands", "{:.2f}"),
    "core": ("core %", "{:.1f}"),
    "join": ("join s", "{:.2f}"),
    "memory": ("KiB each", "{:.1f}"),
    "lost": ("lost", "{:.0f}"),
    "rounds": ("rounds", "{:.0f}"),
}
NOTES = {
    "fan-out": "flat out: CPU each where the publisher never waits for its timetable, so no process is idle",
    "hop": "one: a message alone, 50 a second; commands: that the engine gets for each of those",
    "idle": "commands: a second",
    "channels": "join: until all have subscribed; KiB: memory for each channel and its subscriber",
}


def measure(
    engines: Engines, part: str, minutes: float, rounds: int, *sizes: Any
) -> Iterator[tuple[tuple[str, str, str], Figures]]:
    """Run the rows of a part, which take turns, for as many rounds as there is time for."""
    known: dict[tuple[str, str, str], float] = {}
    rows = list(rows_of(engines, part, *sizes))
    end, took = time.monotonic() + minutes * 60, 0.0
    for number in range(rounds):
        begun = time.monotonic()
        if number and begun + took * WARM > end:  # a later one is shorter, as it knows where to begin
            break
        for place, (what, system, engine, run) in enumerate(rows):
            row = what, system, engine
            share = max((end - time.monotonic()) / (len(rows) - place), LEAST)
            try:
                figures = run(Hunt(share, known.get(row)))
            except (RuntimeError, AssertionError, ZeroDivisionError) as error:  # a peer that can't
                print(f"{part} {row}: {error}", file=sys.stderr, flush=True)
                figures = {}
            if "rate" in figures:
                known[row] = figures["rate"]
            shown = {key: round(value, 2) for key, value in figures.items()}
            print(f"round {number + 1}: {part} {' '.join(row)} {shown}", file=sys.stderr, flush=True)
            yield row, figures
        took = time.monotonic() - begun


def middles(found: Iterator[tuple[tuple[str, str, str], Figures]]) -> list[dict[str, Any]]:
    """Return a row of middles for each that was measured."""
    runs: dict[tuple[str, str, str], list[Figures]] = {}
    for row, figures in found:
        runs.setdefault(row, []).append(figures)
    rows = []
    for (what, system, engine), several in runs.items():
        whole = [one for one in several if one]
        middle = {key: median(one[key] for one in whole) for key in whole[0]} if whole else {}
        name = f"{system} {engine}".strip()
        rows.append({"what": what, "system": name, "engine": engine, "rounds": len(whole), **middle})
    return rows


def table(here: list[dict[str, Any]], part: str) -> str:
    """Return the rows of a part as text."""
    columns = [key for key in COLUMNS if any(key in row for row in here)]
    lines = [f"{'':20} {'':18}" + "".join(f"{COLUMNS[key][0]:>14}" for key in columns)]
    for row in here:
        cells = [COLUMNS[key][1].format(row[key]) if key in row else "" for key in columns]
        lines.append(f"{row['what']:20} {row['system']:18}" + "".join(f"{cell:>14}" for cell in cells))
    notes = [NOTES[part]] if part in NOTES else []
    if any("cpu" not in row and "commands" not in row for row in here):
        notes.append("without figures: it failed, or could not begin")
    return "\n".join([*lines, *notes])


def record(part: str, rows: list[dict[str, Any]], arguments: str) -> None:
    """Keep the figures of a part in `results/channels.json`, the others as they are; write the page anew."""
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / "channels.json"
    parts: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    parts[part] = {
        "rows": rows,
        "machine": machine(),
        "versions": versions(),
        "date": str(datetime.now(UTC).date()),
        "command": f"python bench/channels.py --parts {part} {arguments} --record",
    }
    parts = {name: parts[name] for name in PARTS if name in parts}
    kept.write_text(json.dumps(parts, indent=1) + "\n")
    all_rows = [{"part": name, **row} for name, found in parts.items() for row in found["rows"]]
    command = [str(PYTHON), str(HERE / "_channels_plot.py"), str(RESULTS / "channels.svg")]
    subprocess.run(command, check=True, input=json.dumps(all_rows), text=True)
    sections = "\n".join(section(name, found) for name, found in parts.items())
    (RESULTS / "channels.md").write_text(
        f"# channels\n\n{(__doc__ or '').strip()}\n\n![Deliveries per second](channels.svg)\n\n{sections}\n"
        "To repeat all of it: `python bench/channels.py --record`\n",
        encoding="utf-8",
    )


def section(part: str, found: dict[str, Any]) -> str:
    """Return the part of the page about a part."""
    return (
        f"## {PARTS[part]}\n\n```\n{table(found['rows'], part)}\n```\n\n"
        f"- Machine: {found['machine']}; {found['versions']}\n"
        f"- Date: {found['date']}\n- To repeat: `{found['command']}`\n"
    )


@contextmanager
def running_engines() -> Generator[Engines]:
    with ExitStack() as stack:
        yield Engines(stack)


def parse() -> argparse.Namespace:
    shares = ", ".join(f"{part} {minutes:g}" for part, minutes in MINUTES.items())
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"All of it takes {sum(MINUTES.values()):g} minutes ({shares}), and at most one more: "
        "`python bench/channels.py --record`. Parts can be recorded one by one (`--parts hop --record`): "
        "the figures of the others stay in bench/results/channels.json, from which the page is written.",
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=0.7, help="at each rate (0.7)")
    parser.add_argument("--clients", type=int, default=1000, help="over the wire (1000)")
    parser.add_argument("--rounds", type=int, default=3, help="at most, as far as there is time (3)")
    parser.add_argument("--sizes", type=int, default=len(FAN_OUT), help="how many sizes of each, from 1 on")
    parser.add_argument("--times", type=float, default=1.0, help="so many times the minutes of each part (1)")
    parser.add_argument("--quick", action="store_true", help="a quarter of the time, 100 clients, 3 sizes")
    parser.add_argument("--record", action="store_true", help="keep the figures in bench/results/")
    return parser.parse_args()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers it started end with it
    arguments = parse()
    if arguments.quick:
        arguments.seconds, arguments.clients, arguments.rounds = 0.5, 100, 1
        arguments.sizes, arguments.times = 3, 0.25
    prepare()
    sizes = (arguments.seconds, arguments.clients, arguments.sizes)
    how = "--seconds {:g} --clients {} --sizes {}".format(*sizes)
    how += f" --rounds {arguments.rounds} --times {arguments.times:g}"
    with running_engines() as engines:
        for part in arguments.parts:
            minutes = MINUTES[part] * arguments.times
            rows = middles(measure(engines, part, minutes, arguments.rounds, *sizes))
            print(f"{PARTS[part]}\n{table(rows, part)}\n", flush=True)
            if arguments.record:  # at once, so that what ends the next part doesn't take this one with it
                record(part, rows, how)


if __name__ == "__main__":
    main()
