"""EventStream: an async iterable of events as a response that lives.

The handler's task iterates, encodes and sends; there is no queue and no task between. What it
waits for is ended from outside when the client leaves or the server begins to stop: the
iterator sees a cancellation at its await, and is closed. Pings come from the one ticker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

from . import _shutdown
from ._interrupt import Guard, close
from ._sse import PING, Event, encode_event
from ._ticker import Ticker, ticker
from .errors import DisconnectedError, ServerClosing

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

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
        self._opening = PING if retry is None else encode_event(None, retry=retry)
        self._request: HttpRequest | None = None
        self._guard: Guard | None = None
        self._ticker: Ticker
        self._last = 0.0  # when something was sent last, by the ticker's clock
        self._sending = False
        self._pinging: asyncio.Task[None] | None = None  # kept: the loop itself would forget it

    async def serve(self, request: HttpRequest, status: int, headers: RawHeaders) -> None:
        """Send the response, until the events or the connection end."""
        events = aiter(self._events)
        try:
            if request.method == "HEAD":
                await request._start_response(status, headers)
                await request._send_chunk(b"", False)
            else:
                self._request = request
                await self._serve_guarded(request, status, headers, events)
        finally:
            await close(events)

    async def _serve_guarded(
        self, request: HttpRequest, status: int, headers: RawHeaders, events: AsyncIterator[Any]
    ) -> None:
        self._guard = guard = Guard()
        self._ticker = ticker()
        closing = _shutdown.notice()

        def begin_to_close() -> None:
            guard.tell(ServerClosing())

        closing.add(begin_to_close)
        if closing.begun:
            begin_to_close()
        try:
            with request._watching(guard.tell):
                await self._iterate(request, status, headers, events)
        finally:
            closing.discard(begin_to_close)
            self._ticker.discard(self)
            if self._pinging is not None:
                self._pinging.cancel()  # nothing may go out after the end of the response

    async def _iterate(
        self, request: HttpRequest, status: int, headers: RawHeaders, events: AsyncIterator[Any]
    ) -> None:
        assert self._guard is not None
        first = None
        if self._start == "first":
            with contextlib.suppress(StopAsyncIteration):  # told again below
                first = await self._guard.wait(events.__anext__)
        await request._start_response(status, headers)
        await self._send(self._opening + getattr(self._events, "opening", b""))
        if self._ping is not None:
            self._ticker.add(self)
            self._last = self._ticker.now
        try:
            if first is not None:
                await self._send(wire_of(first))
            while True:
                await self._send(wire_of(await self._guard.wait(events.__anext__)))
        except StopAsyncIteration:
            return
        except ServerClosing:
            # The client comes back by itself, in a moment that is its own.
            await self._send(encode_event(None, retry=_draw(*RECONNECT)))
            await request._send_chunk(b"", False)
            raise
        except DisconnectedError:
            raise
        except Exception as error:
            await self._tell(error)
            raise

    async def _tell(self, error: Exception) -> None:
        """Say something about `error` to the client, if the app wants to."""
        event = self._on_error(error) if self._on_error is not None else None
        if event is not None:
            with contextlib.suppress(DisconnectedError):
                await self._send(wire_of(event))

    async def _send(self, data: bytes) -> None:
        assert self._request is not None
        self._sending = True
        try:
            await self._request._send_chunk(data, True)
        finally:
            self._sending = False
            self._last = self._ticker.now

    def tick(self, now: float) -> None:
        """Send a ping, in a short task of its own, if nothing was sent for long and nothing is being sent."""
        if self._ping is not None and now - self._last >= self._ping and not self._sending:
            self._last = now
            self._pinging = asyncio.get_running_loop().create_task(self._send_ping())

    async def _send_ping(self) -> None:
        assert self._guard is not None
        try:
            await self._send(PING)
        except Exception as error:
            self._guard.tell(error)


def _draw(low: int, high: int) -> int:
    """Return a number from `low` to `high` by chance."""
    # The random module costs more to import than all of this package may.
    return low + int.from_bytes(os.urandom(4)) % (high - low + 1)


def wire_of(item: Any) -> bytes:
    """Return the bytes of one item of a stream: what it has made once for all clients, or made now."""
    wire: bytes | None = getattr(item, "wire", None)
    return encode_event(item) if wire is None else wire
