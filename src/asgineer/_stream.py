"""EventStream: an async iterable of events as a response that lives.

The way of an event is `_outflow`'s. What is added here: how events look, what goes out before the
first one and when the server stops, and pings, which come from the one ticker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from . import _shutdown
from ._http import ACCEPTED
from ._outflow import Outflow
from ._sse import PING, Event, encode_event
from .errors import DisconnectedError, ServerClosing

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Coroutine

    from ._headers import RawHeaders
    from ._http import HttpRequest

DEFAULT_PING = 15  # seconds; proxies close a silent connection after 30 to 60
RECONNECT = (1000, 5000)  # milliseconds, drawn for each client, so that they don't all come back at once


class EventStream:
    """Return it from a handler to send server-sent events for as long as the client stays.

        return asgineer.EventStream(ticks())

    The head of the response and a first comment go out at once, so that a client sees the stream
    open before anything happens. `events` is closed on every way out: its end, an error, the
    client left, the server stops.

    Args:
        events: an async iterable of `Event`, str, bytes (UTF-8 text) or anything that has a JSON form.
        ping: seconds of silence after which a comment goes out, None for never.
        retry: milliseconds that clients wait before they reconnect, told at the start.
        start: "now", or "first" to wait for the first event, so that an HTTPError that is raised
            before it is still the status.
        on_error: `on_error(exception) -> Event | None` may say something to the client when `events`
            fails; then the connection is aborted, so that the client reconnects.

    Raises:
        TypeError: `events` is no async iterable.
        ValueError: another `start`, or a `ping` or `retry` that is negative.
    """

    __slots__ = ("_events", "_on_error", "_opening", "_ping", "_start")

    #: Header fields besides the content type, where the handler gave none of that name.
    fields = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))

    def __init__(
        self,
        events: AsyncIterable[Any],
        *,
        ping: float | None = DEFAULT_PING,
        retry: int | None = None,
        start: str = "now",
        on_error: Callable[[Exception], Event | None] | None = None,
    ) -> None:
        if not hasattr(type(events), "__aiter__"):
            raise TypeError(f"EventStream needs an async iterable, not {type(events).__name__}")
        if start not in ("now", "first"):
            raise ValueError(f"start is 'now' or 'first', not {start!r:.100}")
        if ping is not None and not ping > 0:
            raise ValueError(f"ping is a number of seconds above 0, or None; not {ping!r:.100}")
        self._events = events
        self._ping = ping
        self._start = start
        self._on_error = on_error
        self._opening = b"" if retry is None else encode_event(None, retry=retry)

    def serve(self, request: HttpRequest, status: int, headers: RawHeaders) -> Coroutine[Any, Any, None]:
        """Send the response, until the events or the connection end."""
        return EventFlow(self, request).run(status, headers)


def wire_of(item: Any) -> bytes:
    """Return the bytes of one event: what it has made once for all clients, or made now."""
    wire: bytes | None = getattr(item, "wire", None)
    return encode_event(item) if wire is None else wire


class EventFlow(Outflow):
    """An EventStream, while it is sent."""

    __slots__ = ("_ping", "_pinging", "_stream")
    encode = staticmethod(wire_of)
    way = "push"  # an event comes alone, so there is nothing to wait for

    def __init__(self, stream: EventStream, request: HttpRequest) -> None:
        super().__init__(request, aiter(stream._events))
        self._stream = stream
        self._ping: float | None = None  # after so many seconds of silence, once it has started
        self._pinging: asyncio.Task[None] | None = None  # kept: the loop itself would forget it

    def attach(self) -> None:
        """Begin to be told what happens meanwhile, also that the server begins to stop."""
        super().attach()
        closing = _shutdown.notice()
        closing.add(self._begin_to_close)
        if closing.begun:
            self._begin_to_close()

    def detach(self) -> None:
        """Be told no more."""
        super().detach()
        _shutdown.notice().discard(self._begin_to_close)
        if self._pinging is not None:
            self._pinging.cancel()  # nothing may go out after the end of the response

    def _begin_to_close(self) -> None:
        self.tell(ServerClosing())

    async def start(self, status: int, headers: RawHeaders) -> bytes:
        """Send the head at once, or after the first event."""
        stream, request = self._stream, self._request
        opening = await self._open()
        first = None
        if stream._start == "first":
            with contextlib.suppress(StopAsyncIteration):  # told again later
                first = await self.wait(self._items.__anext__)
        await request._start_response(status, headers)
        self._ping = stream._ping
        if first is None:
            return opening
        await request._send_chunk(opening, True)
        return self.encode(first)

    async def _open(self) -> bytes:
        """Let events that can be resumed begin; return what goes out first, with the place they begin at."""
        opening = self._stream._opening
        begin = getattr(self._items, "open", None)
        if begin is not None:
            opening += encode_event(None, id=await self.wait(begin))
        return opening or PING

    async def part(self, error: BaseException) -> None:
        """Tell the client when to come back, or what the app has to say about an error."""
        if self._request._response_stage is not ACCEPTED:
            return
        if isinstance(error, ServerClosing):
            # The client comes back by itself, in a moment that is its own.
            await self._request._send_chunk(encode_event(None, retry=_draw(*RECONNECT)), True)
            await self._request._send_chunk(b"", False)
        elif isinstance(error, Exception) and not isinstance(error, DisconnectedError):
            await self._tell(error)

    async def _tell(self, error: Exception) -> None:
        """Say something about `error` to the client, if the app wants to."""
        on_error = self._stream._on_error
        event = on_error(error) if on_error is not None else None
        if event is not None:
            with contextlib.suppress(DisconnectedError):
                await self._request._send_chunk(self.encode(event), True)

    def tick_silent(self, now: float) -> None:
        """Send a ping, in a short task of its own, if nothing was sent for long."""
        if self._ping is None:
            self._since = now
        elif now - self._since >= self._ping and self._pinging is None:
            self._since = now
            self._pinging = asyncio.get_running_loop().create_task(self._send_ping())

    async def _send_ping(self) -> None:
        self._seen += len(PING)  # what the ticker is to see of it
        try:
            await self._request._send_chunk(PING, True)
        except Exception as error:
            self.tell(error)
        finally:
            self._pinging = None


def _draw(low: int, high: int) -> int:
    """Return a number from `low` to `high` by chance."""
    # The random module costs more to import than all of this package may.
    return low + int.from_bytes(os.urandom(4)) % (high - low + 1)
