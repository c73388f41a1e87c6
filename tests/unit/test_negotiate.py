"""Accept-Encoding: tables of header values and what they come to."""

import time
from collections.abc import Callable

import pytest

from asgineer import _negotiate
from asgineer._negotiate import accepts_identity, choose_encoding, is_compressed_media, parse_accept_encoding

BOTH = ("gzip", "identity")
THREE = ("br", "gzip", "identity")


@pytest.mark.parametrize(
    ("value", "weights"),
    [
        ("", {}),
        ("gzip", {"gzip": 1}),
        ("gzip, br", {"gzip": 1, "br": 1}),
        ("GZIP;Q=0.5", {"gzip": 0.5}),
        (" gzip ; q=0.5 ,\tbr\t;\tq=0.125", {"gzip": 0.5, "br": 0.125}),
        ("gzip;q=0", {"gzip": 0}),
        ("gzip;q=0.", {"gzip": 0}),
        ("gzip;q=1.000", {"gzip": 1}),
        ("*;q=0.1", {"*": 0.1}),
        ("x-gzip", {"gzip": 1}),
        ("gzip;q=0.3, gzip", {"gzip": 0.3}),
        ("br;q=2, gzip", {"gzip": 1}),
        ("br;q=-1, gzip", {"gzip": 1}),
        ("br;q=1.001", {}),
        ("br;q=0.1234", {}),
        ("br;q=.5", {}),
        ("br;q=", {}),
        ("br;q=\u0661", {}),
        ("br;level=1", {}),
        ("br;q=1;q=1", {}),
        ("g zip, br", {"br": 1}),
        ("gz\u0130p, ;;;, =, ,", {}),
    ],
)
def test_parse_accept_encoding(value: str, weights: dict[str, float]) -> None:
    assert parse_accept_encoding(value) == weights


@pytest.mark.parametrize(
    ("accept", "offers", "chosen"),
    [
        (None, BOTH, "identity"),
        ("", BOTH, "identity"),
        ("gzip", BOTH, "gzip"),
        ("gzip, deflate, br, zstd", BOTH, "gzip"),
        ("gzip;q=0", BOTH, "identity"),
        ("gzip;q=0.001", BOTH, "gzip"),
        ("*", BOTH, "gzip"),
        ("*;q=0", BOTH, "identity"),
        ("*;q=0, gzip", BOTH, "gzip"),
        ("gzip;q=0, *", BOTH, "identity"),
        ("br", BOTH, "identity"),
        ("identity", BOTH, "identity"),
        ("identity, gzip;q=0.5", BOTH, "identity"),
        ("identity;q=0.5, gzip", BOTH, "gzip"),
        ("identity;q=0.5, gzip;q=0.5", BOTH, "gzip"),
        ("identity;q=0.5, gzip;q=0.5", ("identity", "gzip"), "identity"),
        ("*;q=0.5, gzip;q=0.2", BOTH, "identity"),
        ("identity;q=0", BOTH, "identity"),
        ("identity;q=0, *", BOTH, "gzip"),
        ("br;q=2", BOTH, "identity"),
        ("gzip, br", THREE, "br"),
        ("gzip, br;q=0.9", THREE, "gzip"),
        ("*, br;q=0", THREE, "gzip"),
        ("gzip", ("gzip",), "gzip"),
        ("gzip;q=0", ("gzip",), "identity"),
        ("identity, gzip;q=0.5", ("gzip",), "identity"),
        ("gzip", (), "identity"),
        ("gzip", ("identity",), "identity"),
    ],
)
def test_choose_encoding(accept: str | None, offers: tuple[str, ...], chosen: str) -> None:
    assert choose_encoding(accept, offers) == chosen


@pytest.mark.parametrize(
    "value",
    [
        "gzip;q=0.1," * 10_000 + "gzip",
        "gzip" + " " * 60_000 + ";",
        ";q=0" * 15_000,
        "a" * 60_000,
    ],
)
def test_choose_encoding_huge(value: str) -> None:
    assert choose_encoding(value, BOTH) == ("gzip" if value.startswith("gzip;") else "identity")


def test_choose_encoding_keeps_no_long_header() -> None:
    before = _negotiate._choose_cached.cache_info().currsize
    choose_encoding("x" * (_negotiate.MAX_CACHED_HEADER + 1), BOTH)
    assert _negotiate._choose_cached.cache_info().currsize == before
    assert _negotiate._choose_cached.cache_info().maxsize == _negotiate.MAX_CACHED_CHOICES


@pytest.mark.parametrize(
    ("accept", "accepts"),
    [
        (None, True),
        ("", True),
        ("gzip", True),
        ("identity;q=0.001", True),
        ("identity;q=0", False),
        ("gzip, *;q=0", False),
        ("*;q=0, identity", True),
        ("*", True),
    ],
)
def test_accepts_identity(accept: str | None, accepts: bool) -> None:
    assert accepts_identity(accept) is accepts


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize(
    "piece", ["gzip,", "gzip;q=0.5 ", " ", ";", "q=", "\t;q=0.5,"], ids=lambda piece: repr(piece)
)
def test_parse_accept_encoding_linear(piece: str) -> None:
    value = piece * (100_000 // len(piece))
    assert _seconds(lambda: parse_accept_encoding(value)) < 0.1


@pytest.mark.parametrize(
    ("content_type", "compressed"),
    [
        ("image/png", True),
        ("IMAGE/JPEG", True),
        ("image/png; x=y", True),
        ("image/svg+xml", False),
        ("image/svg+xml; charset=utf-8", False),
        ("image/bmp", False),
        ("video/mp4", True),
        ("audio/mpeg", True),
        ("audio/wav", False),
        ("font/woff2", True),
        ("font/ttf", False),
        ("application/zip", True),
        ("application/epub+zip", True),
        ("application/gzip", True),
        ("application/pdf", False),
        ("application/wasm", False),
        ("application/json", False),
        ("text/html; charset=utf-8", False),
        ("", False),
    ],
)
def test_is_compressed_media(content_type: str, compressed: bool) -> None:
    assert is_compressed_media(content_type) is compressed
