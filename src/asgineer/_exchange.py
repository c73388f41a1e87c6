"""One request and its response, as an ASGI app sees them, on a connection of `_uvicorn`.

An Exchange is the `send` of the app, `receive` is a method of it, and `respond` takes a whole
response in one call, without messages, and writes it at once. Our apps look for that on the type of
`send`, so that it is never found through a middleware. What else goes out in one turn of the event
loop is held, and written at its end: a write is a system call, which costs more than all that we do
for a piece. How bytes are framed is `_h1`'s to know;
what is read and when, the connection's.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.protocols.utils import ClientDisconnected, get_client_addr, get_path_with_query_string

from ._deadlines import NEVER
from ._h1 import (
    CHUNKED,
    CLOSE_FIELD,
    LAST_CHUNK,
    LENGTH,
    MANAGED_FIELDS,
    NO_BODY,
    Head,
    Openings,
    plain_fields,
    whole_response,
)

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import NoReturn

    from uvicorn.server import ServerState

    from ._h1 import Fields

    Message = MutableMapping[str, Any]

PIECE = 65_536  # bytes of a body that are kept for an app that doesn't receive them
TURNS_BEFORE_ERROR = 8  # of the event loop: Django needs five from the disconnect to the cancellation
MAX_SHARED = 16_384  # bytes of a chunk that is kept for the next client

NEW, STARTED, ENDED = "new", "started", "ended"  # a response
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

logger = logging.getLogger("uvicorn.error")
access_logger = logging.getLogger("uvicorn.access")


class Link(Protocol):
    """What an exchange asks of its connection."""

    transport: asyncio.Transport
    server_state: ServerState
    loop: asyncio.AbstractEventLoop
    openings: Openings
    log_access: bool
    write_paused: bool
    deadline: float
    cycle: Exchange | None

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def wait_for_body(self) -> None: ...

    async def wait_until_writable(self) -> None: ...

    def finish(self, exchange: Exchange) -> None: ...


def wake(waiters: list[asyncio.Future[None]]) -> None:
    """Let everybody go on who waits."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()


class Exchange:
    """One request and its response. It is the `send` of the app, and `receive` is a method of it."""

    expects = False  # the client waits for "100 Continue" before it sends the body
    gone = False  # the client is
    more = True  # body to come
    told = False  # the app has got the end of the body
    pieces: list[bytes] | None = None  # of the body, for the app to receive
    size = 0  # bytes of them
    waiters: list[asyncio.Future[None]] | None = None  # calls of receive
    stage = NEW
    framing = CHUNKED
    left = 0  # bytes that content-length has still to come
    held: list[bytes] | None = None  # what the end of this turn of the event loop writes
    held_size = 0
    task: asyncio.Task[None]

    def __init__(self, connection: Link, scope: dict[str, Any], keep_alive: bool) -> None:
        self.connection = connection
        self.scope = scope
        self.keep_alive = keep_alive

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of the connection, with nothing held back from it; `_abort` looks for it."""
        self.flush()
        return self.connection.transport

    # From the connection

    def take(self, body: bytes) -> None:
        """Keep a piece of the body until the app receives it."""
        if self.stage is ENDED or self.gone:
            return
        if self.pieces is None:
            self.pieces = []
        self.pieces.append(body)
        self.size += len(body)
        if self.size > PIECE:
            self.connection.pause_reading()
        if self.waiters:
            wake(self.waiters)

    def complete(self) -> None:
        """The request has come to its end."""
        self.more = False
        if self.waiters:
            wake(self.waiters)

    def leave(self) -> None:
        """The client is gone."""
        self.gone = True
        self.pieces = self.held = None
        if self.waiters:
            wake(self.waiters)

    # The app

    async def run(self, app: Any) -> None:
        """Call the app, and answer for it where it does not."""
        try:
            result = await app(self.scope, self.receive, self)
            if result is not None:
                raise RuntimeError(f"ASGI callable should return None, but returned {result!r:.100}")
            if self.stage is not ENDED and not self.gone:
                verb = "starting" if self.stage is NEW else "completing"
                raise RuntimeError(f"ASGI callable returned without {verb} response")
        except BaseException as error:
            self._fail(error)
        finally:
            self.connection.server_state.tasks.discard(self.task)

    def _fail(self, error: BaseException) -> None:
        if self.gone and _is_of_disconnect(error):
            return
        if not isinstance(error, asyncio.CancelledError):
            logger.error("Exception in ASGI application\n", exc_info=error)
        if self.gone or self.stage is ENDED:
            return
        if self.stage is STARTED:
            self.flush()
            self.leave()
            self.connection.transport.abort()  # a body that breaks off is to be seen to
            return
        stops = isinstance(error, asyncio.CancelledError)
        status, text = (503, "Service Unavailable") if stops else (500, "Internal Server Error")
        connection = self.connection
        data = whole_response(status, text, connection.server_state.default_headers)
        if self.scope["method"] == "HEAD":
            data = data[: data.index(b"\r\n\r\n") + 4]
        self._begin(status)
        connection.transport.write(data)
        self.keep_alive = False
        self._end()

    async def receive(self) -> Message:
        """Return the next piece of the body, or that the client left, as soon as it did."""
        if self.expects:
            self.expects = False
            if self.more and not self.pieces and self.stage is NEW and not self.gone:
                self.connection.transport.write(CONTINUE)
        while not self.gone and self.stage is not ENDED:
            pieces = self.pieces
            if pieces or not (self.more or self.told):
                self.pieces = None
                self.size = 0
                self.told = not self.more
                body = b"" if not pieces else pieces[0] if len(pieces) == 1 else b"".join(pieces)
                return {"type": "http.request", "body": body, "more_body": self.more}
            await self._wait()
        return {"type": "http.disconnect"}

    async def _wait(self) -> None:
        connection = self.connection
        waiter = connection.loop.create_future()
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)
        if self.more:
            connection.resume_reading()
            if self.stage is NEW:
                connection.wait_for_body()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self.waiters:
                self.waiters.remove(waiter)
            raise
        finally:
            if connection.cycle is self:
                connection.deadline = NEVER

    async def __call__(self, message: Message) -> None:
        """Send one message. Waits while the client is slow to take it.

        Raises:
            ClientDisconnected: an OSError, as ASGI 2.4 asks for: the client is gone.
            RuntimeError: a message that can't come now, or what HTTP does not allow.
        """
        if self.gone:
            await _raise_disconnected()
        kind = message["type"]
        if self.stage is STARTED and kind == "http.response.body":
            self._write_body(message.get("body", b""), message.get("more_body", False))
        elif self.stage is NEW and kind == "http.response.start":
            self._write_head(message["status"], message.get("headers") or [])
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r:.100}: the response is {self.stage}")
        if self.connection.write_paused and self.stage is STARTED:
            await self.connection.wait_until_writable()
            if self.gone:
                await _raise_disconnected()

    def respond(self, status: int, headers: Fields, body: bytes) -> None:
        """Send a whole response, in one write. It doesn't wait: the next request does.

        Args:
            status: from 200 to 599.
            headers: checked, with names in lower case, and the content-length that the body has.
            body: b"" for a response without one.

        Raises:
            ClientDisconnected: the client is gone.
            RuntimeError: there is a response already.
        """
        if self.gone:
            raise ClientDisconnected
        if self.stage is not NEW:
            raise RuntimeError(f"The response is {self.stage}")
        connection = self.connection
        parts = [connection.openings.get(status, connection.server_state.default_headers)]
        for name, value in headers:
            if name in MANAGED_FIELDS:
                self._write_head(status, headers)
                return self._write_body(body, False)
            parts += (name, b": ", value, b"\r\n")
        self._begin(status)
        if not self.keep_alive:
            parts.append(CLOSE_FIELD)
        parts.append(b"\r\n")
        if self.scope["method"] == "HEAD":
            body = b""
        if len(body) > PIECE:
            _write_large(connection.transport, b"".join(parts), body)
        else:
            parts.append(body)
            connection.transport.write(b"".join(parts))
        self._end()

    def push(self, body: bytes) -> bool:
        """Send a piece of a chunked body at once; False where it can't go like that, but by a message.

        That is before the head, with a content-length, for a client that is slow, and for one that left.
        """
        if self.stage is not STARTED or self.framing is not CHUNKED or self.gone:
            return False
        connection = self.connection
        if connection.write_paused or not body:
            return False
        if self.held:
            self.flush()
        if body is _last_chunk[0]:
            connection.transport.write(_last_chunk[1])
        else:
            _write_chunk(connection.transport, body)
        return True

    def hold(self, body: bytes) -> bool:
        """Do the same at the end of this turn of the event loop, with all that is sent in it."""
        if self.stage is not STARTED or self.framing is not CHUNKED or self.gone:
            return False
        if self.connection.write_paused or not body:
            return False
        self._hold_chunk(body)
        return True

    def _hold_chunk(self, body: bytes) -> None:
        self._hold(b"%x\r\n" % len(body))
        self._hold(body)
        self._hold(b"\r\n")

    def _hold(self, piece: bytes) -> None:
        """Let `piece` go out at the end of this turn; at once where it isn't worth a copy, or is enough."""
        if len(piece) > PIECE:
            self.flush()
            self.connection.transport.write(piece)
            return
        if self.held is None:
            self.held = []
            self.connection.loop.call_soon(self.flush)
        self.held.append(piece)
        self.held_size += len(piece)
        if self.held_size > PIECE:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        held = self.held
        if held is not None:
            self.held = None
            self.held_size = 0
            self.connection.transport.write(b"".join(held))

    def _write_head(self, status: int, headers: Any) -> None:
        """Send the head of a response whose body comes in messages."""
        connection = self.connection
        defaults = connection.server_state.default_headers
        fields = [(bytes(name), bytes(value)) for name, value in headers]
        scope = self.scope
        keep_alive = self.keep_alive and not (self.expects and self.more)
        plain = plain_fields(fields) if keep_alive and status == 200 and scope["method"] != "HEAD" else None
        if plain is not None:
            lines, length = plain
            self.framing, self.left = (CHUNKED, 0) if length is None else (LENGTH, length)
            rest = b"transfer-encoding: chunked\r\n\r\n" if length is None else b"\r\n"
            data = b"".join((connection.openings.get(status, defaults), lines, rest))
        else:
            method, version = scope["method"], scope["http_version"]
            head = Head(status, fields, defaults, method=method, version=version, keep_alive=keep_alive)
            data, self.framing, self.left = head.data, head.framing, head.length
            self.keep_alive = head.keep_alive
        self._begin(status)
        self.stage = STARTED
        self._hold(data)

    def _begin(self, status: int) -> None:
        """Do what is due before the first byte of a response."""
        connection = self.connection
        if self.more:
            connection.deadline = NEVER  # the app waits for the body no more
            if self.expects:
                self.keep_alive = False  # who knows whether the body will come
        if connection.log_access:
            self._log_access(status)

    def _log_access(self, status: int) -> None:
        scope: Any = self.scope
        access_logger.info(
            '%s - "%s %s HTTP/%s" %d',
            get_client_addr(scope),
            scope["method"],
            get_path_with_query_string(scope),
            scope["http_version"],
            status,
        )

    def _write_body(self, body: bytes, more: bool) -> None:
        framing = self.framing
        if type(body) is not bytes:
            body = bytes(body)  # it could change before it is written
        size = len(body)
        if framing is CHUNKED:
            if size:
                self._hold_chunk(body)
            if not more:
                self._hold(LAST_CHUNK)
        elif framing is not NO_BODY:
            if framing is LENGTH:
                self._count(size, more)
            if size:
                self._hold(body)
        if not more:
            self.flush()
            self._end()

    def _count(self, size: int, more: bool) -> None:
        """Hold the body to the content-length."""
        self.left -= size
        if self.left < 0:
            raise RuntimeError("Response content longer than Content-Length")
        if self.left and not more:
            raise RuntimeError("Response content shorter than Content-Length")

    def _end(self) -> None:
        self.stage = ENDED
        self.pieces = None
        if self.waiters:
            wake(self.waiters)
        self.connection.finish(self)


async def _raise_disconnected() -> NoReturn:
    """Raise, once the others had their turns.

    Who listens for the client in another task, as Django does, cancels the sender, and cleans up after
    that; to be overtaken by an error it isn't prepared for. And a loop that swallows the error would
    otherwise stop every other request.
    """
    for _ in range(TURNS_BEFORE_ERROR):
        await asyncio.sleep(0)
    raise ClientDisconnected


def _is_of_disconnect(error: BaseException | None) -> bool:
    """Say whether an error came of a `send` that found the client gone, whatever was made of it since."""
    while error is not None:
        if isinstance(error, (ClientDisconnected, asyncio.CancelledError)):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(_is_of_disconnect(each) for each in error.exceptions)
        error = error.__cause__ or error.__context__
    return False


_last_chunk: list[bytes] = [b"", b""]


def _write_chunk(transport: asyncio.Transport, body: bytes) -> None:
    """Write a chunk: for a broadcast, which sends one object to many clients, it is made once."""
    if len(body) > PIECE:
        _write_large(transport, b"%x\r\n" % len(body), body, b"\r\n")
    else:
        chunk = b"%x\r\n%b\r\n" % (len(body), body)
        if type(body) is bytes and len(body) <= MAX_SHARED:  # what could change is not kept
            _last_chunk[:] = body, chunk
        transport.write(chunk)


def _write_large(transport: asyncio.Transport, *pieces: bytes) -> None:
    """Write what isn't worth a copy. Not by writelines: that of Python 3.12 pauses nobody."""
    for piece in pieces:
        transport.write(piece)
