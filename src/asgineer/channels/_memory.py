"""The engine of one process: logs in memory, nothing to install and nothing to connect to.

Its epoch is drawn when it is opened, so inside the loop and after a server has forked. A log that has
been empty and unheard for a while is forgotten; the next one of that name begins where the highest
of them ended, so that no position ever means two things.
"""

from __future__ import annotations

import asyncio
import os
from itertools import islice
from typing import TYPE_CHECKING

from .. import _clock
from ._engine import Entry, History
from ._log import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._clock import Timer
    from ._engine import Listener

SWEEP = 30.0  # seconds between two looks for what is too old


class Kept:
    """One log, its bounds, and the keys of what is in it."""

    __slots__ = ("history", "keys", "log")

    def __init__(self, log: Log[Entry], history: int) -> None:
        self.log = log
        self.history = history
        self.keys: dict[str, int] = {}

    def trim(self, now: float) -> None:
        """Drop what is out of bounds, and keys that have outlived their messages."""
        self.log.trim(now, self.history)
        if len(self.keys) > 2 * len(self.log.items):
            floor = self.log.floor
            self.keys = {key: offset for key, offset in self.keys.items() if offset > floor}


class MemoryEngine:
    """Logs of this process; see `Engine`.

    Args:
        max_bytes: of one log.
    """

    per_process = True

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._logs: dict[str, Kept] = {}
        self._heard: set[str] = set()
        self._highest = 0  # of the logs that were forgotten
        self._timer: Timer | None = None

    async def open(self, listener: Listener) -> None:
        """Draw the epoch."""
        self._listener = listener
        self._epoch = os.urandom(4).hex()

    async def publish(
        self, channel: str, kind: str, data: bytes, *, history: int, ttl: float, key: str | None
    ) -> tuple[str, int]:
        """Add a message; those who wait for it get a turn before this returns."""
        kept = self._kept(channel, history)
        now = _clock.clock.time()
        kept.trim(now)
        if key is not None:
            known = kept.keys.get(key, 0)
            if known > kept.log.floor:
                return self._epoch, known
            kept.keys[key] = kept.log.last + 1
        entry = Entry(kept.log.last + 1, kind, data)
        kept.log.append(entry, len(data), now + ttl)
        kept.trim(now)
        if channel in self._heard:
            self._listener.message(channel, self._epoch, entry)
            await asyncio.sleep(0)  # else a loop of publishes would run away from every subscriber
        return self._epoch, entry.offset

    def _kept(self, channel: str, history: int) -> Kept:
        kept = self._logs.get(channel)
        if kept is None:
            kept = self._logs[channel] = Kept(Log(self._epoch, self._highest, self._max_bytes), history)
            if self._timer is None:
                self._timer = _clock.clock.call_later(SWEEP, self._sweep)
        kept.history = history
        return kept

    async def history(
        self, channel: str, after: int | None, limit: int, *, history: int, ttl: float
    ) -> History:
        """Return what is retained after `after`; ages are those that `publish` gave."""
        kept = self._kept(channel, history)
        log = kept.log
        kept.trim(_clock.clock.time())
        if after is None:
            return History(self._epoch, [], log.floor + 1, log.last, True)
        begin = log.index_after(after) - log.start
        entries = list(islice(log.items, begin, begin + limit))
        complete = begin + len(entries) == len(log.items)
        return History(self._epoch, entries, log.floor + 1, log.last, complete)

    async def listen(self, channels: Sequence[str]) -> None:
        """Tell messages of `channels` from now on."""
        self._heard.update(channels)

    async def unlisten(self, channels: Sequence[str]) -> None:
        """Tell them no more."""
        self._heard.difference_update(channels)

    async def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._logs.clear()
        self._heard.clear()

    def _sweep(self) -> None:
        """Drop what is too old in logs that nothing is published to, and logs that are empty and unheard."""
        now = _clock.clock.time()
        for channel, kept in list(self._logs.items()):
            kept.trim(now)
            if not kept.log.items and channel not in self._heard:
                self._highest = max(self._highest, kept.log.last)
                del self._logs[channel]
        self._timer = _clock.clock.call_later(SWEEP, self._sweep) if self._logs else None
