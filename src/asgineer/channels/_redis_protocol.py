"""What goes over a connection to Redis: commands into bytes, bytes into replies (RESP 2). Pure.

The library reads replies one by one, each through several coroutines that wait for a line; here all
that has come is taken at once, and what is not whole yet is kept: a message of pub/sub costs a tenth.
Values are bytes, int, None and lists of them; an error that the server replied is a value, too. What
they mean is `_redis_wire`'s matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Word = str | bytes | int

MAX_HEAD = 65536  # bytes of a line: a number, a status or an error


class Garbled(Exception):
    """What came is none of the protocol."""


def pack_commands(commands: Iterable[Sequence[Word]]) -> bytes:
    """Return commands, each some words, as they are sent."""
    parts: list[bytes] = []
    for words in commands:
        parts.append(b"*%d\r\n" % len(words))
        for word in words:
            raw = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


class Replies:
    """The replies of one connection, in order.

    Args:
        make_error: makes the value of an error out of its text.
    """

    def __init__(self, make_error: Callable[[str], Exception]) -> None:
        self._make_error = make_error
        self._kept: list[bytes] = []  # of a value that is not whole
        self._missing = 0  # bytes that it needs at least
        self._lists: list[tuple[list[Any], int]] = []  # those that are not whole, and their sizes

    def feed(self, data: bytes) -> list[Any]:
        """Take what came, and return the replies that are whole now.

        Raises:
            Garbled: it can't be read.
        """
        self._kept.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return []
        data = b"".join(self._kept) if len(self._kept) > 1 else data
        replies: list[Any] = []
        at = 0
        try:
            while (place := self._read_one(data, at, replies)) > 0:
                at = place
        except ValueError:
            raise Garbled(f"Redis sent {data[at : at + 40]!r}, which is none of its protocol") from None
        self._kept = [data[at:]] if at < len(data) else []
        return replies

    def _read_one(self, data: bytes, at: int, replies: list[Any]) -> int:
        """Read the value at a place, and return where the next one begins; 0 when it is not whole."""
        end = data.find(b"\r\n", at, at + MAX_HEAD)
        if end < 0:
            if len(data) - at >= MAX_HEAD:
                raise ValueError
            self._missing = 1
            return 0
        kind, value, after = data[at : at + 1], data[at + 1 : end], end + 2
        if kind == b"$":
            if (size := int(value)) < 0:
                return self._place(None, after, replies)
            if len(data) < after + size + 2:
                self._missing = after + size + 2 - len(data)
                return 0
            return self._place(data[after : after + size], after + size + 2, replies)
        if kind == b"*":
            if (count := int(value)) > 0:
                self._lists.append(([], count))
                return after
            return self._place([] if count == 0 else None, after, replies)
        return self._place(self._plain(kind, value), after, replies)

    def _plain(self, kind: bytes, value: bytes) -> Any:
        if kind == b":":
            return int(value)
        if kind == b"+":
            return value
        if kind == b"-":
            return self._make_error(value.decode("utf-8", "replace"))
        raise ValueError

    def _place(self, value: Any, after: int, replies: list[Any]) -> int:
        """Put a value into the list that it is of, or among the replies."""
        while self._lists:
            values, count = self._lists[-1]
            values.append(value)
            if len(values) < count:
                return after
            self._lists.pop()
            value = values
        replies.append(value)
        return after
