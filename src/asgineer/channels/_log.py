"""A bounded log: what is retained of a channel, in order, and where it begins and ends. Pure.

It covers the offsets after `floor` up to `last`: every message in between is in it, or never was.
It is bounded by number, by bytes and by the age of each message; what falls off raises the floor.
Cursors keep an index that counts from the log's first day, so they need no telling when it shrinks.
No clock here: the time is given.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    class Placed(Protocol):
        """What has a place in a log."""

        offset: int


T = TypeVar("T", bound="Placed")

_offset = attrgetter("offset")


class Log(Generic[T]):
    """The retained messages of one channel.

    Attributes:
        epoch: which log it is.
        floor: the offset after which nothing is missing.
        last: the offset of the newest message, or where the log was found to end.
        items: the messages, oldest first.
        start: the index of the oldest.
        end: the index after the newest.
        origin_until: the time up to which everything that is retained anywhere is here.
    """

    __slots__ = (
        "_expires",
        "_max_bytes",
        "_size",
        "_sizes",
        "end",
        "epoch",
        "floor",
        "items",
        "last",
        "origin_until",
        "start",
    )

    def __init__(self, epoch: str, floor: int, max_bytes: int) -> None:
        self.epoch = epoch
        self.floor = floor
        self.last = floor
        self.items: deque[T] = deque()
        self.start = 0
        self.end = 0
        self.origin_until = 0.0
        self._sizes: deque[int] = deque()
        self._expires: deque[float] = deque()
        self._size = 0
        self._max_bytes = max_bytes

    def append(self, item: T, size: int, expires: float) -> None:
        """Add the newest message."""
        self.items.append(item)
        self._sizes.append(size)
        self._expires.append(expires)
        self._size += size
        self.last = item.offset
        self.end += 1

    def skip(self, offset: int) -> None:
        """Go on to `offset`, where there is nothing to deliver."""
        self.last = offset

    def prepend(self, items: Sequence[T], sizes: Sequence[int], floor: int, expires: float) -> None:
        """Put older messages, which end where the log begins, before it."""
        self.items.extendleft(reversed(items))
        self._sizes.extendleft(reversed(sizes))
        self._expires.extendleft([expires] * len(items))
        self._size += sum(sizes)
        self.start -= len(items)
        self.floor = floor

    def trim(self, now: float, count: int) -> None:
        """Drop what is too old at `now`, then what is over `count` messages or the bytes."""
        expires = self._expires
        while expires and (expires[0] <= now or len(expires) > count):
            self._drop()
        while self._size > self._max_bytes and len(expires) > 1:  # the newest always stays
            self._drop()
            self.origin_until = 0.0

    def _drop(self) -> None:
        self.floor = self.items.popleft().offset
        self._size -= self._sizes.popleft()
        self._expires.popleft()
        self.start += 1

    def index_after(self, offset: int) -> int:
        """Return the index of the first message after `offset`; `end` when there is none."""
        return self.start + bisect_right(self.items, offset, key=_offset)

    def covers(self, offset: int) -> bool:
        """Say whether every message after `offset` is here."""
        return self.floor <= offset <= self.last
