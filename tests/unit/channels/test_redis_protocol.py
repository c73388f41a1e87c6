"""What goes over a connection to Redis: commands packed, replies read however the bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest

from asgineer.channels._redis_protocol import MAX_HEAD, Garbled, Replies, pack_commands


class Refused(Exception):
    """What stands for an error that the server replied."""


REPLIES: list[tuple[bytes, Any]] = [
    (b"+OK\r\n", b"OK"),
    (b":-7\r\n", -7),
    (b"$5\r\na\r\nb\x00\r\n", b"a\r\nb\x00"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$1\r\nx\r\n", [b"message", b"room", b"x"]),
    (b"*3\r\n*2\r\n:1\r\n*0\r\n+a\r\n*1\r\n*1\r\n$-1\r\n", [[1, []], b"a", [[None]]]),
    (b"$100000\r\n" + b"x" * 100_000 + b"\r\n", b"x" * 100_000),
]
ALL = b"".join(raw for raw, _ in REPLIES)


def test_commands_are_packed() -> None:
    packed = pack_commands([("SET", b"k\r\n", 12), ("GET", "ü")])
    assert packed == b"*3\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$2\r\n12\r\n*2\r\n$3\r\nGET\r\n$2\r\n\xc3\xbc\r\n"
    assert pack_commands([]) == b""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096, len(ALL)])
def test_replies_come_whole_however_they_are_cut(size: int) -> None:
    replies = Replies(Refused)
    found = [reply for at in range(0, len(ALL), size) for reply in replies.feed(ALL[at : at + size])]
    assert found == [value for _, value in REPLIES]


def test_an_error_is_a_value() -> None:
    found = Replies(Refused).feed(b"-NOSCRIPT no such\r\n*2\r\n-ERR \xff\r\n:1\r\n")
    assert [type(found[0]), str(found[0])] == [Refused, "NOSCRIPT no such"]
    assert [type(found[1][0]), found[1][1]] == [Refused, 1]


@pytest.mark.parametrize("raw", [b"HTTP/1.1 400\r\n", b":x\r\n", b"$\r\n", b"*a\r\n", b"+" + b"x" * MAX_HEAD])
def test_what_is_no_reply_is_told(raw: bytes) -> None:
    replies = Replies(Refused)
    assert replies.feed(b"+OK\r\n") == [b"OK"]
    with pytest.raises(Garbled, match="none of its protocol"):
        replies.feed(raw)
