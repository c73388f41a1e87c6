"""Preconditions and HTTP dates: tables of header values and what they come to."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from asgineer._conditional import (
    allows_range,
    check_preconditions,
    format_http_date,
    matches_etag,
    matches_strongly,
    parse_http_date,
)

CHANGED = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
NOW = CHANGED + 1000.5
THEN, EARLIER, LATER = (format_http_date(CHANGED + shift) for shift in (0, -1, 1))
FUTURE = format_http_date(CHANGED + 2000)

# Entity tags

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        ("*", True),
        (" * ", True),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", "abc"', True),
        ('"x","y" , \tW/"abc" ', True),
        (',, "x",, "abc"', True),
        ('"a,b", "abc"', True),
        ("", False),
        ("abc", False),
        ('"ABC"', False),
        ('"abcd"', False),
        ('w/"abc"', False),
        ('"x" "abc"', False),
        ('x"abc"', False),
        ('"abc', False),
        ('"x, "abc"', False),
        ('"a b", "abc"', False),
        ('"abc"\n', False),
        ('*, "x"', False),
        (", ".join(f'"{n}"' for n in range(50)), False),
    ],
)
def test_matches_etag(value: str, matches: bool) -> None:
    assert matches_etag(value, ETAG) is matches


def test_matches_etag_weak_current() -> None:
    assert matches_etag('"abc"', 'W/"abc"')


@pytest.mark.parametrize(
    ("value", "etag", "matches"),
    [
        ("*", ETAG, True),
        ("*", 'W/"abc"', True),
        ('"abc"', ETAG, True),
        ('"x", "abc"', ETAG, True),
        ('W/"abc"', ETAG, False),
        ('W/"abc"', 'W/"abc"', False),
        ('"abc"', 'W/"abc"', False),
        ('"x"', ETAG, False),
        ("abc", ETAG, False),
        ("", ETAG, False),
    ],
)
def test_matches_strongly(value: str, etag: str, matches: bool) -> None:
    assert matches_strongly(value, etag) is matches


@pytest.mark.parametrize(
    "piece", ['"x",', '"x" ', '"', "W/", ", ", '"' + "a" * 20, '\t,W/"a"'], ids=lambda piece: repr(piece)
)
def test_matches_etag_linear(piece: str) -> None:
    """100 KB of anything takes less than the 100 ms that any one bad request may."""
    value = piece * (100_000 // len(piece))
    start = time.process_time()
    matches_etag(value, ETAG)
    matches_strongly(value, ETAG)
    assert time.process_time() - start < 0.1


# Dates


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Tue, 14 Nov 2023 22:13:20 GMT", CHANGED),
        ("Tue Nov 14 22:13:20 2023", CHANGED),  # of asctime
        ("Sat Jan  3 00:00:00 1970", 2 * 86_400),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ("Tue, 14-Nov-23 22:13:20 GMT", None),  # two digits of a year
        ("Tuesday, 14-Nov-23 22:13:20 GMT", None),
        ("Tue, 14 Nov 2023 22:13:20 UTC", None),
        ("Tue, 14 Nov 2023 22:13:20 +0000", None),
        ("Tue, 31 Feb 2023 22:13:20 GMT", None),
        ("Tue, 14 Nov 0000 22:13:20 GMT", None),
        ("Tue, 14 Nov -2023 22:13:20 GMT", None),
        ("Tue, 14 Nov 99999 22:13:20 GMT", None),
        ("Tue, 14 Nov 2023 25:13:20 GMT", None),
        ("Tue, 14 Nov \u0662\u0660\u0662\u0663 22:13:20 GMT", None),
        ("tue, 14 nov 2023 22:13:20 gmt", None),
        (" Tue, 14 Nov 2023 22:13:20 GMT", None),
        ("Tue, 14 Nov 2023 22:13:20 GMT, Tue, 14 Nov 2023 22:13:20 GMT", None),
        ("1700000000", None),
        ("-1", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_parse_http_date(value: str, seconds: int | None) -> None:
    assert parse_http_date(value) == seconds


@pytest.mark.parametrize("seconds", [0, CHANGED, 951_827_696, 4_102_444_799])
def test_format_http_date_is_what_the_standard_library_says(seconds: int) -> None:
    assert format_http_date(seconds) == formatdate(seconds, usegmt=True)
    assert parse_http_date(format_http_date(seconds)) == seconds


# Preconditions


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ({}, 200),
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": "*"}, 304),
        ({"if-modified-since": THEN}, 304),
        ({"if-modified-since": LATER}, 304),
        ({"if-modified-since": EARLIER}, 200),
        ({"if-modified-since": FUTURE}, 200),
        ({"if-modified-since": "Fri, 31 Dec 9999 23:59:59 GMT"}, 200),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-none-match": '"x"', "if-modified-since": THEN}, 200),  # the tag decides
        ({"if-none-match": ETAG, "if-modified-since": EARLIER}, 304),
        ({"if-match": ETAG}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-match": f"W/{ETAG}"}, 412),
        ({"if-match": '"x"', "if-none-match": ETAG}, 412),
        ({"if-match": ETAG, "if-none-match": ETAG}, 304),
        ({"if-unmodified-since": THEN}, 200),
        ({"if-unmodified-since": EARLIER}, 412),
        ({"if-unmodified-since": "never"}, 200),
        ({"if-match": ETAG, "if-unmodified-since": EARLIER}, 200),  # the tag decides
        ({"if-unmodified-since": THEN, "if-modified-since": THEN}, 304),
    ],
)
def test_preconditions(headers: dict[str, str], outcome: int) -> None:
    assert check_preconditions(headers, ETAG, CHANGED, NOW) == outcome


@pytest.mark.parametrize("name", ["if-modified-since", "if-unmodified-since"])
def test_a_date_means_nothing_where_nobody_knows_the_time_of_change(name: str) -> None:
    assert check_preconditions({name: EARLIER}, ETAG, None, NOW) == 200
    assert check_preconditions({name: THEN}, ETAG, None, NOW) == 200


@pytest.mark.parametrize(
    ("value", "allows"),
    [
        (None, True),
        (ETAG, True),
        ('"x"', False),
        (f"W/{ETAG}", False),
        (f'{ETAG}, "x"', False),
        ("*", False),
        (THEN, True),
        (EARLIER, False),
        (LATER, False),
        ("garbage", False),
    ],
)
def test_if_range(value: str | None, allows: bool) -> None:
    headers = {} if value is None else {"if-range": value}
    assert allows_range(headers, ETAG, CHANGED, NOW) is allows


def test_if_range_with_what_is_not_strong() -> None:
    assert not allows_range({"if-range": 'W/"abc"'}, 'W/"abc"', CHANGED, NOW)
    assert not allows_range({"if-range": THEN}, ETAG, CHANGED, CHANGED + 0.9), (
        "it may change again in that second"
    )
    assert not allows_range({"if-range": THEN}, ETAG, None, NOW)
