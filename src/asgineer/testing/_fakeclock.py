"""A clock that stands still until a test moves it: for pings, idle limits, deadlines, sleeps.

Only timers of ours go by it (`asgineer._clock`); asyncio's own keep the real time. It is no
promise to users yet: what it can do will follow from what our own tests need.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from typing import TYPE_CHECKING

from .. import _clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FakeTimer:
    """A timer of the fake clock; `cancel` keeps it from being called."""

    def __init__(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        self.callback = callback
        self.loop = loop
        self.cancelled = False

    def cancel(self) -> None:
        """Never call it, if it was not called yet."""
        self.cancelled = True


class FakeClock(_clock.Clock):
    """Time that moves by `advance` alone. It begins at 1000, so that nothing is "never" by being 0."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._order = itertools.count()

    def time(self) -> float:
        """Return the seconds that stand on this clock."""
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], object]) -> FakeTimer:
        """Call `callback` in the loop that runs now, when the clock has moved on by `seconds`."""
        timer = FakeTimer(callback, asyncio.get_running_loop())
        heapq.heappush(self._timers, (self._now + seconds, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move the clock on; timers that are due are called in their order. Works from any thread."""
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            self._now, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.loop.call_soon_threadsafe(timer.callback)
        self._now = until

    @property
    def waiting(self) -> int:
        """How many timers are set."""
        return sum(not timer.cancelled for _, _, timer in self._timers)


@contextlib.contextmanager
def fake_clock() -> Iterator[FakeClock]:
    """Put a fake clock in the place of the real one, for every loop of this process."""
    real, _clock.clock = _clock.clock, FakeClock()
    try:
        yield _clock.clock
    finally:
        _clock.clock = real
