"""Server-sent events on the client's side, as a browser's EventSource reads them.

httpx2 parses; ours is what WHATWG HTML section 9.2 puts around it: the last event id is kept,
blocks without data are no event, and a stream that ends is asked for again with that id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from ._loopthread import LoopThread

    Connect = Callable[[dict[str, str]], Awaitable[httpx2.Response]]

MAX_EMPTY_STREAMS = 100  # reconnections in a row that brought no event: a test that would run for ever


class AsyncEvents:
    """An iterator over the events of one path, across reconnections.

    Attributes:
        last_event_id: the id of the newest event, "" before there is one.
        retry: milliseconds that the server asked to wait before a reconnection, None if it didn't.
            Nothing is waited in a test.
        connections: how often it connected until now.
    """

    def __init__(self, connect: Connect, last_event_id: str, reconnect: bool) -> None:
        self._open = connect
        self._reconnect = reconnect
        self._events = self._iterate()
        self._response: httpx2.Response | None = None
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self.connections = 0

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self._events.aclose()
        await self.disconnect()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> httpx2.ServerSentEvent:
        return await anext(self._events)

    @property
    def response(self) -> httpx2.Response:
        """The response that is being read, or was last."""
        if self._response is None:
            raise RuntimeError("There is no connection yet: use `async with`")
        return self._response

    async def disconnect(self) -> None:
        """Drop the connection, as a network does; the next event comes over a new one, with the last id."""
        if self._response is not None:
            await self._response.aclose()

    async def _iterate(self) -> AsyncGenerator[httpx2.ServerSentEvent]:
        empty = 0
        while empty < MAX_EMPTY_STREAMS:
            empty += 1
            async for event in self._read():
                empty = 0
                yield event
            if not self._reconnect:
                return
            await self._connect()
            if self.response.status_code == 204:  # the server's way to say: enough
                return
        raise RuntimeError(f"{MAX_EMPTY_STREAMS} connections in a row ended without an event")

    async def _read(self) -> AsyncGenerator[httpx2.ServerSentEvent]:
        try:
            async for event in httpx2.EventSource(self.response):
                self.last_event_id = event.id or self.last_event_id
                self.retry = event.retry if event.retry is not None else self.retry
                if event.data:
                    yield event
        except (httpx2.RemoteProtocolError, httpx2.StreamClosed):
            return  # the connection broke: to EventSource that is an end like any other

    async def _connect(self) -> None:
        await self.disconnect()
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if self.last_event_id:
            headers["last-event-id"] = self.last_event_id
        self._response = await self._open(headers)
        self.connections += 1


class Events:
    """The same for synchronous code: an iterator, with the same attributes."""

    def __init__(self, thread: LoopThread, events: AsyncEvents) -> None:
        self._thread = thread
        self._events = events

    def __enter__(self) -> Self:
        self._thread.call(self._events.__aenter__())
        return self

    def __exit__(self, *args: object) -> None:
        self._thread.call(self._events.__aexit__())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> httpx2.ServerSentEvent:
        try:
            return self._thread.call(self._events.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)

    def disconnect(self) -> None:
        """Drop the connection, as a network does; the next event comes over a new one, with the last id."""
        self._thread.call(self._events.disconnect())
