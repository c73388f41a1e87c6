"""One ticker per event loop, for all that is slow or silent: no timer per connection.

Once a second it looks at the sends that wait for a client, and ends those that wait for too
long, and at the streams that were silent, which get a ping. Its `now` is the time of the last
tick, which is what a time-stamp costs here: nothing. It stops by itself when there is
nothing to look at.
"""

from __future__ import annotations

import asyncio
import types
import weakref
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from . import _clock
from ._interrupt import Interrupt
from .errors import DisconnectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from ._clock import Timer

T = TypeVar("T")

TICK = 1.0  # seconds


class SlowClient(DisconnectedError):
    """The client took nothing for `Limits.send` seconds; its connection was aborted."""

    def __init__(self) -> None:
        super().__init__("The client does not read: a send took too long")


class Silent(Protocol):
    """A stream that wants a ping when it was silent."""

    def tick(self, now: float) -> None:
        """Look whether it is time for one."""


class PendingSend(Interrupt):
    """One send that waits for a client."""

    __slots__ = ("deadline", "expire")

    def __init__(self, deadline: float, expire: Callable[[], object]) -> None:
        super().__init__()
        self.deadline = deadline
        self.expire = expire


class Ticker:
    """The ticker of one event loop.

    Attributes:
        now: the time of the last tick, in seconds of the clock.
    """

    def __init__(self) -> None:
        self.now = _clock.clock.time()
        self._sends: set[PendingSend] = set()
        self._streams: set[Silent] = set()
        self._timer: Timer | None = None

    def add(self, stream: Silent) -> None:
        """Call `stream.tick` every second."""
        self._wind_up()
        self._streams.add(stream)

    def discard(self, stream: Silent) -> None:
        """Call it no more."""
        self._streams.discard(stream)

    @types.coroutine
    def within(
        self, seconds: float | None, first: Any, steps: Generator[Any, Any, T], expire: Callable[[], object]
    ) -> Generator[Any, Any, T]:
        """Await the rest of a send; past `seconds`, two ticks later at most, call `expire`, raise SlowClient.

        Its first step was taken by hand, and gave `first`: nearly every send ends with that, since the
        server has room. To watch it all the same cost a third of what an event costs.
        """
        if seconds is None:
            return (yield from go_on(first, steps))
        self._wind_up()
        pending = PendingSend(self.now + TICK + seconds, expire)  # `now` is up to a tick old
        self._sends.add(pending)
        try:
            return (yield from pending.wait(go_on(first, steps), SlowClient).__await__())
        finally:
            self._sends.discard(pending)

    def _wind_up(self) -> None:
        if self._timer is None:
            self.now = _clock.clock.time()
            self._timer = _clock.clock.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._sends and not self._streams:
            return
        self._wind_up()
        for pending in [pending for pending in self._sends if pending.deadline < self.now]:
            pending.expire()
            pending()
        for stream in list(self._streams):
            stream.tick(self.now)


@types.coroutine
def go_on(step: Any, steps: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await the rest of an await whose first step was taken by hand, and gave `step`."""
    while True:
        try:
            try:
                yield step
            except BaseException as error:
                if not hasattr(steps, "throw"):  # as what granian's send gives: an iterator, no generator
                    raise
                step = steps.throw(error)
            else:
                step = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


_tickers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Ticker] = weakref.WeakKeyDictionary()


def ticker(loop: asyncio.AbstractEventLoop | None = None) -> Ticker:
    """Return the ticker of the running event loop, which a caller may know."""
    if loop is None:
        loop = asyncio.get_running_loop()
    found = _tickers.get(loop)
    if found is None:
        found = _tickers[loop] = Ticker()
    return found
