"""A bounded log: what is retained of a channel, in order, and where it begins and ends. Pure.

It covers the offsets after `floor` up to `last`: every message in between is in it, or never was.
It is bounded by number, by bytes and by the age of each message; what falls off raises the floor.
Cursors keep an index that counts from the log's first day, so they need no telling when it shrinks.
No clock here: the time is given. Nothing is looked for while the log is far from its bounds: they
are three comparisons, and the oldest message's memory isn't touched.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._message import Message

_offset = attrgetter("offset")


class Log:
    """The retained messages of one channel.

    Attributes:
        epoch: which log it is.
        floor: the offset after which nothing is missing.
        last: the offset of the newest message, or where the log was found to end.
        items: the messages, oldest first.
        start: the index of the oldest.
        end: the index after the newest.
        count: how many messages it retains.
        origin_until: the time up to which everything that is retained anywhere is here.
    """

    __slots__ = (
        "_due",
        "_max_bytes",
        "_size",
        "count",
        "end",
        "epoch",
        "floor",
        "items",
        "last",
        "origin_until",
        "start",
    )

    def __init__(self, epoch: str, floor: int, max_bytes: int, count: int) -> None:
        self.epoch = epoch
        self.floor = floor
        self.last = floor
        self.items: deque[Message] = deque()
        self.start = 0
        self.end = 0
        self.count = count
        self.origin_until = 0.0
        self._due = inf  # when the oldest is too old
        self._size = 0
        self._max_bytes = max_bytes

    def append(self, message: Message, now: float) -> None:
        """Add the newest message, and drop what is out of bounds at `now`."""
        items = self.items
        if not items:
            self._due = message.expires
        items.append(message)
        self._size += len(message.raw)
        self.last = message.offset
        self.end += 1
        if self._due <= now or len(items) > self.count or self._size > self._max_bytes:
            self.trim(now)

    def skip(self, offset: int) -> None:
        """Go on to `offset`, where there is nothing to deliver."""
        self.last = offset

    def prepend(self, messages: Sequence[Message], floor: int) -> None:
        """Put older messages, which end where the log begins, before it."""
        self.items.extendleft(reversed(messages))
        self._size += sum([len(message.raw) for message in messages])
        self.start -= len(messages)
        self.floor = floor
        self._look()

    def trim(self, now: float) -> None:
        """Drop what is too old at `now`, then what is over the number of messages or the bytes."""
        items = self.items
        while items and (items[0].expires <= now or len(items) > self.count):
            self._drop()
        while self._size > self._max_bytes and len(items) > 1:  # the newest always stays
            self._drop()
            self.origin_until = 0.0
        self._look()

    def _look(self) -> None:
        self._due = self.items[0].expires if self.items else inf

    def _drop(self) -> None:
        dropped = self.items.popleft()
        self.floor = dropped.offset
        self._size -= len(dropped.raw)
        self.start += 1

    def index_after(self, offset: int) -> int:
        """Return the index of the first message after `offset`; `end` when there is none."""
        return self.start + bisect_right(self.items, offset, key=_offset)

    def covers(self, offset: int) -> bool:
        """Say whether every message after `offset` is here."""
        return self.floor <= offset <= self.last
