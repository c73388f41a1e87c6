"""A websocket on the client's side, as a test speaks through it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, Self

from ._wire import WebsocketClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ._loopthread import LoopThread
    from ._session import WebsocketSession
    from ._transport import AsyncTransport

TIMEOUT = 5.0  # seconds to wait for a message: a test that waits longer hangs


class AsyncWebsocket:
    """An open websocket. `async with` opens it, and closes it with code 1000 at the end.

    Attributes:
        subprotocol: the one that the app chose, or None.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        session: WebsocketSession,
        errors: list[BaseException],
        timeout: float | None,
    ) -> None:
        self._transport = transport
        self._session = session
        self._errors = errors
        self._timeout = timeout
        self.subprotocol: str | None = None

    async def __aenter__(self) -> Self:
        self._session.start()
        self._transport.open.add(self._session)
        try:
            async with asyncio.timeout(self._timeout):
                self.subprotocol = await self._session.handshake()
        except BaseException:
            await self._leave()
            self._check()
            raise
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        await self._session.close()
        await self._leave()
        if error is None:
            self._check()

    async def _leave(self) -> None:
        self._transport.open.discard(self._session)
        await self._session.aclose()

    def _check(self) -> None:
        self._transport.raise_what_went_wrong(self._errors, self._session)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The header fields that the app added to the handshake."""
        return self._session.accept_headers

    @property
    def close_code(self) -> int | None:
        """The code the websocket was closed with, by either side; None while it is open."""
        return self._session.closed.code if self._session.closed else None

    @property
    def close_reason(self) -> str:
        """The reason that came with the code."""
        return self._session.closed.reason if self._session.closed else ""

    async def send(self, data: str | bytes) -> None:
        """Send a str as a text message, bytes as a binary one; WebsocketClosed when that is too late."""
        await self._session.send_message(data)

    async def send_json(self, value: Any) -> None:
        """Send `value` as JSON in a text message."""
        await self.send(json.dumps(value))

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            WebsocketClosed: there are no more; has `code` and `reason`. Where the handler failed,
                what it raised is raised instead (unless `raise_errors` is off).
            TimeoutError: none came in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._session.receive_message()
        except WebsocketClosed:
            await self._session.ended()
            self._check()
            raise

    async def receive_json(self) -> Any:
        """Return the value of the JSON in the next message; raise as `receive` does."""
        return json.loads(await self.receive())

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate over the messages until the websocket is closed."""
        with contextlib.suppress(WebsocketClosed):
            while True:
                yield await self.receive()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the websocket with a close frame. A second call does nothing."""
        await self._session.close(code, reason)

    def stall(self) -> None:
        """Take nothing more off the connection, so that the app's next send waits."""
        self._session.stall()

    def disconnect(self) -> None:
        """Drop the connection without a close frame, as a client does that lost its network."""
        self._session.leave()


class Websocket:
    """The same for synchronous code."""

    def __init__(self, thread: LoopThread, websocket: AsyncWebsocket) -> None:
        self._thread = thread
        self._websocket = websocket

    def __enter__(self) -> Self:
        self._thread.call(self._websocket.__aenter__())
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._thread.call(self._websocket.__aexit__(kind, error, trace))

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the app chose, or None."""
        return self._websocket.subprotocol

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The header fields that the app added to the handshake."""
        return self._websocket.headers

    @property
    def close_code(self) -> int | None:
        """The code the websocket was closed with, by either side; None while it is open."""
        return self._websocket.close_code

    @property
    def close_reason(self) -> str:
        """The reason that came with the code."""
        return self._websocket.close_reason

    def send(self, data: str | bytes) -> None:
        """Send a str as a text message, bytes as a binary one; WebsocketClosed when that is too late."""
        self._thread.call(self._websocket.send(data))

    def send_json(self, value: Any) -> None:
        """Send `value` as JSON in a text message."""
        self._thread.call(self._websocket.send_json(value))

    def receive(self) -> str | bytes:
        """Return the next message; raise as `AsyncWebsocket.receive` does."""
        return self._thread.call(self._websocket.receive())

    def receive_json(self) -> Any:
        """Return the value of the JSON in the next message."""
        return self._thread.call(self._websocket.receive_json())

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages until the websocket is closed."""
        with contextlib.suppress(WebsocketClosed):
            while True:
                yield self.receive()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the websocket with a close frame. A second call does nothing."""
        self._thread.call(self._websocket.close(code, reason))

    def stall(self) -> None:
        """Take nothing more off the connection, so that the app's next send waits."""
        self._thread.run(self._websocket.stall)

    def disconnect(self) -> None:
        """Drop the connection without a close frame, as a client does that lost its network."""
        self._thread.run(self._websocket.disconnect)
