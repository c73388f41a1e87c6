"""A small TCP proxy between a bus and its engine, which fails when a test says so.

`cut()` breaks every connection, as a network does that resets them; `stall()` is a black hole:
connections stay (new ones too) and nothing goes through, until `resume()`; `refuse()` is a server
that is gone. It runs in the event loop of the test.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HOST = "127.0.0.1"
CHUNK = 65_536  # bytes


class Proxy:
    """`async with Proxy(port) as proxy:` listens at `proxy.port` for the server at `port`, both on loopback.

    Args:
        targets: ports of servers; of several, connections go to them in turn.
        tls: what clients are to speak with it, where it is given.

    Attributes:
        port: where it listens.
        targets: may be changed, for connections to come.
        accepted: how many connections it took.
    """

    def __init__(self, *targets: int, tls: ssl.SSLContext | None = None) -> None:
        self.targets = targets
        self._tls = tls
        self.port = 0
        self.accepted = 0
        self._stalls = False
        self._refuses = False
        self._open: dict[int, asyncio.Event] = {}
        self._writers: dict[int, list[asyncio.StreamWriter]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, HOST, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.resume()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._writers)

    def cut(self, *numbers: int) -> None:
        """Break every connection, both ways, at once and without a goodbye; or those of these numbers."""
        for number in numbers or list(self._writers):
            for writer in self._writers[number]:
                writer.transport.abort()

    def refuse(self) -> None:
        """Close every new connection at once, and break those there are, until `resume()`."""
        self._refuses = True
        self.cut()

    def stall(self, *numbers: int) -> None:
        """Let nothing through, either way, until `resume()`; who connects is accepted, and hears nothing.

        Given numbers, do it to the connections of these alone, in the order in which they came, from 0.
        """
        self._stalls = not numbers
        for number in numbers or self._open:
            self._open[number].clear()

    def resume(self) -> None:
        """Let all through again, also what was held back."""
        self._stalls = self._refuses = False
        for way in self._open.values():
            way.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        number, self.accepted = self.accepted, self.accepted + 1
        self._open[number] = asyncio.Event()
        if not self._stalls:
            self._open[number].set()
        with suppress(OSError, asyncio.CancelledError):
            if not self._refuses:
                await self._forward(number, (reader, writer))
        writer.transport.abort()
        del self._open[number]

    async def _forward(self, number: int, client: Streams) -> None:
        server = await asyncio.open_connection(HOST, self.targets[number % len(self.targets)])
        both = self._writers[number] = [client[1], server[1]]
        try:
            ways = [(client[0], server[1]), (server[0], client[1])]
            pumps = [asyncio.ensure_future(_pump(self._open[number], *way)) for way in ways]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            del self._writers[number]
            for writer in both:
                writer.transport.abort()


async def _pump(open: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        await open.wait()
        writer.write(data)
        await writer.drain()
