"""Outflow: a response that goes out in pieces, as an async iterator gives them.

One coroutine stands between the server and the iterator: it waits for a piece, encodes it and sends it,
in the task that runs the handler. There is no queue, no task, and no further coroutine between, as each
would be resumed for each piece; what may happen meanwhile (the client left, the server stops, the client
takes nothing) is told from outside, and ends the wait. A send has no timer: the ticker looks whether
anything went out since its last look.

What a piece looks like is the subclass' to know, what a response is `_http`'s.
"""

from __future__ import annotations

import asyncio
from types import MethodType
from typing import TYPE_CHECKING, Any

from ._connection import CHUNKS_IN_A_ROW
from ._http import ACCEPTED, ENDED, NO_BODY
from ._interrupt import Guard, close
from ._ticker import TICK, SlowClient, Ticker, ticker
from .errors import DisconnectedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ._headers import RawHeaders
    from ._http import HttpRequest

MAX_CHUNK = 65_536  # bytes of pieces that are ready at once and go out as one: what a socket takes at once


class Outflow(Guard):
    """One response, while it is sent; `run` does it all, and closes the iterator on every way out."""

    __slots__ = (
        "_flowing",
        "_had_turn",
        "_is_over",
        "_items",
        "_looked",
        "_request",
        "_seen",
        "_sent",
        "_since",
        "_ticker",
    )

    def __init__(self, request: HttpRequest, items: AsyncIterator[Any]) -> None:
        super().__init__()
        self._request = request
        self._items = items
        self._flowing = False  # in the loop of `run`, so that it sends where it doesn't wait
        self._had_turn = True  # the event loop, since `run` let others run
        self._sent = 0  # bytes, besides those that the request has counted
        self._seen = 0  # bytes that were sent when the ticker looked last
        self._ticker: Ticker | None = None  # once it is watched
        self._is_over = False
        self._looked = self._since = 0.0  # when it did so, and when something went out: then, or later

    #: The method of our own server's `send` that a piece goes by.
    way = "hold"

    # What a subclass says

    if TYPE_CHECKING:  # these two it must say

        async def start(self, status: int, headers: RawHeaders) -> bytes:
            """Send the head, or raise what becomes another response; return the first piece."""
            raise NotImplementedError

        @staticmethod
        def encode(item: Any) -> bytes:
            """Return the bytes of an item."""
            raise NotImplementedError

    async def part(self, error: BaseException) -> None:
        """Say something to the client before the connection ends by `error`."""

    def attach(self) -> None:
        """Begin to be told what happens meanwhile: from the next turn of the event loop on.

        Nothing happens before, and a stream that is short ends before: it needs no listener and no ticker.
        """
        if self._request._gone:
            self.tell(DisconnectedError())
        self._loop.call_soon(self._watch)

    def _watch(self) -> None:
        if not self._is_over:
            self._request._watch(self.tell)
            self._ticker = clock = ticker(self._loop)
            clock.add(self)
            self._looked = self._since = clock.now

    def detach(self) -> None:
        """Be told no more."""
        self._is_over = True
        if self._ticker is not None:
            self._ticker.discard(self)
            self._request._unwatch(self.tell)

    # The way of all pieces

    async def run(self, status: int, headers: RawHeaders) -> None:
        """Send the response, until the items or the connection end."""
        request, items = self._request, self._items
        try:
            if request.scope["method"] == "HEAD":
                await request._start_response(status, headers)
            else:
                self.attach()
                data = await self.start(status, headers)
                send, encode, next_item = request._send, self.encode, items.__anext__
                pending, ready = getattr(items, "pending", None), getattr(items, "ready", _is_never_ready)
                is_bounded = request._content_length is not None or status in NO_BODY
                # Of our own server: no message, no coroutine. A method, as uvicorn's `send` is, has none.
                push = None if type(send) is MethodType else getattr(type(send), self.way, None)
                in_a_row = 0
                self._flowing = True
                while True:
                    # All that a piece needs is in this frame and in `self`: with a thousand streams
                    # nothing of them is in the cache, and each object that is touched costs a miss.
                    if is_bounded:
                        request._count(len(data))
                    else:
                        self._sent += len(data)
                    if push is None or not push(send, data):
                        await send({"type": "http.response.body", "body": data, "more_body": True})
                    in_a_row += 1
                    if in_a_row == CHUNKS_IN_A_ROW:
                        in_a_row = 0
                        await self._let_others_run()
                    if self.error is not None:
                        raise self.error
                    self._waiting = True
                    if pending is None:
                        data = encode(await next_item())
                        self._waiting = False
                        continue
                    found: Sequence[Any] = ()
                    while not found:
                        waiter = None if push is None or is_bounded else Waiter(self, push, ready, pending)
                        if (future := ready() if waiter is None else ready(waiter)) is None:
                            found = [await next_item(), *pending()]
                        elif waiter is None:
                            await future
                            found = pending()
                        else:
                            found = await waiter.sleeper
                    self._waiting = False
                    data = encode(found[0]) if len(found) == 1 else await self._send_together(found)
        except StopAsyncIteration:
            pass
        except BaseException as caught:
            error = self._reason(caught)
            await self.part(error)
            if error is not caught:
                raise error from None
            raise
        finally:
            self._flowing = False
            self._stop_waiting()
            self.detach()
            request._bytes_sent += self._sent
            await close(items)
        if request._response_stage is ACCEPTED:  # as `_end_response` does it, without two coroutines
            request._check_length()
            request._response_stage = ENDED
            await request._transmit({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_together(self, items: Sequence[Any]) -> bytes:
        """Send what is there at once in as few chunks as may be; return the last one, unsent."""
        ready: list[bytes] = []
        size = 0
        for item in items:
            data = self.encode(item)
            if ready and size + len(data) > MAX_CHUNK:
                await self._request._send_chunk(b"".join(ready), True)
                ready, size = [], 0
            ready.append(data)
            size += len(data)
        return b"".join(ready)

    async def _let_others_run(self) -> None:
        """Yield to the event loop, if it had no turn since this was called last.

        Neither an iterator that always has something nor a server's send, while its buffer has room or
        the client is gone, would let anybody else run. A turn costs as much as a send of our own.
        """
        if self._had_turn:
            self._had_turn = False
            asyncio.get_running_loop().call_soon(self._note_turn)
        else:
            await asyncio.sleep(0)  # which leaves _had_turn to the call above

    def _note_turn(self) -> None:
        self._had_turn = True

    def _reason(self, caught: BaseException) -> BaseException:
        """Return what the flow really ended by: what it was told, or that the client left."""
        if isinstance(caught, asyncio.CancelledError):
            caught = self.instead_of(caught)
        elif caught is not self.error and self._is_sending() and isinstance(caught, OSError):
            # What ASGI 2.4 asks of a server whose client is gone.
            self._request._note_disconnect()
            caught = DisconnectedError()
        self._flowing = False
        self._stop_waiting()
        return caught

    def _is_sending(self) -> bool:
        return self._flowing and not self._waiting

    # Told by the ticker

    def tick(self, now: float) -> None:
        """Leave a client that takes nothing; what a silent one is told is `tick_silent`'s."""
        sent = self._sent + self._request._bytes_sent
        if sent != self._seen:
            self._seen, self._since = sent, self._looked
        self._looked = now
        if not self._is_sending():
            self.tick_silent(now)
        else:
            limit = self._request._settings.limits.send
            if limit is not None and now - self._since > limit + TICK:
                self._flowing = False
                self._stop_waiting()
                self.error = SlowClient()
                self._request._expire()
                self.interrupt()

    def tick_silent(self, now: float) -> None:
        """Look at a stream that isn't in a send."""
        self._since = now


class Waiter:
    """Waits in the place of a future, and sends what comes by itself, as long as nothing blocks.

    The flow sleeps meanwhile: to wake a task costs more than all the rest that we do for an event.
    """

    __slots__ = ("_flow", "_pending", "_push", "_ready", "sleeper")

    def __init__(
        self,
        flow: Outflow,
        push: Callable[[Any, bytes], bool],
        ready: Callable[[Waiter], Any],
        pending: Callable[[], Sequence[Any]],
    ) -> None:
        self._flow = flow
        self._push = push
        self._ready = ready
        self._pending = pending
        #: Done with what came, none or several, when the flow is to go on by itself.
        self.sleeper: asyncio.Future[Sequence[Any]] = flow._loop.create_future()

    def done(self) -> bool:
        """Say whether it waits no more."""
        return self.sleeper.done()

    def set_result(self, result: None) -> None:
        """Something may have come. As with a future, what follows from it is not done here."""
        self._flow._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        sleeper = self.sleeper
        if sleeper.done():
            return  # also when the flow was told to end meanwhile
        try:
            found = self._pending()
            if len(found) == 1 and self._has_sent(found[0]):
                found = ()
                if self._ready(self) is not None:
                    return
        except Exception as error:
            sleeper.set_exception(error)
        else:
            sleeper.set_result(found)

    def _has_sent(self, item: Any) -> bool:
        flow = self._flow
        data = flow.encode(item)
        if not self._push(flow._request._send, data):
            return False
        flow._sent += len(data)
        return True


def _is_never_ready(waiter: object = None) -> None:
    """Stand for the `ready` of items that have none: they are waited for by iteration alone."""
