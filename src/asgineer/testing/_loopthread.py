"""An event loop in a thread of its own, for synchronous code that has to drive coroutines.

A thread, and not `run_until_complete` in the caller's: that fails where the caller's thread
runs a loop already, and background tasks would stand still between two calls. Nothing here
knows what runs in the loop.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

DEFAULT_TIMEOUT = 30.0  # seconds; a call that takes longer is a test that hangs
STOP_TIMEOUT = 5.0  # seconds for everything to end by its cancellation


class LoopThread:
    """Runs coroutines in an event loop that lives in a daemon thread, from the first call to `stop()`.

    One that is forgotten ends by itself: the thread doesn't keep this object alive.
    """

    def __init__(self, name: str = "asgineer-testing") -> None:
        self._name = name
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tell_to_stop: Callable[[], object] = lambda: None
        self._stopped = False

    @property
    def running(self) -> bool:
        """Whether something was called, and `stop()` not yet."""
        return self._loop is not None and not self._stopped

    def call(self, coro: Coroutine[Any, Any, T], timeout: float | None = DEFAULT_TIMEOUT) -> T:
        """Run `coro` in the loop and return its result, or raise what it raised.

        Raises:
            TimeoutError: it took longer than `timeout` seconds; it was cancelled.
            RuntimeError: after `stop()`, or in the thread of the loop itself.
        """
        try:
            loop = self._running_loop()
        except RuntimeError:
            coro.close()
            raise
        future = asyncio.run_coroutine_threadsafe(_contain(coro), loop)
        try:
            result, error = future.result(timeout)
        except TimeoutError:
            if future.done():  # the coroutine's own TimeoutError, not ours
                raise
            future.cancel()
            raise TimeoutError(f"no result after {timeout} s") from None
        except KeyboardInterrupt:
            future.cancel()
            raise
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only beside an error

    def run(self, function: Callable[[], object]) -> None:
        """Call `function` in the loop, and return when it has returned; works in the loop as well."""

        async def run() -> None:
            function()

        if threading.current_thread() is self._thread:
            function()
        else:
            self.call(run())

    def stop(self, timeout: float | None = None) -> None:
        """Cancel what still runs, close the loop, and end the thread. A second call does nothing.

        Raises:
            TimeoutError: something does not end by its cancellation in `timeout` seconds (STOP_TIMEOUT).
        """
        timeout = STOP_TIMEOUT if timeout is None else timeout
        self._stopped = True
        if self._thread is not None:
            self._tell_to_stop()
            self._thread.join(timeout)
            if self._thread.is_alive():
                raise TimeoutError(f"something in the app's event loop still runs {timeout} s after its end")

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._stopped:
                raise RuntimeError("The client is closed: the event loop of the app has ended")
            if threading.current_thread() is self._thread:
                raise RuntimeError("The app can't wait for a client that waits for the app")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_loop, args=[self._loop], name=self._name, daemon=True
                )
                self._thread.start()
                # Nothing is waited for: garbage is collected in any thread, also in that of the loop.
                self._tell_to_stop = weakref.finalize(self, _tell_to_stop, self._loop)  # once
            return self._loop


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(_end_all(loop))
    loop.close()


def _tell_to_stop(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon_threadsafe(loop.stop)


async def _contain(coro: Coroutine[Any, Any, T]) -> tuple[T | None, BaseException | None]:
    """Await `coro`; what would end the loop, were it raised in a task, is handed over as a value."""
    try:
        return await coro, None
    except (SystemExit, KeyboardInterrupt) as error:
        return None, error


async def _end_all(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel every other task, and close what it left open, as `asyncio.run` does at its end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
