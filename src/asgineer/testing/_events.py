"""Server-sent events on the client's side, as a browser's EventSource reads them.

httpx2 parses; ours is what WHATWG HTML section 9.2 puts around it: the last event id is kept,
blocks without data are no event, and a stream that ends is asked for again with that id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Connect = Callable[[dict[str, str]], httpx2.Response]
    AsyncConnect = Callable[[dict[str, str]], Awaitable[httpx2.Response]]

MAX_EMPTY_STREAMS = 100  # reconnections in a row that brought no event: a test that would run for ever


class _Progress:
    """What is known between two events: no input, no output.

    Attributes:
        last_event_id: the id of the newest event, "" before there is one.
        retry: milliseconds that the server asked to wait before a reconnection, None if it didn't.
            Nothing is waited in a test.
        connections: how often it connected until now.
    """

    def __init__(self, last_event_id: str, reconnect: bool) -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self.connections = 0
        self._reconnect = reconnect
        self._response: httpx2.Response | None = None
        self._ended = False
        self._empty = 0

    @property
    def response(self) -> httpx2.Response:
        """The response that is being read, or was last."""
        if self._response is None:
            raise RuntimeError("There is no connection yet: `with client.events(…) as events:`")
        return self._response

    def _headers(self) -> dict[str, str]:
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        return {**headers, "last-event-id": self.last_event_id} if self.last_event_id else headers

    def _begin(self, response: httpx2.Response) -> None:
        self._response = response
        self.connections += 1
        if response.status_code == 204:  # the server's way to say: enough
            self._ended = True
        else:
            response.raise_for_status()

    def _is_event(self, event: httpx2.ServerSentEvent) -> bool:
        self.last_event_id = event.id or self.last_event_id
        self.retry = event.retry if event.retry is not None else self.retry
        self._empty = 0 if event.data else self._empty
        return bool(event.data)

    def _wants_more(self) -> bool:
        """Say whether to connect again, now that the stream has ended."""
        self._empty += 1
        if self._empty >= MAX_EMPTY_STREAMS:
            raise RuntimeError(f"{MAX_EMPTY_STREAMS} connections in a row ended without an event")
        self._ended = self._ended or not self._reconnect
        return not self._ended


# To EventSource, a connection that breaks is an end like any other.
_BROKEN = (httpx2.RemoteProtocolError, httpx2.StreamClosed)


class AsyncEvents(_Progress):
    """An iterator over the events of one path, across reconnections.

    Attributes:
        last_event_id: the id of the newest event, "" before there is one.
        retry: milliseconds that the server asked to wait before a reconnection, None if it didn't.
            Nothing is waited in a test.
        connections: how often it connected until now.

    Raises:
        httpx2.HTTPStatusError: (on entering, and on reconnecting) the status is no success.
        httpx2.SSEError: (on reading) the response is no event stream.
        httpx2.ReadTimeout: (on reading) nothing came in time.
    """

    def __init__(self, connect: AsyncConnect, last_event_id: str, reconnect: bool) -> None:
        super().__init__(last_event_id, reconnect)
        self._connect = connect
        self._source: AsyncIterator[httpx2.ServerSentEvent] | None = None  # while connected

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.disconnect()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> httpx2.ServerSentEvent:
        while True:
            event = await self._read()
            if event is None:
                await self.disconnect()
                if not self._wants_more():
                    raise StopAsyncIteration
                await self._open()
            elif self._is_event(event):
                return event

    async def _read(self) -> httpx2.ServerSentEvent | None:
        self.response  # noqa: B018  # an error where nobody has connected
        try:
            return None if self._source is None else await anext(self._source, None)
        except _BROKEN:
            return None

    async def _open(self) -> None:
        response = await self._connect(self._headers())
        try:
            self._begin(response)
        except httpx2.HTTPStatusError:
            await response.aread()
            raise
        if not self._ended:
            self._source = aiter(httpx2.EventSource(response))

    async def disconnect(self) -> None:
        """Drop the connection, as a network does; the next event comes over a new one, with the last id."""
        self._source = None
        await self.response.aclose()


class Events(_Progress):
    """The same for synchronous code, with the same attributes."""

    def __init__(self, connect: Connect, last_event_id: str, reconnect: bool) -> None:
        super().__init__(last_event_id, reconnect)
        self._connect = connect
        self._source: Iterator[httpx2.ServerSentEvent] | None = None  # while connected

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *args: object) -> None:
        self.disconnect()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> httpx2.ServerSentEvent:
        while True:
            event = self._read()
            if event is None:
                self.disconnect()
                if not self._wants_more():
                    raise StopIteration
                self._open()
            elif self._is_event(event):
                return event

    def _read(self) -> httpx2.ServerSentEvent | None:
        self.response  # noqa: B018  # an error where nobody has connected
        try:
            return None if self._source is None else next(self._source, None)
        except _BROKEN:
            return None

    def _open(self) -> None:
        response = self._connect(self._headers())
        try:
            self._begin(response)
        except httpx2.HTTPStatusError:
            response.read()
            raise
        if not self._ended:
            self._source = iter(httpx2.EventSource(response))

    def disconnect(self) -> None:
        """Drop the connection, as a network does; the next event comes over a new one, with the last id."""
        self._source = None
        self.response.close()
