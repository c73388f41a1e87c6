"""Header maps both ways: decoding with its limits, the checks on what goes out, the Host grammar."""

from __future__ import annotations

from typing import Any

import pytest

from asgineer import HTTPError, Limits
from asgineer._headers import (
    decode_headers,
    encode_headers,
    fields_by_name,
    is_cross_site,
    is_same_origin,
    parse_content_type,
    parse_host,
)
from asgineer._limits import DEFAULT_LIMITS


def decode(*pairs: tuple[bytes, bytes], limits: Limits = DEFAULT_LIMITS) -> Any:
    return decode_headers(pairs, limits)


@pytest.mark.parametrize(
    ("pairs", "headers"),
    [
        ([], {}),
        ([(b"Accept", b"a")], {"accept": "a"}),
        ([(b"a", b"1"), (b"b", b"2"), (b"A", b"3")], {"a": "1, 3", "b": "2"}),
        ([(b"cookie", b"a=b"), (b"cookie", b"c=d")], {"cookie": "a=b; c=d"}),
        ([(b"x", b"\xff\xe9")], {"x": "\xff\xe9"}),
        ([(b"x", b"a\x0b\x0c\x1c\x1d\x1e\x85\xa0b")], {"x": "a\x0b\x0c\x1c\x1d\x1e\x85\xa0b"}),
        ([(b"x", b"")], {"x": ""}),
        ([(b"x_y", b"1"), (b"x-y", b"2")], {"x_y": "1", "x-y": "2"}),
        ([(b"\xc0", b"1")], {"\xc0": "1"}),  # only ASCII letters have a lower case here
    ],
)
def test_decode(pairs: list[tuple[bytes, bytes]], headers: dict[str, str]) -> None:
    assert decode(*pairs) == headers


def test_decode_takes_what_servers_give() -> None:
    pairs: Any = [[b"a", b"b"]]  # no list, no tuples
    assert decode_headers(iter(pairs), DEFAULT_LIMITS) == {"a": "b"}


def test_getlist() -> None:
    headers = decode((b"a", b"1"), (b"b", b"2, 3"), (b"a", b"4"), (b"a", b""))
    assert headers.getlist("a") == ["1", "4", ""]
    assert headers.getlist("b") == ["2, 3"]
    assert headers.getlist("c") == []
    headers.getlist("a").append("x")
    assert headers.getlist("a") == ["1", "4", ""]


def test_getlist_follows_changes() -> None:
    headers = decode((b"a", b"1"), (b"a", b"2"), (b"b", b"3"))
    headers["a"] = "own"
    headers["c"] = "new"
    del headers["b"]
    assert [headers.getlist(name) for name in "abc"] == [["own"], [], ["new"]]
    del headers["a"]
    assert headers.getlist("a") == []


@pytest.mark.parametrize(("count", "fits"), [(127, True), (128, True), (129, False)])
def test_count_limit(count: int, fits: bool) -> None:
    pairs = [(b"x-%d" % number, b"") for number in range(count)]
    if fits:
        assert len(decode(*pairs)) == count
    else:
        with pytest.raises(HTTPError) as caught:
            decode(*pairs)
        assert (caught.value.status, caught.value.body) == (431, "Too many header fields")


@pytest.mark.parametrize(("size", "fits"), [(65_535, True), (65_536, True), (65_537, False)])
def test_size_limit(size: int, fits: bool) -> None:
    pairs = [(b"abcd", b"x" * 1000), (b"name", b"y" * (size - 1008))]
    if fits:
        assert len(decode(*pairs)) == 2
    else:
        with pytest.raises(HTTPError) as caught:
            decode(*pairs)
        assert (caught.value.status, caught.value.body) == (431, "Header fields too large")


def test_limits_can_be_off() -> None:
    pairs = [(b"x-%d" % number, b"y" * 1000) for number in range(200)]
    assert len(decode(*pairs, limits=Limits(headers=None, header_count=None))) == 200
    assert len(fields_by_name(pairs, Limits(headers=None, header_count=None))) == 200


def test_fields_by_name() -> None:
    pairs = [(b"a", b"\xff"), (b"bc", b"2")]
    assert fields_by_name(pairs, DEFAULT_LIMITS) == {b"a": b"\xff", b"bc": b"2"}
    assert fields_by_name(pairs, Limits(header_count=2, headers=5)) == {b"a": b"\xff", b"bc": b"2"}


@pytest.mark.parametrize(
    ("pairs", "limits"),
    [
        ([(b"a", b"1"), (b"a", b"1")], DEFAULT_LIMITS),
        ([(b"a", b"1"), (b"bc", b"2")], Limits(header_count=1)),
        ([(b"a", b"1"), (b"bc", b"2")], Limits(headers=4)),
        (((b"a", b"1"),), DEFAULT_LIMITS),
    ],
)
def test_fields_by_name_leave_to_headers_what_is_not_plain(pairs: Any, limits: Limits) -> None:
    assert fields_by_name(pairs, limits) == {}


@pytest.mark.parametrize(
    ("headers", "raw"),
    [
        ({}, []),
        ({"X-A": "1"}, [(b"x-a", b"1")]),
        (
            {"Content-Type": "a", "VARY": "b", "etag": "c"},
            [(b"content-type", b"a"), (b"vary", b"b"), (b"etag", b"c")],
        ),
        ({"set-cookie": ["a", "b"]}, [(b"set-cookie", b"a"), (b"set-cookie", b"b")]),
        ({"Set-Cookie": []}, []),
        ({"content-type": ["a"]}, [(b"content-type", b"a")]),
        ({"x": "\xe9\ta"}, [(b"x", b"\xe9\ta")]),
        ({"x": ""}, [(b"x", b"")]),
        ({"x": "\x80\x85\xa0\xff"}, [(b"x", b"\x80\x85\xa0\xff")]),
        ({"!#$%&'*+-.^_`|~09": "x"}, [(b"!#$%&'*+-.^_`|~09", b"x")]),
        ({"transfer-encodings": "x"}, [(b"transfer-encodings", b"x")]),
    ],
)
def test_encode(headers: dict[str, Any], raw: list[tuple[bytes, bytes]]) -> None:
    assert encode_headers(headers) == raw


@pytest.mark.parametrize("code", [*range(0x20), 0x7F, 0x100, 0x212A, 0x2028, 0x1F600, 0xD800])
def test_no_control_character_gets_out(code: int) -> None:
    value = f"a{chr(code)}b"
    if code == 9:
        assert encode_headers({"x": value}) == [(b"x", b"a\tb")]
        return
    for headers in ({"x": value}, {"content-type": value}, {"set-cookie": ["fine", value]}, {"x": chr(code)}):
        with pytest.raises(ValueError, match="a character that HTTP does not allow"):
            encode_headers(headers)


@pytest.mark.parametrize("code", [*range(0x21), *b'"(),/:;<=>?@[\\]{}', 0x7F, 0x80, 0xE9, 0x212A])
def test_no_illegal_name_gets_out(code: int) -> None:
    for name in (f"a{chr(code)}b", chr(code), f"{chr(code)}content-type", f"x{chr(code)}"):
        with pytest.raises(ValueError, match="is not a token"):
            encode_headers({name: "x"})


@pytest.mark.parametrize("headers", [None, [], (), "x", b"x", 3, {"a"}, [("a", "b")]])
def test_no_dict(headers: Any) -> None:
    with pytest.raises(TypeError, match=f"Headers must be a dict, not {type(headers).__name__}"):
        encode_headers(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {1: "x"},
        {b"x": "x"},
        {None: "x"},
        {("a",): "x"},
        {"x": 1},
        {"x": None},
        {"x": b"x"},
        {"x": ("x",)},
        {"x": [1]},
    ],
)
def test_no_strings(headers: Any) -> None:
    with pytest.raises(TypeError, match="Header keys and values must all be strings"):
        encode_headers(headers)


@pytest.mark.parametrize("names", [("Content-Type", "content-type"), ("X-A", "x-a"), ("ETag", "Etag")])
def test_twice_in_another_case(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="given twice"):
        encode_headers(dict.fromkeys(names, "x"))


@pytest.mark.parametrize("name", ["content-length", "Content-Type"])
def test_what_can_stand_once_only(name: str) -> None:
    with pytest.raises(ValueError, match=f"Header '{name.lower()}' can't be repeated"):
        encode_headers({name: ["5", "5"]})


@pytest.mark.parametrize("name", ["transfer-encoding", "Transfer-Encoding"])
def test_what_is_the_servers(name: str) -> None:
    with pytest.raises(ValueError, match="'transfer-encoding' is set by the server"):
        encode_headers({name: "chunked"})


def test_messages_are_bounded() -> None:
    flawed: list[Any] = [{"x" * 99_999: "\n"}, {"\n" * 99_999: ""}, {"x" * 99_999: 3}, {b"x" * 99_999: ""}]
    for headers in flawed:
        with pytest.raises((TypeError, ValueError)) as caught:
            encode_headers(headers)
        assert len(str(caught.value)) < 300


def test_parse_host() -> None:
    assert parse_host("A.b:80") == ("a.b", 80)
    assert parse_host("[::1]") == ("::1", None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ("", "")),
        ("text/html", ("text/html", "")),
        (" Text/HTML ", ("text/html", "")),
        ("application/json; charset=UTF-8", ("application/json", "UTF-8")),
        ('a/b;\tCharset="utf-8" ', ("a/b", "utf-8")),
        ("a/b; x=y; charset=latin-1; z", ("a/b", "latin-1")),
        ("a/b; xcharset=1", ("a/b", "")),
        (";;;", ("", "")),
        ("; charset", ("", "")),
    ],
)
def test_parse_content_type(value: str, expected: tuple[str, str]) -> None:
    assert parse_content_type(value) == expected


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("https://good.com", "good.com", True),
        ("http://good.com:81", "GOOD.com:81", True),
        ("https://good.com", "good.com:81", False),
        ("https://evil.com", "good.com", False),
        ("ftp://good.com", "good.com", False),
        ("good.com", "good.com", False),
        ("null", "null", False),
        ("https://", "", False),
        ("", "", False),
    ],
)
def test_is_same_origin(origin: str, host: str, same: bool) -> None:
    assert is_same_origin(origin, host) is same


@pytest.mark.parametrize(
    ("headers", "cross"),
    [
        ({}, False),
        ({"host": "a"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "https://evil.com", "host": "a"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "https://a", "host": "a"}, True),
        ({"sec-fetch-site": ""}, True),
        ({"origin": "https://a", "host": "a"}, False),
        ({"origin": "https://b", "host": "a"}, True),
        ({"origin": "null", "host": "a"}, True),
        ({"origin": "https://a"}, True),
    ],
)
def test_is_cross_site(headers: dict[str, str], cross: bool) -> None:
    assert is_cross_site(headers) is cross
