"""Clients of server-sent events as browsers are, and a publisher of 1, 2, 3 … who keeps its pace.

A client comes back when its connection ended, after a moment drawn by chance, and says the last id
it saw; where one server is gone it goes to the next. For `bench/faults.py`, and the tests that do
some of it; what fails is their matter.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
COME_BACK = 0.5  # seconds at most until a client that lost its connection connects anew
PUBLISH_TIMEOUT = 6.0  # seconds; our own gives up after five


class Client:
    """One browser, over all of its connections.

    Attributes:
        watch: what it was told.
        connections: how often it connected.
        target: the number that shows that it is healed, once it is known.
        healed: when a number came that is at least that, in monotonic seconds.
    """

    def __init__(self, ports: Sequence[int], first: int) -> None:
        self.watch = Watch()
        self.connections = 0
        self.target: int | None = None
        self.healed: float | None = None
        self._ports = ports
        self._at = first
        self._last_id = ""
        self._writer: asyncio.StreamWriter | None = None

    def cut(self) -> None:
        """Lose the connection, as when a train enters a tunnel."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def run(self) -> None:
        """Take events until cancelled."""
        while True:
            try:
                await self._connect_once()
            except ConnectionRefusedError:
                self._at += 1
            except OSError:
                pass
            await asyncio.sleep(random.uniform(0, COME_BACK))

    async def _connect_once(self) -> None:
        port = self._ports[self._at % len(self._ports)]
        reader, self._writer = await asyncio.open_connection(HOST, port)
        self.connections += 1
        try:
            resume = f"last-event-id: {self._last_id}\r\n" if self._last_id else ""
            self._writer.write(f"GET /events HTTP/1.0\r\nhost: {HOST}\r\n{resume}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " in head.partition(b"\r\n")[0]:
                await self._take(reader)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._writer.transport.abort()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        rest = b""
        while data := await reader.read(65_536):
            *blocks, rest = (rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
            for block in blocks:
                self._take_block(block.decode())

    def _take_block(self, block: str) -> None:
        fields = dict(line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":"))
        if "id" in fields:
            self._last_id = fields["id"]
        if fields.get("event") == "reset":
            self.watch.reset()
        elif "data" in fields:
            self.watch.take(int(fields["data"]))
            if self.healed is None and self.target is not None and self.watch.last >= self.target:
                self.healed = time.monotonic()


class Publisher:
    """Publishes 1, 2, 3 …, each until it is known to be published, at a pace.

    Attributes:
        published: how many are.
        failed: how often it was told, or had to take it, that one is not.
    """

    def __init__(self, port: int, rate: float) -> None:
        self.published = 0
        self.failed = 0
        self._port = port
        self._pause = 1 / rate

    async def run(self) -> None:
        """Publish until cancelled."""
        following = time.monotonic()
        while True:
            while not await self._publish_one(self.published + 1):
                self.failed += 1
                await asyncio.sleep(0.1)
            self.published += 1
            following = max(following + self._pause, time.monotonic() - 1)  # no burst after an outage
            await asyncio.sleep(following - time.monotonic())

    async def _publish_one(self, number: int) -> bool:
        writer = None
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                reader, writer = await asyncio.open_connection(HOST, self._port)
                writer.write(f"GET /publish/{number} HTTP/1.0\r\nhost: {HOST}\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
        except (OSError, TimeoutError):
            return False
        finally:
            if writer is not None:
                with suppress(OSError):
                    writer.transport.abort()
