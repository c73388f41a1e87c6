"""Byte ranges: a table of header values and what they come to."""

from __future__ import annotations

import time

import pytest

from asgineer._ranges import MAX_RANGE_HEADER, RangeNotSatisfiable, content_range, parse_range, select_range

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-5", (3, 6)),
        ("bytes=3-9", (3, 10)),
        ("bytes=3-10", (3, 10)),
        ("bytes=3-99999999999999999999999999", (3, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=-5", (5, 10)),
        ("bytes=-10", (0, 10)),
        ("bytes=-999999", (0, 10)),
        ("BYTES=007-8", (7, 9)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=0-,0-,0-", None),
        ("bytes=0-1,", None),
        ("bytes=\u0660-\u0669", None),
        ("bytes=+1-2", None),
        ("bytes=1_0-20", None),
        ("bytes= 1 - 2", None),
        ("bytes =1-2", None),
        ("bytes=1-2 ", None),
        ("bytes=1-2\n", None),
        ("chars=0-1", None),
        ("bytes=a-b", None),
        ("bytes=0x1-2", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=--5", None),
        ("bytes", None),
        ("", None),
    ],
)
def test_parse_range(value: str, part: tuple[int, int] | None) -> None:
    assert parse_range(value, 10) == part


@pytest.mark.parametrize("value", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"])
def test_outside(value: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(value, 10)
    assert caught.value.content_range == "bytes */10"


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=5-"])
def test_of_nothing(value: str) -> None:
    assert parse_range(value, 0) is None


def test_length_of_the_header() -> None:
    longest = "bytes=" + "0" * (MAX_RANGE_HEADER - len("bytes=-1")) + "-1"
    assert parse_range(longest, 10) == (0, 2)
    assert parse_range(longest.replace("-", "0-"), 10) is None


@pytest.mark.parametrize("piece", ["0-,", "1", "-", "0-0,1-1,"])
def test_linear(piece: str) -> None:
    start = time.process_time()
    assert parse_range("bytes=" + piece * (100_000 // len(piece)), 10) is None
    assert time.process_time() - start < 0.005


@pytest.mark.parametrize(
    ("method", "headers", "part"),
    [
        ("GET", {"range": "bytes=0-1"}, (0, 2)),
        ("HEAD", {"range": "bytes=0-1"}, None),
        ("POST", {"range": "bytes=0-1"}, None),
        ("GET", {}, None),
        ("GET", {"range": "bytes=0-1", "if-range": ETAG}, (0, 2)),
        ("GET", {"range": "bytes=0-1", "if-range": '"x"'}, None),
        ("GET", {"range": "bytes=99-", "if-range": '"x"'}, None),
        ("GET", {"if-range": ETAG}, None),
    ],
)
def test_select_range(method: str, headers: dict[str, str], part: tuple[int, int] | None) -> None:
    assert select_range(method, headers, 10, ETAG, None, 0) == part


def test_content_range() -> None:
    part = parse_range("bytes=2-", 10)
    assert part is not None
    assert content_range(part, 10) == "bytes 2-9/10"
