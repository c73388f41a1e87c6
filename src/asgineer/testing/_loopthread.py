"""An event loop in a thread of its own, for synchronous code that has to drive coroutines.

A thread, and not `run_until_complete` in the caller's: that fails where the caller's thread
runs a loop already, and background tasks would stand still between two calls. Nothing here
knows what runs in the loop.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

DEFAULT_TIMEOUT = 30.0  # seconds; a call that takes longer is a test that hangs


class LoopThread:
    """Runs coroutines in an event loop that lives in a daemon thread until `stop()`."""

    def __init__(self, name: str = "asgineer-testing") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether `stop()` has not been called yet."""
        return not self._loop.is_closed()

    def call(self, coro: Coroutine[Any, Any, T], timeout: float | None = DEFAULT_TIMEOUT) -> T:
        """Run `coro` in the loop and return its result, or raise what it raised.

        Raises:
            TimeoutError: it took longer than `timeout` seconds; it was cancelled.
        """
        future = asyncio.run_coroutine_threadsafe(coro, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done():  # the coroutine's own TimeoutError, not ours
                raise
            future.cancel()
            raise TimeoutError(f"no result after {timeout} s") from None
        except KeyboardInterrupt:
            future.cancel()
            raise

    def run(self, function: Callable[[], object]) -> None:
        """Call `function` in the loop, and return when it has returned."""

        async def run() -> None:
            function()

        self.call(run())

    def stop(self) -> None:
        """Cancel what still runs, close the loop, and end the thread. A second call does nothing."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result(DEFAULT_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    """Cancel every other task, and close what it left open, as `asyncio.run` does at its end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
