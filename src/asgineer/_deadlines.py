"""What takes too long on the connections of `_uvicorn`: one timer per event loop, none per connection.

Once a second it looks at all of them: past its deadline a connection is told, and one whose client
takes nothing of what was written is aborted. Its `now` is the time of the last tick, so a deadline
costs no look at the clock, and may come up to two seconds late.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Protocol

from . import _clock
from ._h1 import Openings

if TYPE_CHECKING:
    import asyncio

    from ._clock import Timer

TICK = 1.0  # seconds
WRITE_TIMEOUT = 30  # seconds in which a client takes not one byte of what was written
NEVER = float("inf")


class Timed(Protocol):
    """A connection, as far as it can take too long.

    Attributes:
        deadline: by the clock, NEVER for none.
        transport: None until it is connected.
    """

    deadline: float
    transport: asyncio.Transport

    def expire(self) -> None:
        """Called when the deadline is over."""


class Deadlines:
    """The connections of one event loop, and what they share.

    Attributes:
        now: the time of the last tick, in seconds of the clock.
        openings: how the heads of responses begin.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.openings = Openings()
        self._connections: set[Timed] = set()
        self._slow: dict[Timed, tuple[int, float]] = {}  # the bytes that are left, and since when
        self._timer: Timer | None = None

    def add(self, connection: Timed) -> None:
        """Look after a connection."""
        self._connections.add(connection)
        if self._timer is None:
            self._wind_up()

    def discard(self, connection: Timed) -> None:
        """Forget it."""
        self._connections.discard(connection)
        self._slow.pop(connection, None)

    def after(self, seconds: float) -> float:
        """Return the deadline that is `seconds` from now: `now` is up to a tick old, so a tick later."""
        return self.now + seconds + TICK

    def watch(self, connection: Timed) -> None:
        """Abort the connection when its client takes nothing for WRITE_TIMEOUT."""
        self._slow[connection] = (connection.transport.get_write_buffer_size(), self.after(WRITE_TIMEOUT))

    def unwatch(self, connection: Timed) -> None:
        """Its client takes enough."""
        self._slow.pop(connection, None)

    def _wind_up(self) -> None:
        self.now = _clock.clock.time()
        self._timer = _clock.clock.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if not self._connections:
            return
        self._wind_up()
        for connection in [each for each in self._connections if each.deadline < self.now]:
            connection.expire()
        for connection, (left, deadline) in list(self._slow.items()):
            if connection.transport.get_write_buffer_size() != left:
                self.watch(connection)
            elif deadline < self.now:
                connection.transport.abort()


_deadlines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines] = weakref.WeakKeyDictionary()


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """Return the deadlines of an event loop."""
    found = _deadlines.get(loop)
    if found is None:
        found = _deadlines[loop] = Deadlines()
    return found
