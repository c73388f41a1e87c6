"""What clients see when a server under load is told to stop: SIGTERM with streams, websockets and requests.

`asgineer.run()` serves 1000 event streams and 1000 websockets that wait, and 200 requests a second, each
on a connection of its own and 50 ms long. Then it gets SIGTERM. Wanted: every request that was accepted
is answered, a stream ends well after a `retry:` that differs from client to client, a websocket closes
with 1012 (or 1001, where the server decides), the lifespan's cleanup runs, and the process ends within
`shutdown_timeout` and a second. "Refused" is no failure: nobody listens any more. "Reset" is what the
kernel does with connections in the queue of a socket that is closed: the server never saw them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from _report import show

from asgineer.testing._process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Coroutine

HOST = "127.0.0.1"
SERVERS = ["uvicorn", "hypercorn", "granian", "daphne"]
PROGRAM = Path(__file__).parent / "_live_end_app.py"
AT_ONCE = 50  # connections that are being opened
BEFORE = 1.0  # seconds of requests before the signal; after it they go on until nobody listens
FILES = 8192
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
EVENTS = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def opened(port: int, head: bytes, begin: bytes) -> asyncio.StreamReader:
    """Open a connection that stays, and read up to the end of its head and `begin`; return its rest."""
    reader, writer = await asyncio.open_connection(HOST, port)
    _writers.append(writer)
    writer.write(head)
    await reader.readuntil(b"\r\n\r\n")
    if begin:
        await reader.readuntil(begin)
    return reader


_writers: list[asyncio.StreamWriter] = []  # kept: a writer that is collected closes its connection


async def crowd(port: int, count: int, head: bytes, begin: bytes) -> list[asyncio.StreamReader]:
    found: list[asyncio.StreamReader] = []
    for start in range(0, count, AT_ONCE):
        number = min(AT_ONCE, count - start)
        found += await asyncio.gather(*[opened(port, head, begin) for _ in range(number)])
    return found


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except OSError:
        return b"reset"


async def ask(port: int) -> str:
    """Make one request; return how it ended."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return "refused"
    try:
        writer.write(REQUEST)
        answer = await reader.read()
    except OSError:
        return "reset"
    finally:
        writer.close()
    if answer.endswith(b"answered"):
        return "answered"
    return answer[9:12].decode() if answer else "closed"


async def requests(port: int, rate: int, until: asyncio.Event) -> Counter[str]:
    """Make requests by a timetable until `until`."""
    loop = asyncio.get_running_loop()
    start, tasks = loop.time(), []
    while not until.is_set():
        tasks.append(asyncio.ensure_future(ask(port)))
        await asyncio.sleep(max(0.0, start + len(tasks) / rate - loop.time()))
    return Counter(await asyncio.gather(*tasks))


def end_of_stream(rest: bytes) -> str:
    if rest == b"reset":
        return "reset"
    if not rest.endswith(b"0\r\n\r\n"):
        return "cut off"
    return "retry" if b"retry: " in rest else "no retry"


def end_of_websocket(rest: bytes) -> str:
    at = rest.rfind(b"\x88")
    return "reset" if rest == b"reset" else "1006" if at < 0 else str(int.from_bytes(rest[at + 2 : at + 4]))


async def measure(process: ServerProcess, port: int, clients: int, rate: int) -> list[str]:
    streams = await crowd(port, clients, EVENTS, b":\n\n")
    sockets = await crowd(port, clients, HANDSHAKE, b"")
    over = asyncio.Event()
    asking = asyncio.ensure_future(requests(port, rate, over))
    await asyncio.sleep(BEFORE)
    os.kill(process.pid, signal.SIGTERM)
    since = time.monotonic()
    rests = asyncio.gather(*map(rest_of, streams + sockets))
    while process.status is None:  # noqa: ASYNC110 (another process ends: there is no event)
        await asyncio.sleep(0.01)
    seconds = time.monotonic() - since
    over.set()
    answers, found = await asking, await rests
    waits = {rest.partition(b"retry: ")[2][:4] for rest in found[:clients]} - {b""}
    return [
        shown(answers),
        shown(Counter(map(end_of_stream, found[:clients]))),
        f"{len(waits)} times",
        shown(Counter(map(end_of_websocket, found[clients:]))),
        "yes" if "lifespan ended" in process.output else "no",
        f"{seconds:.2f}",
        str(process.status),
    ]


def shown(counter: Counter[str]) -> str:
    return ", ".join([f"{number} {name}" for name, number in counter.most_common()])


def run(server: str, clients: int, rate: int, timeout: float) -> list[str]:
    port = free_port()
    line = [sys.executable, str(PROGRAM), server, f"{HOST}:{port}", str(timeout)]
    process = ServerProcess.command(line, (HOST, port))
    try:
        process.wait_until_ready()
        return bounded(measure(process, port, clients, rate), timeout)
    finally:
        process.stop(0)


def bounded(measuring: Coroutine[None, None, list[str]], timeout: float) -> list[str]:
    async def main() -> list[str]:
        async with asyncio.timeout(60 + timeout):
            return await measuring

    return asyncio.run(main())


HEADS = ["requests", "streams", "come back at", "websockets", "cleanup", "seconds", "status"]


def table(rows: dict[str, list[str]], clients: int, rate: int, timeout: float) -> str:
    lines = [f"{clients} streams, {clients} websockets, {rate} requests/s; shutdown_timeout={timeout:g}"]
    for server, row in rows.items():
        lines.append(server)
        lines += [f"  {head:13} {value}" for head, value in zip(HEADS, row, strict=True)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("servers", nargs="*", default=SERVERS)
    parser.add_argument("--clients", type=int, default=1000, help="streams, and as many websockets")
    parser.add_argument("--rate", type=int, default=200, help="requests a second")
    parser.add_argument("--timeout", type=float, default=10.0, help="shutdown_timeout, in seconds")
    parser.add_argument("--record", action="store_true", help="keep the figures in bench/results/")
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard) if hard > 0 else FILES, hard))
    sizes = (arguments.clients, arguments.rate, arguments.timeout)
    rows = {}
    for server in arguments.servers:
        rows[server] = run(server, *sizes)
        print(server, rows[server], file=sys.stderr, flush=True)
    show("shutdown", (__doc__ or "").strip(), table(rows, *sizes), record=arguments.record)


if __name__ == "__main__":
    main()
