"""A bounded log: what is retained of a channel, in order, and where it begins and ends. Pure.

It covers the offsets after `floor` up to `last`: every message in between is in it, or never was.
It is bounded by number, by bytes and by the age of each message; what falls off raises the floor.
Cursors keep an index that counts from the log's first day, so they need no telling when it shrinks.
No clock here: the time is given. Nothing is looked for while the log is far from its bounds: they
are three comparisons, and the oldest message's memory isn't touched.

What is retained are plain values, flat in one deque: objects would count for the garbage collector,
which would begin again and again to look at all that is young, with many channels the most of what a
message costs. Messages are made when they are taken; those that several take are shared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any

from ._message import Message
from ._position import prefix_of, tag_of

if TYPE_CHECKING:
    from asyncio import Future

    Item = tuple[int, str, bytes, float]  # offset, kind, data, and when it is too old

WIDTH = 4  # values of an item


class Log:
    """The retained messages of one channel.

    Attributes:
        channel: whose messages they are.
        epoch: which log it is.
        prefix: what stands before the offset in its positions.
        floor: the offset after which nothing is missing.
        last: the offset of the newest message, or where the log was found to end.
        start: the index of the oldest.
        end: the index after the newest.
        count: how many messages it retains.
        origin_until: the time up to which everything that is retained anywhere is here.
        is_over: another log has taken its place.
        waiting: the futures of those who wait for the next message, of this log and the one after it.
    """

    # Those who wait, and whether it is over, are here and not in the hub alone, so that whoever takes a
    # message touches one object less: with many channels, that is what each of them costs.

    __slots__ = (
        "_due",
        "_made",
        "_max_bytes",
        "_size",
        "_values",
        "channel",
        "count",
        "end",
        "epoch",
        "is_over",
        "floor",
        "last",
        "origin_until",
        "prefix",
        "start",
        "waiting",
    )

    def __init__(
        self,
        channel: str,
        epoch: str,
        floor: int,
        max_bytes: int,
        count: int,
        waiting: set[Future[None]] | None = None,
    ) -> None:
        self.channel = channel
        self.epoch = epoch
        self.prefix = prefix_of(epoch, tag_of(channel))
        self.floor = floor
        self.last = floor
        self.start = 0
        self.end = 0
        self.count = count
        self.origin_until = 0.0
        self.is_over = False
        self.waiting: set[Future[None]] = set() if waiting is None else waiting
        self._values: deque[Any] = deque()  # of all items, oldest first
        self._made: dict[int, Message] = {}  # what several take, by its index
        self._due = inf  # when the oldest is too old
        self._size = 0
        self._max_bytes = max_bytes

    def append(self, item: Item, now: float) -> None:
        """Add the newest message, and drop what is out of bounds at `now`."""
        self.last, _, raw, expires = item
        self._values.extend(item)
        self._size += len(raw)
        end = self.end = self.end + 1
        if expires < self._due:
            self._due = expires
        if self._due <= now or end - self.start > self.count or self._size > self._max_bytes:
            self.trim(now)

    def skip(self, offset: int) -> None:
        """Go on to `offset`, where there is nothing to deliver."""
        self.last = offset

    def message(self, index: int, *, is_shared: bool) -> Message:
        """Return the message at an index that is there, of those that `is_shared` always the same one."""
        made = self._made.get(index) if is_shared else None
        if made is None:
            values, at = self._values, (index - self.start) * WIDTH
            made = Message(self.channel, self.prefix, values[at], values[at + 1], values[at + 2])
            if is_shared:
                self._made[index] = made
        return made

    def item(self, index: int) -> Item:
        """Return what is retained at an index that is there."""
        at = (index - self.start) * WIDTH
        values = self._values
        return values[at], values[at + 1], values[at + 2], values[at + 3]

    def prepend(self, older: list[Item], floor: int) -> None:
        """Put older messages, which end where the log begins, before it."""
        for item in reversed(older):
            self._values.extendleft(reversed(item))
            self._size += len(item[2])
        self.start -= len(older)
        self.floor = floor
        self._look()

    def trim(self, now: float) -> None:
        """Drop what is too old at `now`, then what is over the number of messages or the bytes."""
        values, most = self._values, self.count * WIDTH
        while values and (values[3] <= now or len(values) > most):
            self._drop()
        while self._size > self._max_bytes and len(values) > WIDTH:  # the newest always stays
            self._drop()
            self.origin_until = 0.0
        self._look()

    def _look(self) -> None:
        self._due = self._values[3] if self._values else inf

    def _drop(self) -> None:
        take = self._values.popleft
        self.floor, _, raw, _ = take(), take(), take(), take()
        self._size -= len(raw)
        self._made.pop(self.start, None)
        self.start += 1

    def index_after(self, offset: int) -> int:
        """Return the index of the first message after `offset`; `end` when there is none."""
        values = self._values
        places = range(0, len(values), WIDTH)
        return self.start + bisect_right(places, offset, key=values.__getitem__)

    def covers(self, offset: int) -> bool:
        """Say whether every message after `offset` is here."""
        return self.floor <= offset <= self.last
