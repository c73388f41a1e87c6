"""The notice that the server begins to stop, told to whoever waits.

Servers wait for open connections before they tell an app anything, so a handler that waits
for ever would hold them up, or be cut off. The first sign there is, is the signal: the
server's handler for it is chained, never replaced. Ours says in the event loop that the
server is closing, and theirs runs a moment later: uvicorn closes websockets in the same turn in
which it sees that it was told to stop, and a goodbye would come too late. There is one
notice per event loop; a test client gives it by itself.
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
HEAD_START = 20  # turns of the event loop, a millisecond or more each, for the goodbyes of those told last
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
        self._telling = False
        self._then: list[Callable[[], object]] = []

    def add(self, tell: Callable[[], object]) -> None:
        """Have `tell` called, in the event loop, when the server begins to stop."""
        self._waiting.add(tell)

    def discard(self, tell: Callable[[], object]) -> None:
        """Call `tell` no more."""
        self._waiting.discard(tell)

    def begin(self, then: Callable[[], object] | None = None) -> None:
        """Tell everybody, once; not all in one turn of the loop, in which nothing would be accepted.

        `then` is called when all were told, and had `HEAD_START` turns.
        """
        if then is not None:
            self._then.append(then)
        if not self.begun:
            self.begun = self._telling = True
            self._since = _clock.clock.time()
            self._tell_some(list(self._waiting))
        elif not self._telling:
            self._go_on(0)

    def _tell_some(self, waiting: list[Callable[[], object]]) -> None:
        for tell in waiting[:AT_ONCE]:
            if tell in self._waiting:
                tell()
        loop = asyncio.get_running_loop()
        if len(waiting) > AT_ONCE:
            loop.call_soon(self._tell_some, waiting[AT_ONCE:])
        else:
            loop.call_soon(self._go_on, HEAD_START)

    def _go_on(self, turns: int) -> None:
        """Count turns and not only time: a machine that is busy with others may have none in that time."""
        if turns:
            asyncio.get_running_loop().call_later(0.001, self._go_on, turns - 1)
            return
        self._telling = False
        while self._then:
            self._then.pop(0)()

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
    signals = Signals(asyncio.get_running_loop(), notice())
    for number in SIGNALS:
        signals.chain(number)
    return signals.undo


class Signals:
    """Handlers of signals in front of the server's, which have the first signal when the notice was given."""

    def __init__(self, loop: asyncio.AbstractEventLoop, told: Notice) -> None:
        self._loop, self._notice = loop, told
        self._undo: list[Callable[[], object]] = []
        self._held: list[Callable[[], object]] = []
        self._came = False

    def chain(self, number: signal.Signals) -> None:
        """Come before what handles `number`, if that is more than Python's own."""
        previous = signal.getsignal(number)
        if not callable(previous) or previous is signal.default_int_handler:
            return

        def chained(signum: int, frame: Any) -> None:
            _force.begin()
            self._held.append(lambda: previous(number, None))
            if self._came:  # that one means it, and the event loop may hear nothing
                self._pass_on()
            else:
                self._came = True
                self._loop.call_soon_threadsafe(self._notice.begin, self._pass_on)

        def undo() -> None:
            if signal.getsignal(number) is chained:
                signal.signal(number, previous)

        signal.signal(number, chained)
        self._undo.append(undo)

    def _pass_on(self) -> None:
        while self._held:
            self._held.pop(0)()

    def undo(self) -> None:
        """Let the handlers be those that were there, where ours are still there."""
        for undo in self._undo:
            undo()
