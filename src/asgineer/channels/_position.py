"""Positions: where a subscriber is in a log, as text that clients carry. Pure.

A position is `epoch.offset`, a vector of them (of several channels) is joined by "~"; all of it is
made of characters that need no escaping in a header or a URL. The epoch that is shown is the engine's
and a tag of the channel's name behind it: so a position of one channel is told from another's, also
where an engine has one epoch for all, and a vector may be in any order. Clients take it as opaque,
and send back what they like: whatever isn't a position of this channel is None here, never an error.
"""

from __future__ import annotations

import re
from binascii import crc32
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_EPOCH = 64  # characters of an engine's epoch
MAX_OFFSET = 2**63 - 1  # what Redis and NATS count to
MAX_VECTOR = 50  # channels of one subscription; more of them would outgrow the headers that servers take
TAG = 6  # characters; a foreign position passes for ours once in 16 million, and still reads our channel
SEPARATOR = "~"

#: Where a subscription starts that begins with a reset: whoever comes back with it is reset again.
UNKNOWN = "unknown.0"

_POSITION = re.compile(r"([A-Za-z0-9_-]{1,64})([0-9a-f]{6})\.(0|[1-9][0-9]{0,18})")


def tag_of(channel: str) -> str:
    """Return the characters that stand for the name of a channel in its positions."""
    return f"{crc32(channel.encode()) & 0xFFFFFF:06x}"


def prefix_of(epoch: str, tag: str) -> str:
    """Return what stands before the offset in every position of one log."""
    return f"{epoch}{tag}."


def parse_position(text: str, tag: str) -> tuple[str, int] | None:
    """Return epoch and offset of a position in the channel of `tag`; None for anything else."""
    found = _POSITION.fullmatch(text)
    if found is None or found[2] != tag:
        return None
    offset = int(found[3])
    return (found[1], offset) if offset <= MAX_OFFSET else None


def join_positions(positions: Iterable[str]) -> str:
    """Return the vector of several positions."""
    return SEPARATOR.join(positions)


def split_positions(text: str) -> dict[str, str]:
    """Return the positions of a vector by the tags of their channels; empty for what is none."""
    if len(text) > MAX_VECTOR * (MAX_EPOCH + TAG + 21):
        return {}
    found: dict[str, str] = {}
    twice = set()
    for part in text.split(SEPARATOR):
        match = _POSITION.fullmatch(part)
        if match is not None and found.setdefault(match[2], part) is not part:
            twice.add(match[2])  # forged, or two channels whose tags are the same: neither is certain
    return {tag: part for tag, part in found.items() if tag not in twice}
