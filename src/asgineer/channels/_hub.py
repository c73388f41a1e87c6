"""One channel in this process: its log, who waits for the next message, and how the log is kept whole.

    nobody there → listen → read history → live: each message is the next one, or a gap
                     ↑                       │
                     └── lost, gap, another epoch

Listening begins before history is read, and what comes meanwhile waits; then both are merged by
offset, and the run is checked. There is one read at a time, for all who ask: who comes while one is
going waits for the next. A log that can't be continued is replaced by another one, and the cursors,
which find that it isn't theirs, begin with a reset.

Cursors are `_cursor`'s, the engine is `_node`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from .. import _clock
from .._log import log_error
from ..errors import ChannelError
from ._log import Log
from ._message import check_entry
from ._position import tag_of

if TYPE_CHECKING:
    from ._engine import Entry
    from ._memory import OwnLog
    from ._node import Node

PAGE = 500  # entries that are asked for at a time
TRIES = 5  # reads until live and history fit together; one is the rule
WARM = 30.0  # seconds that the hub stays after its last subscriber left, so that who comes back finds the log


class Run(NamedTuple):
    """What was read of a log: everything after `floor`, up to `last`; `is_all`: all that is retained."""

    epoch: str
    floor: int
    last: int
    is_all: bool
    entries: list[Entry]


class Hub:
    """One channel in this process.

    Attributes:
        log: what is known of it, None before the first read.
        users: how many cursors stand in it.
        left: when the last of them left; None is not looked at yet.
        waiting: the futures of those who wait for the next message.
        is_sure: live messages come, and none is missing.
    """

    __slots__ = (
        "_begun",
        "_done",
        "_early",
        "_early_size",
        "_published",
        "_reading",
        "_wanted",
        "history",
        "is_sure",
        "left",
        "log",
        "name",
        "node",
        "tag",
        "ttl",
        "users",
        "waiting",
    )

    def __init__(self, node: Node, name: str, history: int, ttl: float) -> None:
        self.node = node
        self.name = name
        self.tag = tag_of(name)
        self.history = history
        self.ttl = ttl
        self.log: Log | None = None
        self.users = 0
        self.left: float | None = None
        self.waiting: set[asyncio.Future[None]] = set()
        self.is_sure = False
        self._published = 0  # the newest offset from here; live may not have brought it yet
        self._early: deque[tuple[str, Entry]] | None = None  # what came live while history is read
        self._early_size = 0  # bytes
        self._wanted: list[int] = []  # what the next read is to begin after
        self._begun = 0  # reads
        self._done = 0
        self._reading: asyncio.Future[ChannelError | None] | None = None

    def widen(self, history: int, ttl: float) -> None:
        """Retain as much as the most that somebody asks for."""
        self.history = max(self.history, history)
        self.ttl = max(self.ttl, ttl)
        if self.log is not None and self.log.count < history:
            self.log.count = history

    # Who reads

    async def current(self) -> Log:
        """Return the log, sure to be whole up to now."""
        log = self.log
        while log is None or not self.is_sure:
            await self._read_anew(None)
            log = self.log
        self.trim()
        return log

    async def origin(self) -> Log:
        """Return the log, with all that is retained anywhere."""
        log = self.log
        if log is None or not self.is_sure or _clock.clock.time() >= log.origin_until:
            await self._read_anew(0)
            log = self.log
            assert log is not None
        self.trim()
        return log

    async def covers(self, epoch: str, offset: int) -> bool:
        """Say whether every message after `offset` is in the log, once it has been looked for."""
        self.trim()
        if self._covers_now(epoch, offset):
            return True
        await self._read_anew(offset)
        return self._covers_now(epoch, offset)

    def _covers_now(self, epoch: str, offset: int) -> bool:
        log = self.log
        if log is None or log.epoch != epoch:
            return False
        return log.floor <= offset <= max(log.last, self._published)

    def end(self) -> int:
        """Return the offset where the log ends, as far as this process knows."""
        assert self.log is not None
        return max(self.log.last, self._published)

    def position(self) -> str:
        """Return `end` as clients know it."""
        assert self.log is not None
        return f"{self.log.prefix}{self.end()}"

    async def fetch_published(self) -> None:
        """Fetch what was published from here, where live has not brought it yet."""
        if self.log is not None and self._published > self.log.last:
            await self._read_anew(None)

    def note_published(self, epoch: str, offset: int) -> None:
        """Note a message that was published from here."""
        if self.log is not None and self.log.epoch == epoch:
            self._published = max(self._published, offset)

    def trim(self) -> None:
        """Drop what is out of bounds."""
        if self.log is not None:
            self.log.trim(_clock.clock.time())

    def wake(self) -> None:
        """Wake all who wait."""
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()

    # What comes in

    def take(self, epoch: str, entry: Entry) -> None:
        """Take a live message."""
        if self._early is not None:
            self._early.append((epoch, entry))
            self._early_size += len(entry.data)
            while len(self._early) > self.history or self._early_size > self.node.max_log:
                self._early_size -= len(self._early.popleft()[1].data)  # a gap, so it is read again
            return
        log = self.log
        if log is None or not self.is_sure:
            return  # the next read brings it
        if epoch == log.epoch:
            if entry.offset <= log.last:
                return
            if _previous(entry) <= log.last:
                self._add(log, entry, self.ttl)
                self.wake()
                return
        self.is_sure = False
        self._keep_early((epoch, entry))
        self.heal()

    def _keep_early(self, *first: tuple[str, Entry]) -> None:
        """Begin to keep what comes live until history was read."""
        self._early = deque(first)
        self._early_size = sum([len(entry.data) for _, entry in first])

    def _add(self, log: Log, entry: Entry, seconds: float) -> None:
        """Put the next message into the log, for so many seconds at most."""
        now = _clock.clock.time()
        if self._is_good(entry):
            log.append((entry.offset, entry.kind, entry.data, now + seconds), now)
        else:
            log.skip(entry.offset)

    def _is_good(self, entry: Entry) -> bool:
        """Say whether an entry can be read; one that can't is counted."""
        try:
            check_entry(entry, self.node.max_message)
        except ValueError as error:
            self.node.ignored(self.name, str(error))
            return False
        return True

    def lose(self) -> None:
        """Take it that live messages are missing from now on."""
        self.is_sure = False

    def heal(self) -> None:
        """Read what is missing, without waiting for it."""
        if not self.is_sure and self._reading is None:
            self._start_reading()

    # How it is made whole

    async def _read_anew(self, after: int | None) -> None:
        """Wait for a read that begins after now, from `after` on; None only asks where the log ends.

        Raises:
            ChannelError: it could not be read.
        """
        logs = self.node.engine.logs
        if logs is not None:
            await self.node.listen(self.name)
            log = logs.get(self.name)
            if log is None:
                raise ChannelError("The bus was closed")
            self._adopt(log)
            return
        if after is not None:
            self._wanted.append(after)
        needed = self._begun + 1
        while self._done < needed:
            error = await asyncio.shield(self._reading or self._start_reading())
            if error is not None:
                raise ChannelError(str(error)) from error

    def _start_reading(self) -> asyncio.Future[ChannelError | None]:
        self._reading = asyncio.get_running_loop().create_future()
        self.node.start(self._work(self._reading))
        return self._reading

    async def _work(self, reading: asyncio.Future[ChannelError | None]) -> None:
        """Make the log whole, and tell those who wait how that went."""
        error: ChannelError | None = ChannelError("The bus was closed")
        try:
            await self._make_whole()
            error = None
        except ChannelError as raised:
            error = raised
        except Exception as raised:
            log_error(f"{type(raised).__name__} while channel {self.name} was read", raised)
            error = ChannelError("The engine of the bus failed")
        finally:
            self._reading = self._early = None
            reading.set_result(error)
            if error is not None:
                self._wanted.clear()
                self.node.heal_later(self)

    async def _make_whole(self) -> None:
        losses = self.node.losses
        if not self.is_sure and self._early is None:
            self._keep_early()
        await self.node.listen(self.name)
        for _ in range(TRIES):
            self._begun += 1
            number = self._begun
            before = 0 if self.log is None else self.log.last
            run = await self._read(self._next_after())
            if losses != self.node.losses:
                raise ChannelError("The connection was lost")
            self._merge(run, before)
            if self._merge_early():
                self._done = number
                self.is_sure = True
                self.wake()
                return
        raise ChannelError(f"The live messages of channel {self.name} don't fit its history")

    def _adopt(self, log: OwnLog) -> None:
        """Take the log of an engine in this process as it is: it is whole at any time."""
        log.count = max(log.count, self.history)
        log.origin_until = inf
        self.log = log
        log.waiting |= self.waiting
        self.waiting = log.waiting
        self.is_sure = True

    def _next_after(self) -> int | None:
        wanted, self._wanted = self._wanted, []
        if self.log is not None:
            wanted.append(self.log.last)
        return min(wanted) if wanted else None

    async def _read(self, after: int | None) -> Run:
        """Read all that is retained after `after`."""
        run: Run | None = None
        while True:
            async with self.node.reading:
                page = await self.node.engine.history(
                    self.name, after, PAGE, history=self.history, ttl=self.ttl
                )
            entries = page.entries
            if after is None:
                return Run(page.epoch, page.last, page.last, page.last == 0, [])
            is_whole = page.first - 1 <= after or (bool(entries) and _previous(entries[0]) <= after)
            if run is None or page.epoch != run.epoch or not is_whole:  # what was read before is of no use
                floor = min(after, page.last) if is_whole else page.first - 1
                run = Run(page.epoch, floor, page.last, after == 0 or not is_whole, entries)
            else:
                run = run._replace(last=page.last, entries=run.entries + entries)
            if page.complete or not entries:
                return run
            after = entries[-1].offset

    def _merge(self, run: Run, before: int) -> None:
        """Bring what was read into the log; `before` is where that ended when the read began."""
        seconds = min(self.ttl, WARM)  # how old it is nobody knows, and the engine has it for longer
        log = self.log
        if log is None or log.epoch != run.epoch or run.last < before or run.floor > log.last:
            log = self._begin(run)
        elif run.floor < log.floor <= run.last:
            self._prepend(log, run, seconds)
        if run.is_all and log.floor <= run.floor:
            log.origin_until = _clock.clock.time() + seconds
        for entry in run.entries:
            if entry.offset > log.last:
                self._add(log, entry, seconds)
        self.trim()

    def _begin(self, run: Run) -> Log:
        """Begin another log: whoever stands in the old one is told."""
        if self.log is not None:
            self.log.is_over = True
        log = self.log = Log(self.name, run.epoch, run.floor, self.node.max_log, self.history, self.waiting)
        self._published = 0
        return log

    def _prepend(self, log: Log, run: Run, seconds: float) -> None:
        """Put what is older than the log before it."""
        expires = _clock.clock.time() + seconds
        older = [entry for entry in run.entries if entry.offset <= log.floor and self._is_good(entry)]
        log.prepend([(entry.offset, entry.kind, entry.data, expires) for entry in older], run.floor)

    def _merge_early(self) -> bool:
        """Add what came while history was read; say whether it went on from there."""
        early = self._early
        log = self.log
        if early is None or log is None:
            return True
        self._keep_early()
        fits = True
        for epoch, entry in early:
            fits = epoch == log.epoch
            if fits and entry.offset > log.last:
                if _previous(entry) > log.last:
                    return False
                self._add(log, entry, self.ttl)
        return fits


def _previous(entry: Entry) -> int:
    """Return the offset of the message before `entry`."""
    return entry.offset - 1 if entry.previous is None else entry.previous
