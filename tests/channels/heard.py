"""What an engine told: a listener that keeps it, and waits for it without sleeping."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgineer.channels._engine import Entry

PATIENCE = 20.0  # seconds


class Heard:
    """The listener of an engine under test.

    Attributes:
        messages: (channel, epoch, offset, data) of each live message.
        ignored: (channel, why) of each that wasn't one.
        turns: "lost" and "back", in their order.
        reasons: why it was lost, each time.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, int, bytes]] = []
        self.bad: list[tuple[str, str]] = []
        self.turns: list[str] = []
        self.reasons: list[BaseException | str] = []
        self._more = asyncio.Event()

    def message(self, channel: str, epoch: str, entry: Entry) -> None:
        self.messages.append((channel, epoch, entry.offset, entry.data))
        self._more.set()

    def ignored(self, channel: str, why: str) -> None:
        self.bad.append((channel, why))
        self._more.set()

    def lost(self, why: BaseException | str) -> None:
        self.turns.append("lost")
        self.reasons.append(why)
        self._more.set()

    def back(self) -> None:
        self.turns.append("back")
        self._more.set()

    @property
    def data(self) -> list[bytes]:
        """The data of the live messages."""
        return [data for _, _, _, data in self.messages]

    async def until(self, condition: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait until it is so; it is looked at whenever something was told."""
        async with asyncio.timeout(patience):
            while not condition():
                self._more.clear()
                await self._more.wait()
