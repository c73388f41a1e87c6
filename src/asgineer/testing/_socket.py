"""A websocket on the client's side, as a test speaks through it."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ._transport import WEBSOCKET, within
from ._wire import WebsocketClosed, WebsocketDenied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

    import httpx2

    from ._loopthread import LoopThread
    from ._session import WebsocketSession
    from ._transport import AsyncTransport

T = TypeVar("T")

TIMEOUT = 5.0  # seconds to wait for the app: a test that waits longer hangs


class _Websocket:
    """What both kinds of websocket do, in the event loop of the app."""

    def __init__(self, transport: AsyncTransport, timeout: float | None) -> None:
        self._transport = transport
        self._timeout = timeout
        self._response: httpx2.Response | None = None

    def _begin(self, response: httpx2.Response) -> None:
        if response.status_code != 101:
            raise WebsocketDenied(response.status_code, response.headers.raw, response.content, response)
        self._response = response

    @property
    def response(self) -> httpx2.Response:
        """The answer to the handshake: its status is 101, its headers are those that the app added."""
        if self._response is None:
            raise RuntimeError("The websocket is not open: `with client.websocket(…) as websocket:`")
        return self._response

    @property
    def _session(self) -> WebsocketSession:
        session: WebsocketSession = self.response.extensions[WEBSOCKET]
        return session

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the app chose, or None."""
        return self._session.subprotocol

    @property
    def close_code(self) -> int | None:
        """The code the websocket was closed with, by either side; None while it is open."""
        return self._session.closed.code if self._session.closed else None

    @property
    def close_reason(self) -> str:
        """The reason that came with the code."""
        return self._session.closed.reason if self._session.closed else ""

    async def _send(self, data: str | bytes) -> None:
        await self._step(self._session.send_message(data), "The app received nothing")

    async def _receive(self) -> str | bytes:
        return await self._step(self._session.receive_message(), "The app sent no message")

    async def _step(self, waiting: Coroutine[Any, Any, T], what: str) -> T:
        try:
            return await within(self._timeout, waiting, what)
        except WebsocketClosed as error:
            closed = error
        self._transport.check(self._session)
        raise closed

    async def _end(self, quiet: bool) -> None:
        await self._session.close()
        await self._transport.leave(self._session, quiet)


class AsyncWebsocket(_Websocket):
    """An open websocket. `async with` opens it, and closes it with code 1000 at the end."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[httpx2.Response]],
        transport: AsyncTransport,
        timeout: float | None,
    ) -> None:
        super().__init__(transport, timeout)
        self._connect = connect

    async def __aenter__(self) -> Self:
        self._begin(await self._connect())
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self._end(quiet=error is not None)

    async def send(self, data: str | bytes) -> None:
        """Send a str as a text message, bytes as a binary one; wait while the app leaves too many unread.

        Raises:
            WebsocketClosed: that is too late. Where the handler failed, what it raised is raised
                instead (unless `raise_errors` is off).
            TimeoutError: the app took none in time.
        """
        await self._send(data)

    async def send_json(self, value: Any) -> None:
        """Send `value` as JSON in a text message; raise as `send` does."""
        await self._send(json.dumps(value))

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            WebsocketClosed: there are no more; has `code` and `reason`. Where the handler failed,
                what it raised is raised instead (unless `raise_errors` is off).
            TimeoutError: none came in time.
        """
        return await self._receive()

    async def receive_json(self) -> Any:
        """Return the value of the JSON in the next message; raise as `receive` does."""
        return json.loads(await self._receive())

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate over the messages until the websocket is closed."""
        with contextlib.suppress(WebsocketClosed):
            while True:
                yield await self._receive()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the websocket with a close frame. A second call does nothing."""
        await self._session.close(code, reason)

    def stall(self) -> None:
        """Take nothing more off the connection, so that the app's next send waits."""
        self._session.stall()

    def disconnect(self) -> None:
        """Drop the connection without a close frame, as a client does that lost its network."""
        self._session.leave()


class Websocket(_Websocket):
    """The same for synchronous code: `with` opens it, and closes it at the end."""

    def __init__(
        self,
        connect: Callable[[], httpx2.Response],
        transport: AsyncTransport,
        timeout: float | None,
        thread: LoopThread,
    ) -> None:
        super().__init__(transport, timeout)
        self._connect = connect
        self._thread = thread

    def __enter__(self) -> Self:
        self._begin(self._connect())
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._thread.running:  # else the client has left already
            self._call(self._end(quiet=error is not None))

    def send(self, data: str | bytes) -> None:
        """Send a str as a text message, bytes as a binary one; raise as `AsyncWebsocket.send` does."""
        self._call(self._send(data))

    def send_json(self, value: Any) -> None:
        """Send `value` as JSON in a text message."""
        self._call(self._send(json.dumps(value)))

    def receive(self) -> str | bytes:
        """Return the next message; raise as `AsyncWebsocket.receive` does."""
        return self._call(self._receive())

    def receive_json(self) -> Any:
        """Return the value of the JSON in the next message."""
        return json.loads(self._call(self._receive()))

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages until the websocket is closed."""
        with contextlib.suppress(WebsocketClosed):
            while True:
                yield self.receive()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the websocket with a close frame. A second call does nothing."""
        self._call(self._session.close(code, reason))

    def stall(self) -> None:
        """Take nothing more off the connection, so that the app's next send waits."""
        self._thread.run(self._session.stall)

    def disconnect(self) -> None:
        """Drop the connection without a close frame, as a client does that lost its network."""
        self._thread.run(self._session.leave)

    def _call(self, coro: Coroutine[Any, Any, T]) -> T:
        return self._thread.call(coro, timeout=None)
