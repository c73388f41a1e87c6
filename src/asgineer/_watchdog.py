"""In debug mode: name the line that blocks the event loop.

A handler that computes or sleeps without `await` stops every other request of the process. A
thread looks at a heart-beat that the loop keeps; when it is late, the stack of the loop's
thread tells where it is stuck. One record when it is stuck, one with the time it took when
it goes on. Off, it costs nothing.
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

ADVICE = "nobody else is served meanwhile; await, or put slow work into asyncio.to_thread(…)"
LIBRARY = os.path.join(os.path.dirname(os.__file__), "")  # Python's own
PACKAGE = os.path.join(os.path.dirname(__file__), "")
INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
LOOP = tuple(os.path.join(LIBRARY, "asyncio", name) for name in ("events.py", "runners.py"))


class Watchdog:
    """Watches the running event loop from a thread, between `start()` and `stop()`.

    Args:
        limit: seconds that the loop may be busy with one thing.
    """

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
        """Watch no more; to be called in the event loop. The thread ends by itself, within a beat."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._last_beat = monotonic()
        # The loop's own timer, not a fake one of a test: what is measured is real.
        self._timer = self._loop.call_later(BEAT, self._beat)

    def _watch(self) -> None:
        stuck_since: float | None = None
        place = ""
        while not self._stopped.wait(BEAT):
            last_beat = self._last_beat
            if stuck_since is None and monotonic() - last_beat > self._limit:
                stuck_since = last_beat
                place = place_of(sys._current_frames().get(self._loop_thread))
                logger.warning("Event loop blocked for over %.1f s in %s: %s", self._limit, place, ADVICE)
            elif stuck_since is not None and last_beat > stuck_since:
                logger.warning("Event loop blocked %.1f s in %s", last_beat - stuck_since, place)
                stuck_since = None


def place_of(frame: FrameType | None) -> str:
    """Return where `frame` is stuck, as `file:line in function`.

    That is the innermost line of the program itself, which called a library perhaps; the
    innermost one of all, where what runs is no part of the program.
    """
    called = _frames_below_the_loop(frame)
    if not called:
        return "an unknown place"
    found = next((one for one in called if _is_of_the_program(one)), called[0])
    return f"{found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_name}"


def _frames_below_the_loop(frame: FrameType | None) -> list[FrameType]:
    """Return `frame` and what called it, up to the event loop: a script that runs a server is not meant."""
    frames: list[FrameType] = []
    while frame is not None and frame.f_code.co_filename not in LOOP:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _is_of_the_program(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    library = file.startswith((LIBRARY, PACKAGE, "<frozen"))
    return not library and not any(folder in file for folder in INSTALLED)
