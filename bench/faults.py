"""What live clients are told when something fails: the same faults, in the same seconds, for each system.

Two server processes on uvicorn, the clients shared out between them, an engine behind them through a
proxy that can fail, and a publisher of 1, 2, 3 …, who publishes a number again until the system says
that it is published. A client that lost its connection comes back within half a second, with the
last id it saw. Counted over all clients:

- lost: messages that never came, and nobody told the client so
- twice, disordered: messages that came again, or after a later one
- resets: told that messages are missing, so that the client loads its state anew
- heal: seconds from the end of the fault until the last client had a message that was published after it
- refused: how often the publisher was told that a message may not be published

The faults:
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from _report import RESULTS, machine  # noqa: E402

from asgineer.testing._process import ServerProcess, free_port  # noqa: E402
from tests.channels.browsers import HOST, Client, Publisher  # noqa: E402 - the path comes first
from tests.channels.nats_server import BINARY as NATS  # noqa: E402
from tests.channels.nats_server import NatsServer  # noqa: E402
from tests.channels.proxy import Proxy  # noqa: E402
from tests.channels.redis_server import PRESENT, RedisServer  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

HERE = Path(__file__).parent
PEERS = HERE / ".venv-faults"
REQUIREMENTS = ["uvicorn[standard]", "litestar", "broadcaster[redis]", "channels_redis", "redis[hiredis]"]
SHOWN_VERSIONS = ["litestar", "broadcaster", "channels_redis", "redis", "uvicorn"]

RATE = 50  # messages per second
CLIENTS = 200
HOLD = 20.0  # seconds that a fault lasts that has a length
WARM = 2.0  # seconds before the fault
HEAL = 20.0  # seconds after it, at most, until all is as before
CALM = 2.0  # seconds from then on until the end


class System(NamedTuple):
    """A library on an engine; `faults` are the letters of those that it can have."""

    app: str
    engine: str | None
    faults: str

    @property
    def name(self) -> str:
        return f"{self.app} {self.engine or 'memory'}"


REDIS = list(PRESENT)
SYSTEMS = [
    System("asgineer", None, "ag"),
    *[System("asgineer", name, "abcdefghi") for name in REDIS],
    *([System("asgineer", "nats", "abcdefgi")] if NATS is not None else []),
    *[
        System(app, name, "abcdefghi")
        for app in ("litestar", "broadcaster", "channels_redis")
        for name in REDIS[:1]
    ],
]


class Stage:
    """Everything that runs for one system and one fault."""

    server: RedisServer | NatsServer | None
    proxy: Proxy
    workers: list[ServerProcess]
    clients: list[Client]
    publisher: Publisher

    def __init__(self, system: System, hold: float) -> None:
        self.system = system
        self.hold = hold


# The faults


async def cut_clients(stage: Stage) -> None:
    """(a) every client is cut once, within a second"""
    for client in stage.clients:
        client.cut()
        await asyncio.sleep(1 / len(stage.clients))


async def kill_worker(stage: Stage) -> None:
    """(b) one of the two servers is killed with -9, and its clients go to the other"""
    os.kill(stage.workers[1].pid, signal.SIGKILL)


async def kill_listeners(stage: Stage) -> None:
    """(c) CLIENT KILL TYPE pubsub; on NATS every connection to it is cut"""
    if isinstance(stage.server, RedisServer):
        await asyncio.to_thread(stage.server.call, "CLIENT", "KILL", "TYPE", "pubsub")
    else:
        stage.proxy.cut()


async def restart(stage: Stage) -> None:
    """(d) the engine is ended and started again, with its data"""
    assert stage.server is not None
    await asyncio.to_thread(stage.server.stop)
    await asyncio.to_thread(stage.server.start)


async def restart_empty(stage: Stage) -> None:
    """(e) the engine is killed and started again, without its data"""
    assert stage.server is not None
    await asyncio.to_thread(stage.server.kill)
    if isinstance(stage.server, NatsServer):
        stage.server.forget()
    await asyncio.to_thread(stage.server.start)


async def stop_engine(stage: Stage) -> None:
    """(f) the engine is stopped by SIGSTOP for 20 s"""
    assert stage.server is not None
    stage.server.pause()
    await asyncio.sleep(stage.hold)
    stage.server.resume()


async def come_and_go(stage: Stage) -> None:
    """(g) every client comes ten times within five seconds, exactly while messages are published"""
    for _ in range(10):
        for client in stage.clients:
            client.cut()
            await asyncio.sleep(stage.hold / 40 / len(stage.clients))


async def fail_over(stage: Stage) -> None:
    """(h) a replica takes over that has missed the last second"""
    server = stage.server
    assert isinstance(server, RedisServer)
    async with Proxy(server.port) as link:
        replica = RedisServer(stage.system.engine, "--replicaof", HOST, str(link.port))
        await asyncio.to_thread(replica.start)
        while "state=online" not in await asyncio.to_thread(server.call, "INFO", "replication"):
            pass
        await asyncio.sleep(1)
        link.stall()
        await asyncio.sleep(1)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(replica.call, "REPLICAOF", "NO", "ONE")
        stage.proxy.targets = (replica.port,)
        stage.server = replica


async def partition(stage: Stage) -> None:
    """(i) a black hole: for 20 s nothing comes through from the engine or to it, and no connection ends"""
    stage.proxy.stall()
    await asyncio.sleep(stage.hold)
    stage.proxy.resume()


FAULTS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "a": cut_clients,
    "b": kill_worker,
    "c": kill_listeners,
    "d": restart,
    "e": restart_empty,
    "f": stop_engine,
    "g": come_and_go,
    "h": fail_over,
    "i": partition,
}


class Outcome(NamedTuple):
    """What was counted over all clients."""

    lost: int
    twice: int
    disordered: int
    resets: int
    heal: float | None
    refused: int
    published: int


async def run_case(system: System, letter: str, count: int, hold: float) -> Outcome:
    """Play one fault, and return what the clients were told."""
    async with AsyncExitStack() as stack:
        stage = Stage(system, hold)
        stage.server = server = make_server(system.engine, letter)
        if server is not None:
            await asyncio.to_thread(server.start)
            stack.push_async_callback(end_server, stage, server)
            stage.proxy = await stack.enter_async_context(Proxy(server.port))
        stage.workers = await start_workers(stack, stage)
        ports = [int(worker.address[1]) for worker in stage.workers]
        stage.clients = [Client(ports, number) for number in range(count)]
        stage.publisher = Publisher(ports[0], RATE)
        tasks = [asyncio.ensure_future(client.run()) for client in stage.clients[: len(ports)]]
        publishing = asyncio.ensure_future(stage.publisher.run())
        try:
            await asyncio.sleep(WARM / 2)  # broadcaster loses who comes while the first one subscribes
            tasks += [asyncio.ensure_future(client.run()) for client in stage.clients[len(ports) :]]
            await asyncio.sleep(WARM)
            deaf = sum(not client.watch.last for client in stage.clients)
            assert not deaf, f"{deaf} clients of {system.name} hear nothing"
            await FAULTS[letter](stage)
            heal = await measure_heal(stage)
            await asyncio.sleep(CALM)
            publishing.cancel()
            await drain(stage)
        finally:
            for task in [*tasks, publishing]:
                task.cancel()
            await asyncio.gather(*tasks, publishing, return_exceptions=True)
        return count_up(stage, heal)


async def end_server(stage: Stage, server: RedisServer | NatsServer) -> None:
    for each in {id(server): server, id(stage.server): stage.server}.values():
        if each is not None:
            await asyncio.to_thread(each.__exit__, None, None, None)


def make_server(engine: str | None, letter: str) -> RedisServer | NatsServer | None:
    if engine is None:
        return None
    return NatsServer() if engine == "nats" else RedisServer(engine, durable=letter == "d")


async def start_workers(stack: AsyncExitStack, stage: Stage) -> list[ServerProcess]:
    """Start two server processes; one where messages stay in the process."""
    system = stage.system
    python = sys.executable if system.app == "asgineer" else str(PEERS / "bin" / "python")
    url = ""
    if system.engine is not None:
        url = f"{'nats' if system.engine == 'nats' else 'redis'}://{HOST}:{stage.proxy.port}"
    env = {"FAULTS_APP": system.app, "FAULTS_URL": url, "PYTHONPATH": f"{HERE}:{ROOT / 'src'}"}
    workers = []
    for _ in range(2 if url else 1):
        port = free_port()
        command = [python, "-m", "uvicorn", "_faults_apps:app", "--port", str(port), "--log-level", "error"]
        command += ["--no-access-log", "--timeout-graceful-shutdown", "1"]
        worker = ServerProcess.command(command, (HOST, port), env=env)
        stack.push_async_callback(asyncio.to_thread, worker.stop, 5)
        await asyncio.to_thread(worker.wait_until_ready)
        workers.append(worker)
    return workers


async def measure_heal(stage: Stage) -> float | None:
    """Return the seconds until every client has a message that was published from now on."""
    start = time.monotonic()
    for client in stage.clients:
        client.target = stage.publisher.published + 1
    while time.monotonic() < start + HEAL:
        if all(client.healed for client in stage.clients):
            return max(client.healed or 0 for client in stage.clients) - start
        await asyncio.sleep(0.02)
    return None


async def drain(stage: Stage) -> None:
    """Give what was published a moment to arrive."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if all(client.watch.last >= stage.publisher.published for client in stage.clients):
            return
        await asyncio.sleep(0.02)


def count_up(stage: Stage, heal: float | None) -> Outcome:
    watches = [client.watch for client in stage.clients]
    for watch in watches:
        watch.end(stage.publisher.published)
    return Outcome(
        sum(watch.lost for watch in watches),
        sum(watch.twice for watch in watches),
        sum(watch.disordered for watch in watches),
        sum(watch.resets for watch in watches),
        heal,
        stage.publisher.failed,
        stage.publisher.published,
    )


# The report

COLUMNS = {"lost": 8, "twice": 8, "disordered": 12, "resets": 8, "heal": 9, "refused": 9}
HEAD = f"{'fault':<6}{'system':<24}" + "".join(f"{name:>{width}}" for name, width in COLUMNS.items())


def line(letter: str, system: System, found: Outcome | None) -> str:
    start = f"({letter})   {system.name:<24}"
    if found is None:
        return f"{start}{'n/a':>8}"
    heal = "never" if found.heal is None else f"{found.heal:.2f} s"
    counts = f"{found.lost:>8}{found.twice:>8}{found.disordered:>12}{found.resets:>8}"
    return f"{start}{counts}{heal:>9}{found.refused:>9}"


def versions() -> str:
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [str(PEERS / "bin" / "python"), "-c", code, *SHOWN_VERSIONS]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return ", ".join(f"{name} {version}" for name, version in zip(SHOWN_VERSIONS, found, strict=True))


def prepare() -> None:
    """Take as many files as are allowed; make the environment of the peers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stamp = PEERS / "installed.txt"
    if not stamp.exists() or stamp.read_text() != "\n".join(REQUIREMENTS):
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        python = str(PEERS / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
        stamp.write_text("\n".join(REQUIREMENTS))


def record(lines: Sequence[str], text: str) -> None:
    faults = "\n".join(f"- {fault.__doc__}" for fault in FAULTS.values())
    table = "\n".join(lines)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "faults.md").write_text(
        f"# faults\n\n{__doc__}\n{faults}\n\n```\n{table}\n```\n\n{text}\n"
        f"- Machine: {machine()}\n- Date: {datetime.now(UTC).date()}\n"
        "- To repeat: `python bench/faults.py --record`\n",
        encoding="utf-8",
    )


def parse() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep the table in bench/results/faults.md")
    parser.add_argument("--faults", default="".join(FAULTS), help="letters of those to play")
    parser.add_argument("--systems", default="", help="only those with one of these words in their names")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--hold", type=float, default=HOLD, help="seconds that the long ones last")
    return parser.parse_args()


async def main() -> None:
    options = parse()
    prepare()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # what it started ends with it
    words = options.systems.split()
    systems = [each for each in SYSTEMS if not words or any(word in each.name for word in words)]
    lines = [HEAD]
    print(HEAD)
    for letter in options.faults:
        for system in systems:
            found = None
            if letter in system.faults:
                found = await run_case(system, letter, options.clients, options.hold)
            lines.append(line(letter, system, found))
            print(lines[-1], flush=True)
    if options.record:
        load = f"- {options.clients} clients, {RATE} messages/s; (f) and (i) last {options.hold:.0f} s"
        record(lines, f"{load}\n- {versions()}")


if __name__ == "__main__":
    asyncio.run(main())
