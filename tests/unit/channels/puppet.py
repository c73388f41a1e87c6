"""An engine that does what a test says: what it retains, what it tells, when it answers and fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asgineer import Bus
from asgineer.channels._engine import Entry, History

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgineer.channels._engine import Engine, Listener


class Puppet:
    """One channel's log, whatever the channel.

    Attributes:
        entries, epoch, first, last: what `history` answers from.
        calls: what was asked, in order.
        failing: the names of methods, and what they raise.
        gate: `history` waits for it.
        page: so many entries in one answer.
        tells: `publish` tells the message, as live ones come.
    """

    logs = None

    def __init__(self) -> None:
        self.epoch = "e"
        self.entries: list[Entry] = []
        self.first = 1
        self.last = 0
        self.calls: list[tuple[str, object]] = []
        self.failing: dict[str, BaseException] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.page = 1000
        self.tells = True
        self.is_open = False

    async def open(self, listener: Listener) -> None:
        self._note("open", None)
        self.listener = listener
        self.is_open = True

    async def publish(
        self, channel: str, kind: str, data: bytes, *, history: int, ttl: float, key: str | None
    ) -> tuple[str, int]:
        self._note("publish", data)
        entry = self.add(data, kind)
        if self.tells:
            self.tell(channel, entry)
        return self.epoch, entry.offset

    async def history(
        self, channel: str, after: int | None, limit: int, *, history: int, ttl: float
    ) -> History:
        self._note("history", after)
        found = [entry for entry in self.entries if after is not None and entry.offset > after][: self.page]
        complete = not found or found[-1] is self.entries[-1]
        answer = History(self.epoch, found, self.first, self.last, complete)
        await self.gate.wait()
        return answer

    async def listen(self, channels: Sequence[str]) -> None:
        self._note("listen", sorted(channels))
        await asyncio.sleep(0)

    async def unlisten(self, channels: Sequence[str]) -> None:
        self._note("unlisten", sorted(channels))

    async def close(self) -> None:
        self.is_open = False

    def _note(self, name: str, what: object) -> None:
        self.calls.append((name, what))
        if name in self.failing:
            raise self.failing[name]

    # What a test does

    def add(self, data: bytes, kind: str = "t", previous: int | None = None) -> Entry:
        """Add a message that nobody is told of."""
        self.last += 1
        entry = Entry(self.last, kind, data, previous)
        self.entries.append(entry)
        return entry

    def tell(self, channel: str, entry: Entry) -> None:
        self.listener.message(channel, self.epoch, entry)

    def retain(self, count: int) -> None:
        """Drop all but the newest."""
        self.entries = self.entries[-count:] if count else []
        self.first = self.last + 1 - len(self.entries)

    def start_anew(self, epoch: str) -> None:
        """Be another log, which is empty."""
        self.epoch = epoch
        self.entries, self.first, self.last = [], 1, 0

    def asked(self, name: str) -> list[object]:
        """Return with what a method was called."""
        return [what for called, what in self.calls if called == name]


class PuppetBus(Bus):
    """A bus whose engine is a puppet."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Puppet()

    def _make_engine(self) -> Engine:
        return self.engine
