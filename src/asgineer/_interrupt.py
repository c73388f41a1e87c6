"""End the await of a task from outside, by an exception of ours.

What `asyncio.timeout` does for time, for any event: the task is cancelled, and where the
cancellation arrives it is taken back and turned into the exception. A cancellation by
somebody else stays one, also when both come at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")


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
            if self._fired and self._task is not None and self._task.uncancel() <= self._before:
                raise error from None
            raise
