"""A connection of `asgineer._uvicorn` in this process: a real loop, a real socket, any ASGI app behind it.

`connected` gives the client's end, and what stands behind the server's: its state, its protocol.
Nothing here waits for time; `settled` lets the loop run until nothing happens any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.server import ServerState

from asgineer._uvicorn import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

DEFAULTS = [(b"server", b"unit")]
GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nserver: unit\r\n"


class Client:
    """The client's end of a connection.

    Attributes:
        state: uvicorn's, with its sets of connections and tasks.
        connection: the protocol of the server's end.
        transport: of the server's end.
    """

    def __init__(self, sock: socket.socket, state: ServerState, connection: Any, transport: Any) -> None:
        self.socket = sock
        self.state = state
        self.connection = connection
        self.transport = transport
        self.got = b""
        sock.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def send_bytewise(self, data: bytes) -> None:
        """Send one byte after the other, each one read before the next is sent."""
        for index in range(len(data)):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                await self.send(data[index : index + 1])
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def read(self, size: int = 65_536) -> bytes:
        """Return what comes next, b"" at the end."""
        return await asyncio.get_running_loop().sock_recv(self.socket, size)

    async def rest(self) -> bytes:
        """Read to the end of the connection."""
        found = [self.got]
        with contextlib.suppress(ConnectionResetError):
            while piece := await self.read():
                found.append(piece)
        return b"".join(found)

    async def until(self, end: bytes) -> bytes:
        """Read until `end` has come; it is an error when the connection ends before."""
        while end not in self.got:
            piece = await self.read()
            assert piece, self.got
            self.got += piece
        found, _, rest = self.got.partition(end)
        self.got = rest
        return found + end

    async def ask(self, data: bytes, end: bytes) -> bytes:
        await self.send(data)
        return await self.until(end)

    def close(self, abruptly: bool = False) -> None:
        if abruptly:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


async def settled() -> None:
    """Let everything go on that waits for nothing from outside."""
    for _ in range(30):
        await asyncio.sleep(0)


async def until(holds: Callable[[], object]) -> None:
    """Let the loop run until something holds that only the sockets can bring about."""
    while not holds():  # noqa: ASYNC110 (what is asked for has no event)
        await asyncio.sleep(0)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent comes at once
        return listener.accept()[0], client


@contextlib.asynccontextmanager
async def connected(
    app: Any,
    *,
    protocol: Any = Connection,
    state: ServerState | None = None,
    app_state: dict[str, Any] | None = None,
    tcp: bool = False,
    **options: Any,
) -> AsyncIterator[Client]:
    """Serve one connection by `app`; `options` are those of uvicorn.Config. Nothing may be left."""
    settings: dict[str, Any] = {"log_config": None, "access_log": False, "interface": "asgi3", **options}
    config = uvicorn.Config(app, **settings)
    config.load()
    if state is None:
        state = ServerState()
        state.default_headers = DEFAULTS
    loop = asyncio.get_running_loop()
    ours, theirs = tcp_pair() if tcp else socket.socketpair()
    given = {} if app_state is None else app_state
    transport, connection = await loop.connect_accepted_socket(
        lambda: protocol(config=config, server_state=state, app_state=given, _loop=loop), ours
    )
    client = Client(theirs, state, connection, transport)
    try:
        yield client
    finally:
        theirs.close()
        with contextlib.suppress(AttributeError):  # of asyncio, where it has flushed and closed
            transport.abort()
        await settled()
    assert not state.connections
    assert not state.tasks


# ---- apps ------------------------------------------------------------------------------------


async def start(send: Any, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send: Any, data: bytes = b"", more: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path."""
    data = scope["path"].encode()
    await start(send, (b"content-length", b"%d" % len(data)))
    await body(send, data)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body of the request, in chunks."""
    more = True
    begun = False
    while more:
        message = await receive()
        if not begun:
            begun = True
            await start(send)
        assert message["type"] == "http.request", message
        more = message["more_body"]
        await body(send, message["body"], more)


async def direct(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path, in one call."""
    data = scope["path"].encode()
    type(send).respond(send, 200, [(b"content-length", b"%d" % len(data))], data)
