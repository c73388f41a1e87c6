"""A cursor: where one subscriber is in the log of one channel.

It takes the next message while its log goes on, and waits nowhere. When the log was replaced, or
has lost what the cursor has not read, `catch_up` looks for it in the engine; what is gone for good is
told by a reset, or as `slow` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._message import RESET, Message
from ._position import UNKNOWN, parse_position

if TYPE_CHECKING:
    from ._bus import Channel
    from ._hub import Hub
    from ._log import Log
    from ._node import Node

POLICIES = ("reset", "latest", "close")


class Fallen(Exception):
    """The cursor fell off its log, and is to end by that."""


class Cursor:
    """One subscriber's place in one channel; `open` comes first, `close` last."""

    __slots__ = ("_hub", "_log", "_make_future", "_next", "_offset", "_prefix", "_slow", "_stands")

    def __init__(self, node: Node, channel: Channel, slow: str) -> None:
        self._hub = node.hub(channel.name, channel.history, channel.ttl)
        self._hub.users += 1
        self._make_future = node.loop.create_future
        self._stands = True
        self._log: Log | None = None
        self._next = 0  # the index in the log
        self._offset = 0  # of what was taken last
        self._slow = slow
        self._prefix = ""  # of the position; "" while that is unknown

    @property
    def hub(self) -> Hub:
        """The channel, in this process."""
        return self._hub

    @property
    def position(self) -> str:
        """Behind what was taken last, as clients know it; UNKNOWN before a reset was told."""
        return f"{self._prefix}{self._offset}" if self._prefix else UNKNOWN

    def tell(self, reset: Message) -> None:
        """Note that the reset was told: the position is known again."""
        self._prefix = reset.prefix

    def close(self) -> None:
        """Leave the channel; once more does nothing."""
        if self._stands:
            self._stands = False
            self._hub.users -= 1

    def __del__(self) -> None:
        self.close()  # counts, and nothing else: it may run in any thread

    async def open(self, since: str | None) -> Message | None:
        """Go to `since`; return the reset to begin with, if there is to be one.

        Raises:
            ChannelError: the log can't be read.
        """
        hub = self._hub
        if since is None:
            self._stand_at(await hub.current(), hub.end())
        elif since == "":
            log = await hub.origin()
            self._stand_at(log, log.floor)
        else:
            place = parse_position(since, hub.tag)
            if place is None or not await hub.covers(*place):
                return await self._reset()
            assert hub.log is not None
            self._stand_at(hub.log, place[1])
        return None

    def _stand_at(self, log: Log, offset: int) -> None:
        self._log = log
        self._offset = offset
        self._next = log.index_after(offset)
        self._prefix = log.prefix

    async def _reset(self) -> Message:
        """Go to the end of the log, and return what tells so."""
        hub = self._hub
        self._stand_at(await hub.current(), hub.end())
        self._prefix = ""  # until it is told: who comes back before that is told again
        assert self._log is not None
        return Message(hub.name, self._log.prefix, self._offset, RESET, b"")

    def take(self) -> Message | None:
        """Return the next message that is there; None: none, or `is_behind`."""
        log = self._log
        if log is None or log.is_over:
            return None
        while log.start <= self._next < log.end:
            message = log.message(self._next, is_shared=self._hub.users > 1)
            self._next += 1
            if message.offset > self._offset:  # it began at a message that had not come here yet
                self._offset = message.offset
                return message
        return None

    @property
    def is_at_end(self) -> bool:
        """Whether nothing more is there of the log that it stands in."""
        return self._log is not None and self._next == self._log.end

    def ready(self, waiter: Any = None) -> Any:
        """Return what is done when a message may have come; None: one is there, or it `is_behind`.

        Args:
            waiter: waits in the place of a future of ours; has `done` and `set_result` as that.
        """
        log = self._log
        if log is None or log.is_over or self._next != log.end:
            return None
        if waiter is None:
            waiter = self._make_future()
        log.waiting.add(waiter)
        return waiter

    @property
    def is_behind(self) -> bool:
        """Whether the log can't go on from here by itself."""
        log = self._log
        return log is None or log.is_over or self._next < log.start

    async def catch_up(self) -> Message | None:
        """Look for what follows; return the reset that tells that it is gone, None when it goes on.

        Raises:
            ChannelError: the engine could not be asked.
            Fallen: the policy is "close".
        """
        hub = self._hub
        assert self._log is not None
        epoch = self._log.epoch
        if await hub.covers(epoch, self._offset):
            assert hub.log is not None
            self._stand_at(hub.log, self._offset)
            return None
        log = await hub.current()
        if log.epoch == epoch and self._slow == "close":
            raise Fallen
        if log.epoch == epoch and self._slow == "latest" and log.start < log.end:
            self._stand_at(log, log.item(log.end - 1)[0] - 1)
            return None
        return await self._reset()
