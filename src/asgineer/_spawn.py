"""spawn: background tasks that are kept alive, told about when they fail, and ended with the app.

They don't know a client: a request that started one may be long gone.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from . import _shutdown
from ._log import describe, escape, log_error, logger
from ._stats import TASKS, counts
from .errors import ServerClosing

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
LAST_SECONDS = 0.5  # for a task to end, once it is cancelled at the very end; see `_force`


class Background:
    """The background tasks of one event loop."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.waited_for: set[asyncio.Task[Any]] = set()

    def cancel(self) -> None:
        """Cancel the tasks that nobody waits for."""
        for task in self.tasks - self.waited_for:
            task.cancel()

    async def finish(self, seconds: float | None) -> None:
        """Wait for what is to be waited for, up to `seconds`; then cancel what is left."""
        self.cancel()
        if self.waited_for:
            await asyncio.wait(self.waited_for, timeout=seconds)
        left = set(self.tasks)
        for task in left:
            task.cancel()
        if left:
            _, deaf = await asyncio.wait(left, timeout=LAST_SECONDS)
            for task in deaf:
                logger.warning("Background task %s goes on after its cancellation", escape(task.get_name()))


_backgrounds: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Background] = weakref.WeakKeyDictionary()


def background() -> Background:
    """Return the background tasks of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _backgrounds.get(loop)
    if found is None:
        found = _backgrounds[loop] = Background()
        _shutdown.notice().add(found.cancel)
    return found


def spawn(coro: Coroutine[Any, Any, T], *, name: str | None = None, wait: bool = False) -> asyncio.Task[T]:
    """Start `coro` as a task in the background; return the task.

    It is kept alive until its end, and independent of the request that started it. What it
    raises is logged once, with its name; a cancellation and ServerClosing are no failure.

    Args:
        coro: what an `async def` function returns.
        name: for the log; by default that of the function.
        wait: when the server stops, the task is cancelled at once; with True it gets up to
            `shutdown_timeout` seconds to end by itself, from the time at which the server began to stop.

    Raises:
        TypeError: `coro` is no coroutine.
        RuntimeError: no event loop runs.
    """
    if not asyncio.iscoroutine(coro):
        raise TypeError(
            f"spawn() needs a coroutine, what calling an async function gives; not {type(coro).__name__}"
        )
    tasks = background()
    task = asyncio.get_running_loop().create_task(coro, name=name or getattr(coro, "__qualname__", "task"))
    tasks.tasks.add(task)
    if wait:
        tasks.waited_for.add(task)
    counts[TASKS] += 1
    task.add_done_callback(functools.partial(_note_end, tasks))
    return task


def _note_end(tasks: Background, task: asyncio.Task[Any]) -> None:
    counts[TASKS] -= 1
    tasks.tasks.discard(task)
    tasks.waited_for.discard(task)
    error = None if task.cancelled() else task.exception()
    if isinstance(error, BaseExceptionGroup):
        error = error.split(ServerClosing)[1]
    if error is not None and not isinstance(error, ServerClosing):
        log_error(f"{type(error).__name__} in background task {task.get_name()}: {describe(error)}", error)


async def finish_background() -> None:
    """End the background tasks of this loop, as the app is ending."""
    tasks = _backgrounds.pop(asyncio.get_running_loop(), None)  # a next server of the loop has its own
    if tasks is not None:
        await tasks.finish(_shutdown.notice().left())
