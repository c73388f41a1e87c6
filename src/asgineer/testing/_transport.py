"""The bridge between httpx2 and the in-process server: one request is one connection.

The asynchronous transport runs in the caller's event loop. The synchronous one is the same
in a loop of its own, in a thread; a request body that is an iterator is read in further ones,
so that an app that answers before it has read the whole body can do so there too. The life
of a transport, which httpx2 begins and ends, is that of the server.

A websocket is a request with the extension WEBSOCKET, so that cookies, auth and redirects are
httpx2's there as well. The response is the denial, or a 101 with the session as its extension.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import sys
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2

from .._serve_http import ResponseAborted
from ._connection import ERRORS
from ._wire import ClientLeft, IncompleteResponse, WebsocketDenied

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
    from types import TracebackType

    from ._connection import Connection
    from ._exchange import HttpExchange
    from ._inprocess import InProcessServer
    from ._loopthread import LoopThread
    from ._wire import RaiseErrors

T = TypeVar("T")

WEBSOCKET = "asgineer.websocket"
_NOT_IN_HANDSHAKE = (b"connection", b"accept", b"accept-encoding")  # httpx2's own, of an ordinary request


class AsyncTransport(httpx2.AsyncBaseTransport):
    """Sends each request to an app in this process.

    Args:
        server: plays the server's part.
        raise_errors: raise what the handler raised, in the place of its 500; or such errors alone.
    """

    def __init__(self, server: InProcessServer, raise_errors: RaiseErrors) -> None:
        self._server = server
        if isinstance(raise_errors, bool):
            raise_errors = BaseException if raise_errors else ()
        self._raised_kinds = raise_errors
        self._open: set[Connection] = set()

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._close(quiet=error is not None)

    async def aclose(self) -> None:
        """Leave what is open, and stop the app."""
        await self._close(quiet=sys.exception() is not None)

    async def _close(self, quiet: bool) -> None:
        try:
            await asyncio.gather(*(self.leave(connection, quiet) for connection in list(self._open)))
        finally:
            await self._server.__aexit__()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Make the request; return when the response begins."""
        assert isinstance(request.stream, httpx2.AsyncByteStream)  # httpx2 has made sure
        return await self.respond(request, request.stream)

    async def respond(self, request: httpx2.Request, body: AsyncIterable[bytes]) -> httpx2.Response:
        """Start the app, feed it the request body as far as it reads, and return when the response begins."""
        server, target = self._server.at(self._place_of(request.url)), request.url.raw_path.decode("ascii")
        if WEBSOCKET in request.extensions:
            return await self._open_websocket(server, target, request)
        exchange = server.exchange(request.method, target, request.headers.raw)
        stream = ResponseStream(self, exchange, _read_timeout(request))
        self._start(exchange)
        try:
            stream.write(body)
            status, headers = await stream.head()
        except BaseException:
            await stream.aclose()
            raise
        return httpx2.Response(status, headers=headers, stream=stream)

    async def _open_websocket(
        self, server: InProcessServer, target: str, request: httpx2.Request
    ) -> httpx2.Response:
        fields = [(n, value) for n, value in request.headers.raw if n.lower() not in _NOT_IN_HANDSHAKE]
        session = server.websocket(target, fields, request.extensions[WEBSOCKET])
        timeout = _read_timeout(request)
        self._start(session)
        try:
            await within(timeout, session.handshake(), "The app neither accepted nor denied the websocket")
        except WebsocketDenied as denied:
            answer = httpx2.Response(denied.status, headers=denied.headers, content=denied.body)
        except BaseException:
            await self.leave(session, quiet=True)
            raise
        else:
            return httpx2.Response(101, headers=session.accept_headers, extensions={WEBSOCKET: session})
        await self.leave(session)
        return answer

    def _place_of(self, url: httpx2.URL) -> Any:
        """Return where `url` says the server is, with a list for the app to tell what went wrong."""
        place = self._server.place
        port = url.port or (443 if url.scheme in ("https", "wss") else 80)
        extensions: dict[str, Any] = {**place.extensions, ERRORS: []}
        return dataclasses.replace(place, scheme=url.scheme, host=url.host, port=port, extensions=extensions)

    # The open connections

    def _start(self, connection: Connection) -> None:
        connection.start()
        self._open.add(connection)

    async def leave(self, connection: Connection, quiet: bool = False) -> None:
        """Leave; the app is told, unless it has ended. What went wrong in it is raised, unless `quiet`."""
        self._open.discard(connection)
        try:
            await connection.aclose()
        except TimeoutError:
            if not quiet:
                raise
        if not quiet:
            self.check(connection)

    def check(self, connection: Connection) -> None:
        """Raise, once, what the handler raised, or what the app did that no server would take."""
        failure = connection.failure(self._raised_kinds)
        if failure is not None and not isinstance(failure, (ClientLeft, ResponseAborted)):
            raise failure

    def stall(self) -> None:
        """Take nothing more off any open connection."""
        for connection in self._open:
            connection.stall()

    def disconnect(self) -> None:
        """Drop every open connection."""
        for connection in self._open:
            connection.leave()


class ResponseStream(httpx2.AsyncByteStream):
    """A response as it comes, and the request body on its way; the app waits while it isn't read."""

    def __init__(self, transport: AsyncTransport, exchange: HttpExchange, timeout: float | None) -> None:
        self._transport = transport
        self._exchange = exchange
        self._timeout = timeout
        self._writing: asyncio.Task[None] | None = None

    def write(self, body: AsyncIterable[bytes]) -> None:
        """Begin to send the request body, beside whatever the app does."""
        self._writing = asyncio.create_task(self._write(body), name="request body")

    async def _write(self, body: AsyncIterable[bytes]) -> None:
        try:
            async for piece in body:
                await self._exchange.write(piece)
                if self._exchange.over:
                    return
            self._exchange.end()
        except BaseException:
            self._exchange.leave()  # a body that failed is no whole body
            raise

    async def head(self) -> Any:
        """Wait for the response to begin."""
        head = await self._await(self._exchange.head(), "The app sent nothing")
        if self._exchange.tells_failure:
            self._check()
        return head

    async def read(self) -> bytes:
        """Return the next piece of the response; b"" when it is whole and the app has ended."""
        piece = await self._await(self._exchange.read(), "The app sent nothing")
        if not piece:
            await self._await(self._exchange.ended(), "The response is whole, but the app didn't end")
            self._check()
        return piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    async def aclose(self) -> None:
        """Leave. What the test raises goes before what went wrong in the app meanwhile."""
        await self.leave(quiet=sys.exception() is not None)

    async def leave(self, quiet: bool) -> None:
        """Leave: the app is told that its client is gone, unless the response was whole."""
        try:
            await self._transport.leave(self._exchange, quiet)
        finally:
            if self._writing is not None and not self._writing.done():
                self._writing.cancel()
                await asyncio.wait([self._writing])

    async def _await(self, waiting: Coroutine[Any, Any, T], what: str) -> T:
        """Await; say in httpx2's words what became of the connection. The handler's own error goes first."""
        broken: httpx2.TransportError
        try:
            return await within(self._timeout, waiting, what)
        except TimeoutError as error:
            broken = httpx2.ReadTimeout(str(error))
        except IncompleteResponse as error:
            broken = httpx2.RemoteProtocolError(str(error))
        self._check()
        raise broken

    def _check(self) -> None:
        """Raise what the iterator raised that gave us the request body, or what went wrong in the app."""
        writing = self._writing
        if writing is not None and writing.done() and not writing.cancelled():
            writing.result()
        self._transport.check(self._exchange)


class SyncTransport(httpx2.BaseTransport):
    """The same for synchronous code: the app runs in the event loop of `thread`."""

    def __init__(self, transport: AsyncTransport, thread: LoopThread) -> None:
        self._transport = transport
        self._thread = thread

    def __enter__(self) -> Self:
        try:
            self._thread.call(self._transport.__aenter__())
        except BaseException:
            self._thread.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        try:
            if self._thread.running:
                self._thread.call(self._transport.__aexit__(kind, error, trace))
        finally:
            self._stop_thread(quiet=error is not None)

    def _stop_thread(self, quiet: bool) -> None:
        try:
            self._thread.stop()
        except TimeoutError:
            if not quiet:
                raise

    def close(self) -> None:
        """Leave what is open, stop the app, and end its event loop."""
        self.__exit__(None, sys.exception(), None)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Make the request; return when the response begins."""
        body: Any = request.stream
        if not isinstance(body, httpx2.AsyncByteStream):
            body = _read_in_threads(body)
        response = self._thread.call(self._transport.respond(request, body), timeout=None)
        if isinstance(response.stream, ResponseStream):
            response.stream = _SyncStream(self._thread, response.stream)
        return response


class _SyncStream(httpx2.SyncByteStream):
    """A response as it comes, for synchronous code."""

    def __init__(self, thread: LoopThread, stream: ResponseStream) -> None:
        self._thread = thread
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._thread.call(self._stream.read(), timeout=None):
            yield piece

    def close(self) -> None:
        if self._thread.running:  # else the client has left already
            self._thread.call(self._stream.leave(quiet=sys.exception() is not None), timeout=None)


def _read_timeout(request: httpx2.Request) -> float | None:
    timeout: float | None = request.extensions.get("timeout", {}).get("read")
    return timeout


async def within(seconds: float | None, waiting: Coroutine[Any, Any, T], what: str) -> T:
    """Await; raise a TimeoutError that says `what` happened for how long."""
    try:
        async with asyncio.timeout(seconds):
            return await waiting
    except TimeoutError:
        raise TimeoutError(f"{what} for {seconds} s") from None


async def _read_in_threads(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Iterate over what may block. The next piece is asked for when the app has taken the last one."""
    iterator = iter(pieces)
    while (piece := await _call_in_thread(functools.partial(next, iterator, None))) is not None:
        yield piece


async def _call_in_thread(function: Callable[[], T]) -> T:
    """Call `function` in a daemon thread.

    One that blocks for ever must not hold up the end of the tests, as it does in `asyncio.to_thread`.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def tell(give: Callable[[Any], None], value: Any) -> None:
        if not outcome.done():  # or else nobody waits any more
            give(value)

    def call() -> None:
        try:
            told = functools.partial(tell, outcome.set_result, function())
        except BaseException as error:
            told = functools.partial(tell, outcome.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(told)

    threading.Thread(target=call, name="request body", daemon=True).start()
    return await outcome
