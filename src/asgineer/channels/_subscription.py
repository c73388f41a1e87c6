"""Subscriptions: what `subscribe` returns, and the waiting of `read`.

A subscription is an async iterator of messages over one cursor or several. It has besides what a
stream of ours takes: `open` gives the position where it starts, `pending` what is there already.
Waiting costs one future, in the set of each channel's hub, and being woken one `set_result`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from .. import _clock
from .._interrupt import Interrupt
from ..errors import ChannelError, ServerClosing
from ._cursor import POLICIES, Cursor, Fallen
from ._message import Batch, Message
from ._position import UNKNOWN, join_positions, split_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._bus import Bus, Channel
    from ._node import Node

CHUNK = 65536  # bytes that `pending` gives at once, and one message more
BATCH = 1024 * 1024  # bytes in one Batch, and one message more
RETRY = 1.0  # seconds until the engine is asked again about what a cursor has missed


class Subscription:
    """An async iterator of the messages of some channels, for one task at a time.

    Who breaks out of the loop leaves the channels when this object is collected; `aclose` leaves at
    once, and a stream that it is given to calls it.
    """

    __slots__ = (
        "_bus",
        "_channels",
        "_cursors",
        "_future",
        "_is_closed",
        "_is_open",
        "_node",
        "_resets",
        "_since",
        "_single",
        "_slow",
        "_turn",
    )

    _node: Node

    def __init__(self, bus: Bus, channels: Sequence[Channel], since: str | None, slow: str) -> None:
        if not (since is None or isinstance(since, str)):
            raise TypeError(f"since is a position (str) or None, not {type(since).__name__}")
        if slow not in POLICIES:
            raise ValueError(f"slow is one of {', '.join(POLICIES)}; not {slow!r:.100}")
        self._bus = bus
        self._channels = channels
        self._since = since
        self._slow = slow
        self._cursors: list[Cursor] = []
        self._resets: deque[tuple[Cursor, Message]] | None = None  # to be told, before their channels go on
        self._single: Cursor | None = None  # the only one, once it is open
        self._turn = 0  # whose message comes next, of several channels
        self._is_open = False
        self._is_closed = False
        self._future: asyncio.Future[None] | None = None

    def __aiter__(self) -> Subscription:
        return self

    @property
    def position(self) -> str:
        """Behind what was given last: where another subscription goes on with `since`."""
        return join_positions([cursor.position for cursor in self._cursors])

    async def open(self) -> str:
        """Find where it starts, and return that position; the first message would do so too.

        Raises:
            ChannelError: the engine can't be asked.
            ServerClosing: the server begins to stop.
        """
        if not self._is_open:
            self._node = node = await self._bus.connect()
            node.attend()
            if node.is_closing:
                raise ServerClosing
            self._cursors = [Cursor(node, channel, self._slow) for channel in self._channels]
            try:
                await self._open_cursors()
            except BaseException:
                self._leave()
                raise
            if len(self._cursors) == 1:
                (self._single,) = self._cursors
            self._is_open = True
        return UNKNOWN if self._resets else self.position

    async def _open_cursors(self) -> None:
        starts = split_positions(self._since) if self._since else {}
        opening = [
            cursor.open(starts.get(cursor.hub.tag, UNKNOWN) if self._since else self._since)
            for cursor in self._cursors
        ]
        if len(opening) == 1:
            found: list[Message | BaseException | None] = [await opening[0]]
        else:
            found = await asyncio.gather(*opening, return_exceptions=True)
        for cursor, result in zip(self._cursors, found, strict=True):
            if isinstance(result, BaseException):
                raise result
            if result is not None:
                self._tell_first(cursor, result)

    def _tell_first(self, cursor: Cursor, reset: Message) -> None:
        if self._resets is None:
            self._resets = deque()
        self._resets.append((cursor, reset))

    def _take_in_turn(self) -> Message | None:
        """Return the next message of the next channel that has one, under an id for all of them."""
        cursors = self._cursors
        for _ in cursors:
            self._turn = (self._turn + 1) % len(cursors)
            message = cursors[self._turn].take()
            if message is not None:
                return message.with_id(self.position)
        return None

    async def __anext__(self) -> Message:
        if not self._is_open and not self._is_closed:
            await self.open()
        while True:
            if self._resets is not None:
                return self._next_reset(self._resets)
            if self._is_closed:
                raise StopAsyncIteration
            future = self.ready()
            if future is not None:
                try:  # as `_sleep` does it, without two coroutines: a fifth of what a message costs
                    await future
                except BaseException:
                    self._future = None
                    self._cursors[0].hub.waiting.discard(future)
                    raise
                if self._is_closed:
                    continue
            single = self._single
            message = self._take_in_turn() if single is None else single.take()
            if message is not None:
                return message
            if future is None:
                await self._wait()

    def _next_reset(self, resets: deque[tuple[Cursor, Message]]) -> Message:
        cursor, message = resets.popleft()
        if not resets:
            self._resets = None
        cursor.tell(message)
        return message if len(self._cursors) == 1 else message.with_id(self.position)

    def ready(self, waiter: Any = None) -> Any:
        """Return what is done when `pending` may have something; None where only the iteration can tell.

        For a stream that waits: a future costs it less than the three coroutines of the iteration, and a
        `waiter` of its own, with `done` and `set_result`, less than that.
        """
        single = self._single
        if single is None or self._is_closed or self._resets is not None:
            return None
        node = self._node
        if node.is_closing or node.state == "closed":
            return None
        self._future = future = single.ready(waiter)
        return future

    def pending(self) -> list[Message]:
        """Return the messages that are there now, up to 64 KiB of data and one message more."""
        if self._resets is not None or not self._is_open or self._is_closed:
            return []
        single = self._single
        message = self._take_in_turn() if single is None else single.take()
        if message is None:
            return []
        if single is not None and single.is_at_end:  # as nearly always
            return [message]
        return [message, *self._gather(CHUNK - message.size)]

    def _gather(self, room: int) -> list[Message]:
        messages: list[Message] = []
        take = self._take_in_turn if self._single is None else self._single.take
        while room > 0 and (message := take()) is not None:
            messages.append(message)
            room -= message.size
        return messages

    async def _wait(self) -> None:
        """Wait until there may be something to give."""
        node = self._node
        if node.is_closing:
            raise ServerClosing
        if node.state == "closed":
            raise StopAsyncIteration
        for cursor in self._cursors:
            if cursor.is_behind:
                await self._catch_up(cursor)
                return
        await self._sleep()

    async def _catch_up(self, cursor: Cursor) -> None:
        try:
            reset = await cursor.catch_up()
        except Fallen:
            raise StopAsyncIteration from None
        except ChannelError:  # it stays, and goes on when the engine is back
            timer = _clock.clock.call_later(RETRY, self._wake)
            try:
                await self._sleep()
            finally:
                timer.cancel()
        else:
            if reset is not None:
                self._tell_first(cursor, reset)

    async def _sleep(self) -> None:
        """Wait until something came in one of the channels, or `_wake` is called."""
        self._future = future = self._node.loop.create_future()
        for cursor in self._cursors:
            cursor.hub.waiting.add(future)
        try:
            await future
        finally:
            self._future = None
            for cursor in self._cursors:
                cursor.hub.waiting.discard(future)

    def _wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def aclose(self) -> None:
        """Leave the channels; an iteration that waits ends."""
        self._is_closed = True
        self._wake()
        for cursor in self._cursors:
            cursor.hub.waiting.discard(self._future)
        self._leave()

    def _leave(self) -> None:
        for cursor in self._cursors:
            cursor.close()

    async def read(self, wait: float) -> Batch:
        """Return what is there, or what comes first within `wait` seconds; then it has served."""
        try:
            await self.open()
            messages = [] if self._resets else self._gather(BATCH)
            if not messages and not self._resets:
                await self._cursors[0].hub.fetch_published()
                messages = self._gather(BATCH)
            if self._resets or (wait > 0 and not messages):
                first = await self._first(wait)
                if first is not None and first.reset:
                    return Batch([], first.id, True)
                if first is not None:
                    messages = [first, *self._gather(BATCH - first.size)]
            return Batch(messages, self.position, False)
        finally:
            await self.aclose()

    async def _first(self, wait: float) -> Message | None:
        """Return the next message, None when there was none for `wait` seconds, or no more will come."""
        interrupt = Interrupt()
        timer = _clock.clock.call_later(wait, interrupt)
        try:
            return await interrupt.wait(self.__anext__(), TimeoutError)
        except (TimeoutError, StopAsyncIteration):
            return None
        finally:
            timer.cancel()
