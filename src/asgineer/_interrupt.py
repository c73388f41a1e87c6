"""End the await of a task from outside, by an exception of ours.

What `asyncio.timeout` does for time, for any event: the task is cancelled, and where the
cancellation arrives it is taken back and turned into the exception. A cancellation by
somebody else stays one, also when both come at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

T = TypeVar("T")
_current_task = asyncio.current_task


class Interrupt:
    """One await of the current task, which a call of this object ends."""

    __slots__ = ("_before", "_fired", "_task")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling()
        self._fired = False

    def __call__(self) -> None:
        """End the await; to be called in the event loop. Without a task there is none to end."""
        if not self._fired and self._task is not None:
            self._fired = True
            self._task.cancel()

    async def wait(self, awaitable: Awaitable[T], error: type[Exception]) -> T:
        """Await `awaitable`; raise `error` instead when this object is called meanwhile."""
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._take_back() <= self._before:
                raise error from None
            raise
        finally:
            self._take_back()  # also where it came as the wait ended otherwise
            self._task = None

    def _take_back(self) -> float:
        """Take our cancellation back, once; return how many there are besides, infinity if it isn't ours."""
        if not self._fired or self._task is None:
            return math.inf
        self._fired = False
        return self._task.uncancel()


class Guard:
    """The waits of one task, one after the other, that `tell` ends: an Interrupt that is made once."""

    __slots__ = ("_before", "_cancelled", "_loop", "_task", "_waiting", "error")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.take_over()
        self._waiting = False
        self._cancelled = False
        #: What the waits end with, once it was told.
        self.error: Exception | None = None

    def take_over(self) -> None:
        """Have the next wait be one of the current task, and count the cancellations from now on."""
        # Without the loop it would ask the system for the process id, on Python 3.11.
        self._task = task = _current_task(self._loop)
        self._before = 0 if task is None else task.cancelling()

    def tell(self, error: Exception) -> None:
        """End the wait, and every later one, by raising `error`; the first one told counts."""
        if self.error is None:
            self.error = error
            if _current_task(self._loop) is self._task:
                # It runs, so it can't be cancelled now: that would hit an await after the wait.
                self._loop.call_soon(self._cancel)
            else:
                self._cancel()

    def _cancel(self) -> None:
        if self._waiting:
            self.interrupt()

    def interrupt(self) -> None:
        """Cancel the task, wherever it is; `instead_of` takes that back."""
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()

    async def wait(self, waiting: Callable[[], Awaitable[T]]) -> T:
        """Await `waiting()`, unless and until it was told to end."""
        if self.error is not None:
            raise self.error
        self._waiting = True
        try:
            return await waiting()
        except asyncio.CancelledError as cancellation:
            error = self.instead_of(cancellation)
            if error is not cancellation:
                raise error from None
            raise
        finally:
            self._stop_waiting()

    @contextlib.asynccontextmanager
    async def around(self) -> AsyncGenerator[None]:
        """Do the same for a block, whatever it awaits; told, it ends with the error in any case."""
        self._waiting = True
        try:
            yield
        except asyncio.CancelledError as cancellation:
            error = self.instead_of(cancellation)
            if error is not cancellation:
                raise error from None
            raise
        finally:
            self._stop_waiting()
        if self.error is not None:
            raise self.error

    def instead_of(self, cancellation: asyncio.CancelledError) -> BaseException:
        """Return the error in the place of our own cancellation, which is taken back; another's as it is."""
        ours = self._cancelled and self._task is not None and self._task.uncancel() <= self._before
        self._cancelled = False
        return self.error if ours and self.error is not None else cancellation

    def raise_instead_of(self, cancellation: asyncio.CancelledError) -> None:
        """Raise that error; return where the cancellation is another's."""
        if self.instead_of(cancellation) is not cancellation:
            assert self.error is not None
            raise self.error from None

    def _stop_waiting(self) -> None:
        """Take back a cancellation that was swallowed, or that became another exception."""
        self._waiting = False
        if self._cancelled and self._task is not None:
            self._cancelled = False
            self._task.uncancel()


async def close(iterator: AsyncIterator[Any]) -> None:
    """Close an iterator that can be closed: its `finally` blocks run now, not when it is collected."""
    if getattr(iterator, "ag_frame", iterator) is None:
        return  # an async generator that has ended
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        await aclose()
