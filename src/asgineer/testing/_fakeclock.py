"""A clock that stands still until a test moves it: for pings, idle limits, deadlines, sleeps.

Only timers of ours go by it (`asgineer._clock`); asyncio's own keep the real time. The test
may run in another thread than the loop. It is no promise to users yet: what it can do will
follow from what our own tests need.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import threading
from typing import TYPE_CHECKING

from .. import _clock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PATIENCE = 5.0  # seconds of real time to wait for a timer to be set: a test that waits longer hangs


class FakeTimer:
    """A timer of the fake clock; `cancel` keeps it from being called."""

    def __init__(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        self._callback = callback
        self._loop = loop
        self.cancelled = False

    def cancel(self) -> None:
        """Never call it, if it was not called yet."""
        self.cancelled = True

    def fire(self) -> None:
        """Have it called in its loop, if that is still there."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._call)

    def _call(self) -> None:
        if not self.cancelled:
            self._callback()


class FakeClock(_clock.Clock):
    """Time that moves by `advance` alone. It begins at 1000, so that nothing is "never" by being 0."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()

    def time(self) -> float:
        """Return the seconds that stand on this clock."""
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], object]) -> FakeTimer:
        """Call `callback` in the loop that runs now, when the clock has moved on by `seconds`."""
        timer = FakeTimer(callback, asyncio.get_running_loop())
        with self._changed:
            heapq.heappush(self._timers, (self._now + seconds, next(self._order), timer))
            self._changed.notify_all()
        return timer

    def advance(self, seconds: float) -> None:
        """Move the clock on; timers that are due are called in their order."""
        with self._changed:
            until = self._now + seconds
            while self._timers and self._timers[0][0] <= until:
                self._now, _, timer = heapq.heappop(self._timers)
                timer.fire()
            self._now = until

    @property
    def waiting(self) -> int:
        """How many timers are set."""
        with self._changed:
            return self._count()

    def wait_for_timers(self, count: int = 1, patience: float = PATIENCE) -> None:
        """Wait, in another thread than that of the loop, until `count` timers are set.

        Raises:
            TimeoutError: they were not within `patience` seconds of real time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._count() >= count, patience):
                raise TimeoutError(f"{self._count()} timers were set in {patience} s, not {count}")

    def _count(self) -> int:
        return sum(not timer.cancelled for _, _, timer in self._timers)


@contextlib.contextmanager
def fake_clock() -> Generator[FakeClock]:
    """Put a fake clock in the place of the real one, for every loop of this process."""
    real, _clock.clock = _clock.clock, FakeClock()
    try:
        yield _clock.clock
    finally:
        _clock.clock = real
