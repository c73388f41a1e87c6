"""Every timer of ours goes through here, so that tests can put a fake clock in its place.

`clock` is looked up at each use (`_clock.clock.call_later(...)`), never imported by name.
Times are monotonic seconds of the running event loop. Wall-clock time does not belong here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    class Timer(Protocol):
        """What `call_later` returns."""

        def cancel(self) -> None: ...


class Clock:
    """The time and the timers of the running event loop."""

    def time(self) -> float:
        """Return monotonic seconds."""
        return asyncio.get_running_loop().time()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` after `seconds`; the handle that is returned can cancel it."""
        return asyncio.get_running_loop().call_later(seconds, callback)


clock = Clock()
