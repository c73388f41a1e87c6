"""The load of `compare.py`: wrk for HTTP, a client of ours on raw sockets for websockets.

Both run on a core of their own. Each gives how many requests were answered, how many seconds that
took, and the 99th percentile of how long one waited. A wrong answer (a status from 400 on) or a
connection that breaks is an error.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from _compare_rows import Row

HOST = "127.0.0.1"
CONNECTIONS = 16
ECHO = b"The quick brown fox jumps over it"  # what the websocket sends back
TIMEOUT = 10.0

SCRIPT = """
wrk.method = "{method}"
{body}
{headers}
done = function(summary, latency, requests)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
    io.write(string.format(
        '\\n{{"count": %d, "seconds": %f, "p99": %f, "failed": %d}}\\n',
        summary.requests, summary.duration / 1e6, latency:percentile(99) / 1e3, failed))
end
"""


class Load(NamedTuple):
    """What a load found: `p99` in ms."""

    answered: int
    seconds: float
    p99: float


def run_wrk(row: Row, port: int, seconds: int, core: int, folder: Path) -> Load:
    """Send the request of `row` over 16 connections for so many seconds, each after the last answer.

    Raises:
        RuntimeError: something was not answered, or by a status from 400 on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / f"{row.key}-{os.getpid()}.lua"
    body = ""
    if row.body:
        data = folder / f"{row.key}.body"
        data.write_bytes(row.body)
        body = f'wrk.body = io.open({_quoted(str(data))}, "rb"):read("*a")'
    headers = "\n".join(f"wrk.headers[{_quoted(name)}] = {_quoted(value)}" for name, value in row.headers)
    script.write_text(SCRIPT.format(method="POST" if row.body else "GET", body=body, headers=headers))
    command = ["taskset", "--cpu-list", str(core), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    command += ["--timeout", f"{TIMEOUT:.0f}s", "-s", str(script), f"http://{HOST}:{port}{row.path}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    finally:
        script.unlink()
    found = json.loads(done.stdout.splitlines()[-1])
    if found["failed"] or not found["count"]:
        raise RuntimeError(f"{found['count']} requests were answered, {found['failed']} failed")
    return Load(found["count"], found["seconds"], found["p99"])


def _quoted(text: str) -> str:
    """Return `text` as Lua writes it."""
    return json.dumps(text, ensure_ascii=False)


def run_echo(port: int, seconds: float) -> Load:
    """Send a message over 16 websockets for so many seconds, each as soon as the last came back.

    Raises:
        RuntimeError: another message came back, or the connection ended.
    """
    clients = [_open_websocket(port) for _ in range(CONNECTIONS)]
    poll = select.epoll()
    by_number = {client.fileno(): client for client in clients}
    try:
        for client in clients:
            poll.register(client, select.EPOLLIN)
        return _echo(poll, by_number, seconds)
    finally:
        poll.close()
        for client in clients:
            client.close()


def _open_websocket(port: int) -> socket.socket:
    client = socket.create_connection((HOST, port), timeout=TIMEOUT)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(
        b"GET /echo HTTP/1.1\r\nHost: compare\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(4096)
        if not part:
            raise RuntimeError("the websocket was refused")
        head += part
    if not head.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"the websocket was refused: {head[:40]!r}")
    return client


def _echo(poll: select.epoll, by_number: dict[int, socket.socket], seconds: float) -> Load:
    mask = b"\x12\x34\x56\x78"
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(ECHO))
    message = bytes([0x81, 0x80 | len(ECHO)]) + mask + masked
    expected = bytes([0x81, len(ECHO)]) + ECHO
    sent = {}
    waits = []
    now = start = time.perf_counter()
    for number, client in by_number.items():
        client.sendall(message)
        sent[number] = now
    while sent:
        ready = poll.poll(TIMEOUT)
        if not ready:
            raise RuntimeError(f"the websocket sent nothing back for {TIMEOUT:.0f} s")
        for number, _ in ready:
            client = by_number[number]
            came = client.recv(4096)
            if came != expected:
                raise RuntimeError(f"the websocket sent back {came[:40]!r}")
            now = time.perf_counter()
            waits.append(now - sent[number])
            if now - start < seconds:
                sent[number] = now
                client.sendall(message)
            else:
                del sent[number]
    waits.sort()
    return Load(len(waits), now - start, waits[int(len(waits) * 0.99)] * 1e3)
