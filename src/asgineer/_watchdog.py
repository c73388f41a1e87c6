"""In debug mode: name the line that blocks the event loop.

A handler that computes or sleeps without `await` stops every other request of the process. A
thread looks at a heart-beat that the loop keeps; when it is late, the stack of the loop's
thread tells where it is stuck. One record when it is stuck, one when it goes on. Off, it
costs nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING

from ._log import logger

if TYPE_CHECKING:
    from types import FrameType

LIMIT = 1.0  # seconds without a heart-beat before it is told
BEAT = 0.1  # seconds between two heart-beats, and between two looks at them

STANDARD_LIBRARY = os.path.dirname(os.__file__)


class Watchdog:
    """Watches the running event loop from a thread, between `start()` and `stop()`."""

    def __init__(self, limit: float = LIMIT) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._last_beat = monotonic()
        self._stopped = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="asgineer-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Watch no more; to be called in the event loop."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._last_beat = monotonic()
        # The loop's own timer, not a fake one of a test: what is measured is real.
        self._timer = self._loop.call_later(BEAT, self._beat)

    def _watch(self) -> None:
        stuck_since: float | None = None
        while not self._stopped.wait(BEAT):
            last_beat = self._last_beat
            late = monotonic() - last_beat
            if stuck_since is None and late > self._limit:
                stuck_since = last_beat
                frame = sys._current_frames().get(self._loop_thread)
                logger.warning("Event loop blocked for more than %.1f s in %s", self._limit, _place(frame))
            elif stuck_since is not None and last_beat > stuck_since:
                logger.warning("Event loop was blocked for %.1f s", last_beat - stuck_since)
                stuck_since = None


def _place(frame: FrameType | None) -> str:
    """Return where `frame` is stuck: the innermost line that is not Python's own library."""
    innermost = frame
    while frame is not None and frame.f_code.co_filename.startswith((STANDARD_LIBRARY, "<frozen")):
        frame = frame.f_back
    frame = frame or innermost
    if frame is None:
        return "an unknown place"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
