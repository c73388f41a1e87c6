"""This process on a bus, in one event loop: the engine, the hubs of its channels, how it fares.

It is what the engine tells its news to. When the engine is lost, the hubs take nothing as whole;
when it is back, those with somebody in them listen and read again, in batches and a few at a time.
One timer looks for hubs that nobody uses; there is none while there are no hubs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _clock, _shutdown
from .._log import describe, escape, log_error, logger
from ..errors import ChannelError
from ._hub import WARM, Hub
from ._listening import Listening

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from .._clock import Timer
    from ._engine import Engine, Entry

SWEEP = 5.0  # seconds between two looks for hubs that nobody uses
RETRY = 1.0  # seconds until a log is read again that could not be, while the engine is there
READING = 32  # histories that are read at once
LOG_EVERY = 60.0  # seconds between two records about messages that were ignored


@dataclass(frozen=True)
class Status:
    """How a bus fares in this process; it has a JSON form, so a readiness probe can return it.

    Attributes:
        ok: the engine is there, or was not needed yet.
        state: "new" before the first use, then "up", "away" or "closed".
        why: what was wrong when it was lost last, or could not be opened; "" if nothing was.
        channels: how many this process listens to, or did within the last half minute.
        subscribers: how many cursors stand in them.
        ignored: messages that came in and were malformed, too big, or of another version.
        losses: how often the engine was lost.
    """

    ok: bool
    state: str
    why: str = ""
    channels: int = 0
    subscribers: int = 0
    ignored: int = 0
    losses: int = 0


class Node:
    """What one event loop has of a bus.

    Attributes:
        losses: how often the engine was lost.
        reading: at most so many histories are read at once.
        is_closing: the server begins to stop.
    """

    engine: Engine
    _listening: Listening

    def __init__(self, make_engine: Callable[[], Engine], max_message: int, max_log: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.max_message = max_message
        self.max_log = max_log
        self.hubs: dict[str, Hub] = {}
        self.losses = 0
        self.reading = asyncio.Semaphore(READING)
        self.state = "new"
        self.is_closing = False
        self._make_engine = make_engine
        self._why = ""
        self._ignored = 0
        self._logged = float("-inf")
        self._opening: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._timer: Timer | None = None
        self._notice: _shutdown.Notice | None = None

    # The engine

    async def ready(self) -> None:
        """Open the engine, if it is not open yet.

        Raises:
            ChannelError: it can't be, or the bus was closed.
        """
        while self.state == "new":
            if self._opening is None:
                self._opening = self.start(self._open())
            await asyncio.wait([self._opening])
            if self.state == "new":
                raise ChannelError(self._why)
        if self.state == "closed":
            raise ChannelError("The bus was closed")

    async def _open(self) -> None:
        engine = self._make_engine()
        try:
            await engine.open(self)
        except BaseException as error:
            self._why = describe(error)
            await engine.close()
            if not isinstance(error, ChannelError):
                raise
        else:
            self.engine = engine
            self._listening = Listening(engine)
            self.state = "up"
        finally:
            self._opening = None

    async def listen(self, channel: str) -> None:
        """Have the messages of `channel` told."""
        await self._listening.listen(channel)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something of ours in the background, until it ends or the bus is closed."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_error(f"{type(error).__name__} in a bus", error)

    # What it tells

    def message(self, channel: str, epoch: str, entry: Entry) -> None:
        """Take a live message."""
        hub = self.hubs.get(channel)
        if hub is not None:
            hub.take(epoch, entry)

    def ignored(self, channel: str, why: str) -> None:
        """Count a message that is of no use, and log one a minute."""
        self._ignored += 1
        now = _clock.clock.time()
        if now - self._logged >= LOG_EVERY:
            self._logged = now
            logger.warning(
                "A message of channel %s was ignored: %s (%d so far)",
                escape(channel),
                escape(why),
                self._ignored,
            )

    def lost(self, why: BaseException | str) -> None:
        """Take nothing as whole any more."""
        self.losses += 1
        self._why = describe(why) if isinstance(why, BaseException) else escape(why)
        self._listening.lose()
        for hub in self.hubs.values():
            hub.lose()
        if self.state == "up":
            self.state = "away"
            logger.warning("The engine of the bus is lost: %s", self._why)

    def back(self) -> None:
        """Listen again where somebody listened, and read what is missing."""
        if self.state == "away":
            self.state = "up"
            logger.warning("The engine of the bus is back")
        for hub in self.hubs.values():
            if hub.users:
                hub.heal()

    def heal_later(self, hub: Hub) -> None:
        """Try again in a while to make the log of `hub` whole, unless the engine is to come back first."""

        def heal() -> None:
            if self.state == "up" and hub.users:
                hub.heal()

        if self.state == "up" and hub.users:
            _clock.clock.call_later(RETRY, heal)

    # Hubs

    def hub(self, channel: str, history: int, ttl: float) -> Hub:
        """Return the hub of `channel`, for somebody who is about to stand in it."""
        hub = self.hubs.get(channel)
        if hub is None:
            hub = self.hubs[channel] = Hub(self, channel, history, ttl)
            if self._timer is None:
                self._timer = _clock.clock.call_later(SWEEP, self._sweep)
        else:
            hub.widen(history, ttl)
        return hub

    def _sweep(self) -> None:
        """Drop what is too old, and hubs that nobody has used for a while."""
        now = _clock.clock.time()
        cold = []
        for hub in self.hubs.values():
            hub.trim()
            if hub.users:
                hub.left = None
            elif hub.left is None:
                hub.left = now
            elif now - hub.left >= WARM:
                cold.append(hub.name)
        for name in cold:
            del self.hubs[name]
        if cold:
            self._listening.unlisten(cold)
        self._timer = _clock.clock.call_later(SWEEP, self._sweep) if self.hubs else None

    # The end

    def attend(self) -> None:
        """Have those who wait woken when the server begins to stop."""
        notice = _shutdown.notice()
        if notice is not self._notice:
            if self._notice is not None:
                self._notice.discard(self._begin_to_close)
            self._notice = notice
            self.is_closing = notice.begun
            notice.add(self._begin_to_close)

    def _begin_to_close(self) -> None:
        self.is_closing = True
        self._wake_all()

    def _wake_all(self) -> None:
        for hub in list(self.hubs.values()):
            hub.wake()

    async def close(self) -> None:
        """End everything; who waits is told."""
        opened = self.state in ("up", "away")
        self.state = "closed"
        if self._timer is not None:
            self._timer.cancel()
        if self._notice is not None:
            self._notice.discard(self._begin_to_close)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._wake_all()
        if opened:
            await self._listening.close()
            await self.engine.close()

    def abandon(self) -> None:
        """Count as closed: another event loop has taken over, and this one can't be waited in."""
        self.state = "closed"

    @property
    def status(self) -> Status:
        """How the bus fares."""
        subscribers = sum([hub.users for hub in self.hubs.values()])
        is_ok = self.state == "up" or (self.state == "new" and not self._why)
        return Status(is_ok, self.state, self._why, len(self.hubs), subscribers, self._ignored, self.losses)
