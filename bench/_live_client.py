"""The load of `live.py`: many clients of one server in one thread, on raw sockets.

Not a client for anything else: it knows how a message of `_live_apps` looks, and finds it in
whatever is around it (chunks, SSE fields, websocket frames), so that it costs less than the server.
"""

from __future__ import annotations

import re
import select
import socket
import time
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HOST = "127.0.0.1"
SSE = b"GET / HTTP/1.1\r\nHost: live\r\nAccept: text/event-stream\r\n\r\n"
WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: live\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGE = re.compile(rb'"n":(\d+),"t":(\d+\.\d+),"[^}]*}')
PING = re.compile(rb"\r\n:[^\r\n]*\r?\n")
AT_ONCE = 200  # connections that are being opened
# Seconds between two looks when nothing had come. Waiting in the poll would charge the server for waking
# this process, by each send that finds it asleep: the faster a server, the seldomer.
LOOK = 0.002
CONNECT_TIMEOUT = 120.0  # seconds, for all of them


class Client:
    """One connection, and what came over it."""

    __slots__ = ("last", "rest", "socket")

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.rest = b""
        self.last = 0  # the number of the last message


class Load:
    """All connections to one server."""

    def __init__(self, port: int, count: int, hello: bytes) -> None:
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self.received = self.lost = self.twice = self.dropped = self.pings = 0
        self.latencies = array("d")
        self._connect(port, count, hello)

    def __len__(self) -> int:
        return len(self._clients)

    def _connect(self, port: int, count: int, hello: bytes) -> None:
        """Open the connections, a part at once, each part from another address, and wait for their heads."""
        deadline = time.monotonic() + CONNECT_TIMEOUT
        for start in range(0, count, AT_ONCE):
            part = [
                self._open(port, hello, f"127.0.0.{2 + start // 2000}")
                for _ in range(min(AT_ONCE, count - start))
            ]
            for client in part:
                client.socket.settimeout(max(0.1, deadline - time.monotonic()))
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.socket.recv(4096)
                    assert head, "the server refused a connection"
                assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")), head
                client.socket.setblocking(False)
                self._clients[client.socket.fileno()] = client
                self._poll.register(client.socket, select.EPOLLIN)

    def _open(self, port: int, hello: bytes, source: str) -> Client:
        connected = socket.create_connection((HOST, port), timeout=10, source_address=(source, 0))
        connected.sendall(hello)
        return Client(connected)

    def begin(self) -> None:
        """Forget what was counted; the next message is number 1."""
        self.received = self.lost = self.twice = self.dropped = self.pings = 0
        self.latencies = array("d")
        for client in self._clients.values():
            client.last = 0

    def run(self, until: Callable[[], bool], count_pings: bool = False) -> None:
        """Take what comes until `until()`, which is asked about every 50 ms."""
        ask = time.monotonic() + 0.05
        while True:
            ready = self._poll.poll(0, 256)
            if not ready:
                time.sleep(LOOK)
            for number, _ in ready:
                client = self._clients[number]
                try:
                    data = client.socket.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    self._drop(client)
                elif count_pings:
                    self.pings += len(PING.findall(data))
                else:
                    self._take(client, data)
            if time.monotonic() > ask:
                if until():
                    return
                ask = time.monotonic() + 0.05

    def _take(self, client: Client, data: bytes) -> None:
        now = time.monotonic()
        if client.rest:
            data = client.rest + data
        end = 0
        for found in MESSAGE.finditer(data):
            end = found.end()
            number, due = found.groups()
            number = int(number)
            if number == client.last + 1:
                client.last = number
            elif number <= client.last:
                self.twice += 1
            else:
                self.lost += number - client.last - 1
                client.last = number
            self.received += 1
            self.latencies.append(now - float(due))
        rest = data[end:]
        client.rest = rest if b"{" in rest else b""

    def behind(self, published: int) -> int:
        """Return how many messages the clients have not got yet."""
        return sum(published - client.last for client in self._clients.values())

    def _drop(self, client: Client) -> None:
        self.dropped += 1
        del self._clients[client.socket.fileno()]
        self._poll.unregister(client.socket)
        client.socket.close()

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()
        self._poll.close()
