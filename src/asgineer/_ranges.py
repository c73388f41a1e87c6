"""Byte ranges of a representation, RFC 9110 section 14.

Pure: header values and a size in, a range out. Reading the bytes is somebody else's work. A
header that is not understood is ignored, as the RFC asks; only a range that lies wholly
outside is an error the client hears of.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ._conditional import allows_range

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RANGE_HEADER = 1024  # characters; no real client sends more than 50 for one range

# "bytes=1-9", "bytes=1-", "bytes=-9". ASCII digits only: int() alone would take "+1", "1_0" and "٣".
_ONE_RANGE = re.compile(r"[bB][yY][tT][eE][sS]=(?:([0-9]+)-([0-9]*)|-([0-9]+))")


class Range(NamedTuple):
    """Bytes from `start` up to, not including, `stop`; there is at least one."""

    start: int
    stop: int


class RangeNotSatisfiable(Exception):
    """The range lies outside the `size` bytes that there are: 416, with `content_range`."""

    def __init__(self, size: int) -> None:
        super().__init__(f"not within {size} bytes")
        self.content_range = f"bytes */{size}"


def parse_range(value: str, size: int) -> Range | None:
    """Return the one range of `size` bytes that a `Range` of `value` asks for, or None to send all of them.

    Several ranges are answered with the whole, which the RFC allows and which spares us the
    multipart format; so is a range of nothing (an empty file), whatever it asks for.

    Raises:
        RangeNotSatisfiable: the range starts at or after the end, or is the last 0 bytes.
    """
    match = _ONE_RANGE.fullmatch(value) if len(value) <= MAX_RANGE_HEADER else None
    if match is None or size == 0:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start = int(first)
        stop = min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None  # no range at all, RFC 9110 section 14.1.1
    if start >= size:
        raise RangeNotSatisfiable(size)
    return Range(start, stop)


def select_range(
    method: str, headers: Mapping[str, str], size: int, etag: str, modified: int | None, now: float
) -> Range | None:
    """Return the part that a request asks for, None for the whole.

    Args:
        headers: of the request, with lower-case names; Range counts with GET only, and as If-Range allows.
        size, etag, modified: of the representation that would be sent; `modified` and `now` are seconds
            since 1970, `modified` is None where nobody knows.

    Raises:
        RangeNotSatisfiable: as `parse_range`.
    """
    value = headers.get("range") if method == "GET" else None
    if value is None or not allows_range(headers, etag, modified, now):
        return None
    return parse_range(value, size)


def content_range(part: Range, size: int) -> str:
    """Return the value of Content-Range for `part` of `size` bytes."""
    return f"bytes {part.start}-{part.stop - 1}/{size}"
