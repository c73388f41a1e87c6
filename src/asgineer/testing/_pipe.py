"""What stands between the two sides of a connection: pieces in order, with back-pressure.

Everything happens in one event loop, so nothing is locked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

WINDOW = 65_536  # bytes unread before a writer waits: asyncio's own high-water mark


class Signal:
    """Wakes everyone who waits. No lock: all of it happens in one event loop."""

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter


class Pipe(Generic[T]):
    """Pieces on their way from a writer to a reader, with back-pressure.

    It ends well (`end`), or in failure (`fail`: the reader still gets what was written before),
    or the reader goes away (`abandon`: what is unread and what still comes is dropped).
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._pieces: deque[tuple[T, int]] = deque()
        self._unread = 0
        self._failure: Exception | None = None
        self._signal = Signal()
        self.ended = False
        self.abandoned = False

    @property
    def empty(self) -> bool:
        return not self._pieces

    async def put(self, piece: T, size: int) -> None:
        """Add `piece`, then wait until less than the window is unread (as a socket's drain does)."""
        self.push(piece, size)
        while self._unread > self._window and not self.abandoned:
            await self._signal.wait()

    def push(self, piece: T, size: int) -> None:
        """Add `piece`; the caller knows that it need not wait."""
        if not self.abandoned:
            self._pieces.append((piece, size))
            self._unread += size
            self._signal.notify()

    async def ready(self) -> bool:
        """Wait for a piece; False when the pipe ended well and none is left."""
        while self.empty:
            if self._failure is not None:
                raise self._failure
            if self.ended or self.abandoned:
                return False
            await self._signal.wait()
        return True

    def take(self) -> T:
        piece, size = self._pieces.popleft()
        self._unread -= size
        self._signal.notify()
        return piece

    def stall(self) -> None:
        """Have every writer wait from now on: nothing is taken any more."""
        self._window = -1

    def end(self) -> None:
        self.ended = True
        self._signal.notify()

    def fail(self, failure: Exception) -> None:
        self.ended = True
        self._failure = failure
        self._signal.notify()

    def abandon(self) -> None:
        self.abandoned = True
        self._pieces.clear()
        self._unread = 0
        self._signal.notify()
