"""The end by force: a process that does not end after a signal ends all the same, a bit after its time.

A handler that swallows every cancellation keeps its event loop from closing, and there is no server that
would end then. So `run()` has a thread that waits for the first signal, and then for the rest of the
time; the log says what was still waited for. Whatever can be cleaned up has been by that time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any

from ._log import logger

if TYPE_CHECKING:
    from collections.abc import Generator

LAST_SECONDS = 0.9  # after `shutdown_timeout`, for what was cancelled and the lifespan's cleanup to end
FORCED = 1  # the exit status: something is wrong in the app
MAX_WAITS = 5  # places that the log names

_ASYNCIO = os.path.dirname(asyncio.__file__)


class Force:
    """Ends the process some time after `begin`, from a thread, unless `cancel` is called before."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        # A pipe, as it may be written to in a signal handler, whatever lock the main thread holds.
        self._reader, self._writer = os.pipe()
        self._thread = threading.Thread(target=self._watch, name="asgineer-end", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Let the time begin; in a signal handler."""
        with contextlib.suppress(RuntimeError):  # the signal came between two loops
            self._loop = asyncio.get_running_loop()
        os.write(self._writer, b"!")

    def cancel(self) -> None:
        """Let the process live."""
        os.close(self._writer)
        self._thread.join()

    def _watch(self) -> None:
        with open(self._reader, "rb", buffering=0) as signals:
            if not signals.read(1):
                return
            deadline = time.monotonic() + self._seconds
            while (left := deadline - time.monotonic()) > 0:
                if select.select([signals], [], [], left)[0] and not signals.read(1):
                    return
        where = ", ".join(waits_of(self._loop)) if self._loop is not None else ""
        logger.error("Ended by force, as this did not listen to its cancellation: %s", where or "unknown")
        os._exit(FORCED)


def waits_of(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Return where the tasks of a loop wait, each by its innermost line that isn't asyncio's.

    At most MAX_WAITS of them.
    """
    return sorted({_place_of(task.get_coro()) for task in asyncio.all_tasks(loop)} - {""})[:MAX_WAITS]


def _place_of(step: Any) -> str:
    place = ""
    while step is not None:
        frame = getattr(step, "cr_frame", None) or getattr(step, "ag_frame", None)
        if frame is not None and os.path.dirname(frame.f_code.co_filename) != _ASYNCIO:
            code = frame.f_code
            place = f"{os.path.basename(code.co_filename)}:{frame.f_lineno} in {code.co_name}"
        step = getattr(step, "cr_await", None) or getattr(step, "ag_await", None)
    return place


_current: Force | None = None  # of the server that `run()` started in this process


@contextlib.contextmanager
def end_in_time(seconds: float | None) -> Generator[None]:
    """In the block, have a signal end the process `seconds` and LAST_SECONDS later, if nothing does before.

    None is no limit. Only in the main thread, where signals are handled.
    """
    global _current
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _current = force = Force(seconds + LAST_SECONDS)
    try:
        yield
    finally:
        _current = None
        force.cancel()


def begin() -> None:
    """Let the time begin, if there is one; in a signal handler."""
    if _current is not None:
        _current.begin()
