"""Which channels the engine is asked to tell: one task that makes what it tells what is wanted.

Joins of many channels go out in batches, however they come; listening and its end never overtake
each other. When the connection is lost nothing counts as listened to, and whoever waits is told.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .._log import log_error
from ..errors import ChannelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._engine import Engine

BATCH = 500  # channels in one call of the engine


class Listening:
    """What one engine is asked to tell."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._heard: set[str] = set()
        self._joining: dict[str, asyncio.Future[ChannelError | None]] = {}
        self._leaving: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._losses = 0

    async def listen(self, channel: str) -> None:
        """Return once every message of `channel` that is published from then on is told.

        Raises:
            ChannelError: the engine could not, or was lost meanwhile.
        """
        if channel in self._heard:
            self._leaving.discard(channel)
            return
        joined = self._joining.get(channel)
        if joined is None:
            joined = self._joining[channel] = asyncio.get_running_loop().create_future()
            self._start()
        error = await asyncio.shield(joined)
        if error is not None:
            raise ChannelError(str(error)) from error

    def unlisten(self, channels: Iterable[str]) -> None:
        """Have no more told of `channels`, soon."""
        self._leaving.update(self._heard.intersection(channels))
        self._start()

    def lose(self) -> None:
        """Take nothing as listened to: the connection was lost."""
        self._losses += 1
        self._heard.clear()
        self._leaving.clear()

    async def close(self) -> None:
        """Stop, and tell who waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._tell(list(self._joining), ChannelError("The bus was closed"))

    def _start(self) -> None:
        if self._task is None and (self._joining or self._leaving):
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        await asyncio.sleep(0)  # all that is asked in this turn goes out as one
        try:
            while self._joining or self._leaving:
                if self._joining:
                    await self._join(list(self._joining)[:BATCH])
                else:
                    await self._leave(list(self._leaving)[:BATCH])
        finally:
            self._task = None

    async def _join(self, channels: list[str]) -> None:
        losses = self._losses
        error = None
        try:
            await self._engine.listen(channels)
            if losses != self._losses:
                error = ChannelError("The connection was lost")
        except ChannelError as raised:
            error = raised
        except Exception as raised:  # a mistake of the engine; who waits must not wait for ever
            log_error(f"{type(raised).__name__} in the engine's listen", raised)
            error = ChannelError("The engine of the bus failed")
        if error is None:
            self._heard.update(channels)
            self._leaving.difference_update(channels)
        self._tell(channels, error)

    def _tell(self, channels: Iterable[str], error: ChannelError | None) -> None:
        for channel in channels:
            joined = self._joining.pop(channel)
            if not joined.done():
                joined.set_result(error)

    async def _leave(self, channels: list[str]) -> None:
        self._leaving.difference_update(channels)
        self._heard.difference_update(channels)
        try:
            await self._engine.unlisten(channels)
        except ChannelError:
            pass  # what it still tells finds nobody here
        except Exception as error:
            log_error(f"{type(error).__name__} in the engine's unlisten", error)
