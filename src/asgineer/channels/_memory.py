"""The engine of one process: logs in memory, nothing to install and nothing to connect to.

What it keeps is what subscribers stand in: a hub takes the log as it is, with those who wait for its
next message, so a message is in one log, and wakes them without a way in between.
Its epoch is drawn when it is opened, so inside the loop and after a server has forked. A log that has
been empty and unheard for a while is forgotten; the next one of that name begins where the highest
of them ended, so that no position ever means two things.
"""

from __future__ import annotations

import os
from math import inf
from types import coroutine
from typing import TYPE_CHECKING

from .. import _clock
from ._engine import Entry, History
from ._log import Log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Sequence

    from .._clock import Timer
    from ._engine import Listener

SWEEP = 30.0  # seconds between two looks for what is too old


class OwnLog(Log):
    """A log that is in this process alone.

    Attributes:
        keys: the offsets of messages by the key that they were published with.
        is_heard: somebody is told of its messages.
    """

    __slots__ = ("is_heard", "keys")

    def __init__(self, channel: str, epoch: str, floor: int, max_bytes: int) -> None:
        super().__init__(channel, epoch, floor, max_bytes, 0)
        self.keys: dict[str, int] = {}
        self.is_heard = False
        self.origin_until = inf

    def trim(self, now: float) -> None:
        """Drop what is out of bounds, and keys that have outlived their messages."""
        super().trim(now)
        if len(self.keys) > 2 * (self.end - self.start):
            floor = self.floor
            self.keys = {key: offset for key, offset in self.keys.items() if offset > floor}


class MemoryEngine:
    """Logs of this process; see `Engine`.

    Args:
        max_bytes: of one log.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.logs: dict[str, OwnLog] = {}
        self._highest = 0  # of the logs that were forgotten
        self._timer: Timer | None = None

    async def open(self, listener: Listener) -> None:
        """Draw the epoch."""
        self._epoch = os.urandom(4).hex()

    def publish(
        self, channel: str, kind: str, data: bytes, *, history: int, ttl: float, key: str | None
    ) -> Awaitable[tuple[str, int]]:
        """Add a message; who waits for it gets a turn while this is awaited."""
        log = self.logs.get(channel) or self._begin(channel)
        if history > log.count:
            log.count = history
        now = _clock.clock.time()
        offset = log.last + 1
        if key is not None:
            log.trim(now)
            known = log.keys.get(key, 0)
            if known > log.floor:
                return _after_turn(False, self._epoch, known)
            log.keys[key] = offset
        log.append((offset, kind, data, now + ttl), now)
        if log.is_heard:
            for future in log.waiting:
                if not future.done():
                    future.set_result(None)
            log.waiting.clear()
        # Without the turn a loop of publishes would run away from every subscriber.
        return _after_turn(log.is_heard, self._epoch, offset)

    def _begin(self, channel: str) -> OwnLog:
        log = self.logs[channel] = OwnLog(channel, self._epoch, self._highest, self._max_bytes)
        if self._timer is None:
            self._timer = _clock.clock.call_later(SWEEP, self._sweep)
        return log

    async def history(
        self, channel: str, after: int | None, limit: int, *, history: int, ttl: float
    ) -> History:
        """Return what is retained after `after`; ages are those that `publish` gave."""
        log = self.logs.get(channel) or self._begin(channel)
        log.count = max(log.count, history)
        log.trim(_clock.clock.time())
        begin = log.end if after is None else log.index_after(after)
        end = min(begin + limit, log.end)
        entries = [Entry(*log.item(index)[:3]) for index in range(begin, end)]
        return History(self._epoch, entries, log.floor + 1, log.last, end == log.end)

    async def listen(self, channels: Sequence[str]) -> None:
        """Wake those who wait for messages of `channels` from now on."""
        for channel in channels:
            log = self.logs.get(channel) or self._begin(channel)
            log.is_heard = True

    async def unlisten(self, channels: Sequence[str]) -> None:
        """Wake them no more."""
        for channel in channels:
            self.logs[channel].is_heard = False  # as long as it is heard, it is there

    async def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.logs.clear()

    def _sweep(self) -> None:
        """Drop what is too old in logs that nothing is published to, and logs that are empty and unheard."""
        now = _clock.clock.time()
        for channel, log in list(self.logs.items()):
            log.trim(now)
            if log.start == log.end and not log.is_heard:
                self._highest = max(self._highest, log.last)
                del self.logs[channel]
        self._timer = _clock.clock.call_later(SWEEP, self._sweep) if self.logs else None


@coroutine
def _after_turn(is_heard: bool, epoch: str, offset: int) -> Generator[None, None, tuple[str, int]]:
    """Return a place, after a turn of the loop for all others: `asyncio.sleep(0)`, with two frames less."""
    if is_heard:
        yield
    return epoch, offset
