"""What a client has already: the preconditions of RFC 9110 section 13, and HTTP dates.

Pure: header values, an entity tag, a time of change and the time of now in, an outcome out. A
header that is malformed is ignored, as the RFC asks. Every function is linear in the length
of what it reads. Nobody here knows a request, a body or a file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OK, NOT_MODIFIED, PRECONDITION_FAILED = 200, 304, 412

_ENTITY_TAG = re.compile(r'[ \t,]*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|\Z)')

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY, _MONTH, _TIME = f"(?:{'|'.join(_DAYS)})", f"({'|'.join(_MONTHS)})", "([0-9]{2}):([0-9]{2}):([0-9]{2})"
_IMF_DATE = re.compile(f"{_DAY}, ([0-9]{{2}}) {_MONTH} ([0-9]{{4}}) {_TIME} GMT")
_ASCTIME_DATE = re.compile(f"{_DAY} {_MONTH} ([0-9 ][0-9]) {_TIME} ([0-9]{{4}})")


def parse_http_date(value: str) -> int | None:
    """Return the seconds since 1970 that an HTTP date stands for; None when it is none.

    Of the three forms in RFC 9110 section 5.6.7 the one with two digits of a year is left out: what
    century it means is a guess.
    """
    from datetime import UTC, datetime  # for requests that have a date, not at import

    if match := _IMF_DATE.fullmatch(value):
        day, month, year, hour, minute, second = match.groups()
    elif match := _ASCTIME_DATE.fullmatch(value):
        month, day, hour, minute, second, year = match.groups()
    else:
        return None
    numbers = int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second)
    try:
        return int(datetime(*numbers, tzinfo=UTC).timestamp())
    except ValueError:  # no such day
        return None


def format_http_date(seconds: int) -> str:
    """Return `seconds` since 1970 as an HTTP date, whatever the locale is."""
    import time

    at = time.gmtime(seconds)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04}"
        f" {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
    )


def _entity_tags(value: str) -> Iterator[str]:
    """Iterate over the tags in a list, up to the first thing that is none: `"a", W/"b"`."""
    position = 0
    while match := _ENTITY_TAG.match(value, position):
        yield match[1]
        position = match.end()


def matches_etag(value: str, etag: str) -> bool:
    """Return whether an `If-None-Match` of `value` names the current `etag` (in its quotes), or is `*`.

    The comparison is the weak one (RFC 9110 section 8.8.3.2): `W/"x"` matches `"x"`. Reading
    ends at the first thing that is no entity tag, so an unquoted tag matches nothing.
    """
    opaque = etag.removeprefix("W/")
    return value.strip(" \t") == "*" or any(tag.removeprefix("W/") == opaque for tag in _entity_tags(value))


def matches_strongly(value: str, etag: str) -> bool:
    """Return whether an `If-Match` of `value` names the current `etag`, both of them strong, or is `*`."""
    return value.strip(" \t") == "*" or (etag[:1] == '"' and any(tag == etag for tag in _entity_tags(value)))


def check_preconditions(headers: Mapping[str, str], etag: str, modified: int | None, now: float) -> int:
    """Return OK, NOT_MODIFIED or PRECONDITION_FAILED for a GET or HEAD: RFC 9110 section 13.2.2.

    A date that is later than now was no date of a change, and is ignored as a malformed one is.

    Args:
        headers: of the request, with lower-case names.
        etag: of the representation that would be sent.
        modified: when it changed last, in seconds since 1970; None where nobody knows.
        now: the time, in seconds since 1970.
    """
    if (wanted := headers.get("if-match")) is not None:
        if not matches_strongly(wanted, etag):
            return PRECONDITION_FAILED
    elif _is_unchanged_since("if-unmodified-since", headers, modified, now) is False:
        return PRECONDITION_FAILED
    if (known := headers.get("if-none-match")) is not None:
        return NOT_MODIFIED if matches_etag(known, etag) else OK
    return NOT_MODIFIED if _is_unchanged_since("if-modified-since", headers, modified, now) else OK


def _is_unchanged_since(
    name: str, headers: Mapping[str, str], modified: int | None, now: float
) -> bool | None:
    """Compare `modified` with the date in the header `name`; None where there is nothing to compare."""
    value = headers.get(name)
    if value is None or modified is None:
        return None
    date = parse_http_date(value)
    return None if date is None or date > now else modified <= date


def allows_range(headers: Mapping[str, str], etag: str, modified: int | None, now: float) -> bool:
    """Return whether `If-Range`, if there is one, names just this state: RFC 9110 section 13.1.5.

    Only a strong tag does, or the very date of the last change when that was long enough ago to
    tell two changes apart (a second, section 8.8.2.2).
    """
    value = headers.get("if-range")
    if value is None:
        return True
    if '"' in value:
        return etag[:1] == '"' and value == etag
    return modified is not None and parse_http_date(value) == modified and modified < now - 1
