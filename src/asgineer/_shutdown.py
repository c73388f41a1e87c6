"""The notice that the server begins to stop, told to whoever waits.

Servers wait for open connections before they tell an app anything, so a handler that waits
for ever would hold them up, or be cut off. The first sign there is, is the signal: the
server's handler for it is chained, never replaced. Ours says in the event loop that the
server is closing, and theirs runs as before. There is one notice per event loop; a test
client gives it by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from . import _clock, _force
from ._interrupt import Interrupt
from .errors import ServerClosing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

AT_ONCE = 50  # a thousand goodbyes take a third of a second, in which new connections would queue up
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Notice:
    """Whether the server of one event loop begins to stop, and who is to be told.

    Attributes:
        begun: it does; every later wait ends at once.
    """

    def __init__(self) -> None:
        self.begun = False
        self._since = 0.0
        self._waiting: set[Callable[[], object]] = set()

    def add(self, tell: Callable[[], object]) -> None:
        """Have `tell` called, in the event loop, when the server begins to stop."""
        self._waiting.add(tell)

    def discard(self, tell: Callable[[], object]) -> None:
        """Call `tell` no more."""
        self._waiting.discard(tell)

    def begin(self) -> None:
        """Tell everybody, once; not all in one turn of the loop, in which nothing would be accepted."""
        if not self.begun:
            self.begun = True
            self._since = _clock.clock.time()
            self._tell_some(list(self._waiting))

    def _tell_some(self, waiting: list[Callable[[], object]]) -> None:
        for tell in waiting[:AT_ONCE]:
            if tell in self._waiting:
                tell()
        if len(waiting) > AT_ONCE:
            asyncio.get_running_loop().call_soon(self._tell_some, waiting[AT_ONCE:])

    def left(self) -> float | None:
        """Return the seconds of `shutdown_timeout` that are left of the time since then; None is no limit."""
        seconds = timeout()
        if seconds is None or not self.begun:
            return seconds
        return max(0.0, self._since + seconds - _clock.clock.time())


_notices: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Notice] = weakref.WeakKeyDictionary()


def notice() -> Notice:
    """Return the notice of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _notices.get(loop)
    if found is None:
        found = _notices[loop] = Notice()
    return found


def forget() -> None:
    """Begin anew in the running event loop: its server has ended, another may follow."""
    _notices.pop(asyncio.get_running_loop(), None)


def timeout() -> float | None:
    """Return the seconds that what runs gets to end, as `run()` was told (10 if not); None is no limit."""
    text = os.environ.get("ASGINEER_SHUTDOWN_TIMEOUT", "10")
    return float(text) if text else None


async def unless_closing(wait: Callable[[], Awaitable[T]], interrupt: Interrupt | None = None) -> T:
    """Await `wait()`; raise ServerClosing when the server begins to stop, or `interrupt` is called."""
    told = notice()
    if told.begun:
        raise ServerClosing
    interrupt = interrupt or Interrupt()
    told.add(interrupt)
    try:
        return await interrupt.wait(wait(), ServerClosing)
    finally:
        told.discard(interrupt)


def chain_signals() -> Callable[[], None]:
    """Give the notice when a signal ends the server; return a function that undoes it.

    Only in the main thread, where signals are handled, and only before a handler that the
    server has put there: Python's own ends the process at once, with nothing to wait for.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    begin = notice().begin
    undos = [_chain(number, lambda: loop.call_soon_threadsafe(begin)) for number in SIGNALS]

    def undo_all() -> None:
        for undo in undos:
            undo()

    return undo_all


def _chain(number: signal.Signals, give_notice: Callable[[], object]) -> Callable[[], object]:
    previous = signal.getsignal(number)
    if not callable(previous) or previous is signal.default_int_handler:
        return lambda: None

    def chained(signum: int, frame: Any) -> None:
        _force.begin()
        give_notice()
        previous(signum, frame)

    signal.signal(number, chained)

    def undo() -> None:
        if signal.getsignal(number) is chained:
            signal.signal(number, previous)

    return undo
