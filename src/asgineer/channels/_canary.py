"""A heartbeat that an engine sends itself, since client libraries fail silently.

Every five seconds it goes the whole way that messages go: out on the connection that publishes, in
on the one that listens. One that is fifteen seconds late counts as a lost connection. The engine
gives what sends one, and says when one was heard; what to do about a late one is its own matter.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from .. import _clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .._clock import Timer

PERIOD = 5.0  # seconds between two heartbeats
LATE = 15.0  # seconds without any, after which the connection counts as lost


class Canary:
    """The heartbeat of one connected engine.

    Args:
        send: sends one; a failure of it needs no telling, the silence tells.
        late: called once, with the reason, when none was heard for `LATE` seconds; then it has stopped.
    """

    def __init__(self, send: Callable[[], Awaitable[object]], late: Callable[[str], object]) -> None:
        self._send = send
        self._late = late
        self._heard = 0.0
        self._timer: Timer | None = None
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with a first heartbeat now; to be called when the engine listens."""
        self.stop()
        self._heard = _clock.clock.time()
        self._beat()

    def heard(self) -> None:
        """Note that a heartbeat of ours came back."""
        self._heard = _clock.clock.time()

    def stop(self) -> None:
        """Send no more, and call `late` no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _beat(self) -> None:
        silent = _clock.clock.time() - self._heard
        if silent >= LATE:
            self.stop()
            self._late(f"no heartbeat came back for {silent:.0f} s")
            return
        if self._sending is None or self._sending.done():  # one that hangs is as good as none
            self._sending = asyncio.get_running_loop().create_task(self._send_one())
        self._timer = _clock.clock.call_later(PERIOD, self._beat)

    async def _send_one(self) -> None:
        with contextlib.suppress(Exception):  # the silence that follows is what tells
            await self._send()
