"""The bridge between httpx2 and the in-process server: one request is one exchange.

The asynchronous transport runs in the caller's event loop. The synchronous one is the same
in a loop of its own, in a thread; request bodies that are iterators are read in a further
one, so that an app that answers before it has read the whole body can do so there too.

What the handler raised comes to the test by `scope["extensions"]["asgineer.errors"]`, a list
that the app appends to, and for any ASGI app by what it raised itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

import httpx2

from ._wire import IncompleteResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ._connection import Connection
    from ._exchange import HttpExchange
    from ._inprocess import InProcessServer
    from ._loopthread import LoopThread
    from ._scope import Place

ERRORS = "asgineer.errors"


def place_of(url: httpx2.URL, place: Place, errors: list[BaseException]) -> Place:
    """Return where `url` says the server is, with a way for the app to tell what went wrong."""
    secure = url.scheme in ("https", "wss")
    return dataclasses.replace(
        place,
        scheme="https" if secure else "http",
        host=url.host,
        port=url.port or (443 if secure else 80),
        extensions={**place.extensions, ERRORS: errors},
    )


class AsyncTransport(httpx2.AsyncBaseTransport):
    """Sends each request to an app in this process.

    Args:
        server: plays the server's part.
        raise_errors: raise what the handler raised, in the place of its 500.
    """

    def __init__(self, server: InProcessServer, raise_errors: bool) -> None:
        self._server = server
        self._raise_errors = raise_errors
        self.open: set[Connection] = set()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Start the app, feed it the request body as far as it reads, and return when the response begins."""
        errors: list[BaseException] = []
        server = self._server.at(place_of(request.url, self._server.place, errors))
        exchange = server.exchange(request.method, request.url.raw_path.decode("ascii"), request.headers.raw)
        stream = _ResponseStream(self, exchange, errors, _read_timeout(request))
        exchange.start()
        self.open.add(exchange)
        try:
            stream.write(request.stream)
            status, headers = await stream.head()
        except BaseException:
            await stream.aclose()
            raise
        return httpx2.Response(status, headers=headers, stream=stream)

    def raise_what_went_wrong(self, errors: list[BaseException], exchange: Connection) -> None:
        """Raise what the handler raised, or what the app did that no server would take."""
        if exchange.violation is not None:
            raise exchange.violation
        if not self._raise_errors:
            return
        if errors:
            raise errors[0]
        if exchange.error is not None and not isinstance(exchange.error, asyncio.CancelledError):
            raise exchange.error


def _read_timeout(request: httpx2.Request) -> float | None:
    timeout: float | None = request.extensions.get("timeout", {}).get("read")
    return timeout


class _ResponseStream(httpx2.AsyncByteStream):
    """A response as it comes; the app waits while it isn't read."""

    def __init__(
        self,
        transport: AsyncTransport,
        exchange: HttpExchange,
        errors: list[BaseException],
        timeout: float | None,
    ) -> None:
        self._transport = transport
        self._exchange = exchange
        self._errors = errors
        self._timeout = timeout
        self._writing: asyncio.Task[None] | None = None

    def write(self, body: Any) -> None:
        """Begin to send the request body, beside whatever the app does."""
        self._writing = asyncio.create_task(self._write(body), name="request body")

    async def _write(self, body: Any) -> None:
        try:
            async for piece in body:
                await self._exchange.write(piece)
        except BaseException:
            self._exchange.leave()  # a body that failed is no whole body
            raise
        self._exchange.end()

    async def head(self) -> Any:
        """Wait for the response to begin."""
        with self._translated():
            head = await self._within(self._exchange.head())
        self._check()
        return head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            with self._translated():
                piece = await self._within(self._exchange.read())
            if not piece:
                break
            yield piece
        with self._translated():
            await self._within(self._exchange.ended())
        self._check()

    async def aclose(self) -> None:
        """Leave: the app is told that its client is gone, unless the response was whole."""
        self._transport.open.discard(self._exchange)
        try:
            await self._exchange.aclose()
        finally:
            if self._writing is not None and not self._writing.done():
                self._writing.cancel()
                await asyncio.wait([self._writing])

    def _check(self) -> None:
        self._transport.raise_what_went_wrong(self._errors, self._exchange)

    async def _within(self, waiting: Any) -> Any:
        async with asyncio.timeout(self._timeout):
            return await waiting

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Say in httpx2's words what became of the connection; the handler's own error goes first."""
        try:
            yield
        except TimeoutError:
            self._check()
            raise httpx2.ReadTimeout(f"The app sent nothing for {self._timeout} s") from None
        except IncompleteResponse as error:
            self._raise_failed_body()
            self._check()
            raise httpx2.RemoteProtocolError(str(error)) from None

    def _raise_failed_body(self) -> None:
        """Raise what the iterator raised that gave us the request body."""
        writing = self._writing
        if writing is not None and writing.done() and not writing.cancelled() and writing.exception():
            raise writing.exception() or AssertionError


class SyncTransport(httpx2.BaseTransport):
    """The same for synchronous code: the app runs in the event loop of `thread`."""

    def __init__(self, transport: AsyncTransport, thread: LoopThread) -> None:
        self._transport = transport
        self._thread = thread

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Make the request; return when the response begins."""
        twin = httpx2.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=_AsyncBody(request.stream),
            extensions=request.extensions,
        )
        response = self._thread.call(self._transport.handle_async_request(twin), timeout=None)
        stream = _SyncStream(self._thread, response.stream)
        return httpx2.Response(response.status_code, headers=response.headers.raw, stream=stream)


class _AsyncBody(httpx2.AsyncByteStream):
    """A synchronous request body, for the loop: bytes at once, an iterator piece by piece in a thread."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if isinstance(self._stream, httpx2.ByteStream):
            for piece in self._stream:
                yield piece
            return
        pieces = iter(self._stream)

        def read() -> bytes | None:
            return next(pieces, None)

        while (read_in_thread := await asyncio.to_thread(read)) is not None:
            yield read_in_thread


class _SyncStream(httpx2.SyncByteStream):
    """A response as it comes, for synchronous code."""

    def __init__(self, thread: LoopThread, stream: Any) -> None:
        self._thread = thread
        self._stream = stream
        self._pieces = aiter(stream)

    def __iter__(self) -> Iterator[bytes]:
        while (piece := self._thread.call(self._next(), timeout=None)) is not None:
            yield piece

    async def _next(self) -> bytes | None:
        piece: bytes | None = await anext(self._pieces, None)
        return piece

    def close(self) -> None:
        if inspect.isasyncgen(self._pieces):
            self._thread.call(self._pieces.aclose())
        self._thread.call(self._stream.aclose(), timeout=None)
