"""Cookies both ways: the parser against tables, another parser and its corpus; the strict writer."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.http import parse_cookie

from asgineer import HeadersTooLarge, HttpRequest, Limits, to_asgi
from asgineer._cookies import MAX_COOKIE, parse_cookies
from asgineer._limits import DEFAULT_LIMITS
from asgineer.utils import make_cookie

from .asking import ask, ask_ws

if TYPE_CHECKING:
    from types import FrameType

CORPUS = sorted((Path(__file__).parents[2] / "bench" / "fuzz" / "corpus" / "cookies").iterdir())
OFF = Limits(cookies=None, cookie_pairs=None)
UTC = UTC


# The parser


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a=b; c=d", {"a": "b", "c": "d"}),
        ("a=b;c=d", {"a": "b", "c": "d"}),
        ("a=b;", {"a": "b"}),
        (" ; ;\t; a=b ;", {"a": "b"}),
        ("a=b=c==", {"a": "b=c=="}),
        ("a=", {"a": ""}),
        ("a = b c ", {"a": "b c"}),
        ("\ta\t=\tb\t", {"a": "b"}),
        ('a="b c"; d="\\073"', {"a": '"b c"', "d": '"\\073"'}),
        ("a=1; a=2; A=3", {"a": "1", "A": "3"}),
        ("a=; a=2", {"a": ""}),
        ("=__Host-sid=x; a=1", {"a": "1"}),
        ("__Host-sid; a=1", {"a": "1"}),
        ("=", {}),
        ("\xa0__Host-sid=x", {"\xa0__Host-sid": "x"}),
        ("\x0b__Host-sid=x; \x1fb=y", {"\x0b__Host-sid": "x", "\x1fb": "y"}),
        ("a=\x85; b=\xff", {"a": "\x85", "b": "\xff"}),
        ("a=b, c=d", {"a": "b, c=d"}),
        ("__proto__=x; $Version=1", {"__proto__": "x", "$Version": "1"}),
    ],
)
def test_parse(header: str, cookies: dict[str, str]) -> None:
    assert parse_cookies(header, DEFAULT_LIMITS) == cookies


@pytest.mark.parametrize(("size", "fits"), [(16_383, True), (16_384, True), (16_385, False)])
def test_bytes_are_limited(size: int, fits: bool) -> None:
    header = "a=" + "x" * (size - 2)
    if fits:
        assert parse_cookies(header, DEFAULT_LIMITS) == {"a": "x" * (size - 2)}
    else:
        with pytest.raises(HeadersTooLarge, match="Cookies too large"):
            parse_cookies(header, DEFAULT_LIMITS)
    assert parse_cookies(header, OFF) == {"a": "x" * (size - 2)}


@pytest.mark.parametrize(("count", "fits"), [(99, True), (100, True), (101, False)])
def test_pairs_are_limited(count: int, fits: bool) -> None:
    header = "; ".join([f"c{number}=x" for number in range(count)]) + ";"
    if fits:
        assert len(parse_cookies(header, DEFAULT_LIMITS)) == count
    else:
        with pytest.raises(HeadersTooLarge, match="Too many cookies"):
            parse_cookies(header, DEFAULT_LIMITS)
    assert len(parse_cookies(header, OFF)) == count


def check(header: str) -> None:
    """What holds for any header."""
    cookies = parse_cookies(header, OFF)
    assert len(cookies) <= header.count("=")
    for name, value in cookies.items():
        assert name
        assert name == name.strip(" \t")
        assert value == value.strip(" \t")
        assert ";" not in name + value
        assert "=" not in name
        assert name in header
        assert value in header
    again = "; ".join([f"{name}={value}" for name, value in cookies.items()])
    assert parse_cookies(again, OFF) == cookies


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus(path: Path) -> None:
    header = path.read_bytes().decode("latin-1")
    for end in range(len(header) + 1):
        check(header[:end])


@given(st.text(st.characters(max_codepoint=255)))
def test_anything(header: str) -> None:
    check(header)


plain = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=';="\\'))


@given(st.lists(st.tuples(plain, plain, st.sampled_from([";", "; ", " ;", ";;"]))))
@example([("a", "1", ";"), ("a", "2", ";")])
def test_as_another_parser_does(pairs: list[tuple[str, str, str]]) -> None:
    header = "".join([f"{name}={value}{end}" for name, value, end in pairs])
    other = {name: value for name, value in parse_cookie(header).items(multi=True) if name}
    first = {name: parse_cookie(header).getlist(name)[0] for name in other}
    assert parse_cookies(header, OFF) == first


def count_lines(header: str) -> int:
    lines = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        parse_cookies(header, OFF)
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("piece", ["a=b;", ";", "a;", "=;", 'a="\\"', "a=1;a=2;"])
def test_twice_the_header_is_twice_the_work(piece: str) -> None:
    assert count_lines(piece * 2000) <= 2.3 * count_lines(piece * 1000)


# On a request


@to_asgi
async def show(request: Any) -> Any:
    assert request.cookies is request.cookies
    if not isinstance(request, HttpRequest):
        await request.accept()
        return await request.send(request.cookies)
    return request.cookies


def test_request_cookies() -> None:
    assert ask(show).text == "{}"
    assert ask(show, headers={"cookie": "a=b; c=d"}).text == '{"a":"b","c":"d"}'
    assert ask_ws(show, headers={"cookie": "a=b"}).messages == ['{"a":"b"}']


def test_a_header_that_was_split_is_one() -> None:
    assert ask(show, headers=[("cookie", "a=b"), ("cookie", "c=d; a=e")]).text == '{"a":"b","c":"d"}'


@pytest.mark.parametrize(
    ("cookie", "text"),
    [("a=" + '\\"\\\\' * 10_000, "Cookies too large"), ("a=b;" * 101, "Too many cookies")],
)
def test_over_the_limit_is_431(cookie: str, text: str) -> None:
    answer = ask(show, headers={"cookie": cookie})
    assert (answer.status_code, answer.text) == (431, text)


# The writer


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "a=b; Path=/; HttpOnly; SameSite=Lax"),
        ({"httponly": False}, "a=b; Path=/; SameSite=Lax"),
        ({"samesite": "Strict", "secure": True}, "a=b; Path=/; Secure; HttpOnly; SameSite=Strict"),
        ({"samesite": "None", "secure": True}, "a=b; Path=/; Secure; HttpOnly; SameSite=None"),
        ({"samesite": None, "secure": True}, "a=b; Path=/; Secure; HttpOnly; SameSite=None"),
        ({"max_age": 0}, "a=b; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"),
        ({"max_age": 60, "path": "/x y"}, "a=b; Max-Age=60; Path=/x y; HttpOnly; SameSite=Lax"),
        ({"domain": "Example.com"}, "a=b; Domain=Example.com; Path=/; HttpOnly; SameSite=Lax"),
        ({"secure": True, "partitioned": True}, "a=b; Path=/; Secure; HttpOnly; SameSite=Lax; Partitioned"),
        (
            {"expires": datetime(2026, 11, 2, 9, 8, 7, tzinfo=timezone(timedelta(hours=1)))},
            "a=b; Expires=Mon, 02 Nov 2026 08:08:07 GMT; Path=/; HttpOnly; SameSite=Lax",
        ),
    ],
)
def test_make_cookie(arguments: Any, text: str) -> None:
    assert make_cookie("a", "b", **arguments) == text


def test_make_cookie_with_everything() -> None:
    text = make_cookie(
        "__Secure-a",
        "",
        max_age=1,
        expires=datetime(1601, 1, 1, tzinfo=UTC),
        path="/p",
        domain="a-1.example",
        secure=True,
        httponly=True,
        samesite="None",
        partitioned=True,
    )
    assert text == (
        "__Secure-a=; Max-Age=1; Expires=Mon, 01 Jan 1601 00:00:00 GMT; Domain=a-1.example; Path=/p; "
        "Secure; HttpOnly; SameSite=None; Partitioned"
    )


BAD_NAMES = ["", "a;b", "a b", "a=b", "a,b", "a\r\nb", "é", '"a"', "a\x00", "a/b"]
BAD_VALUES = [
    "x\r\nSet-Cookie: y",
    "a;b",
    "a b",
    'a"b',
    '"ab"',
    "a,b",
    "a\\b",
    "é",
    "✓",
    "a\x00",
    "\x7f",
    "a\n",
]
BAD_PATHS = ["", "a", "/; Domain=evil", "/\n", "/\x00", "/é", "/" + "x" * 1024]
BAD_DOMAINS = ["", ".a", "a.", "a..b", "a\x00", "a;b", "a b", "é.com", "a:80", "[::1]", "x" * 64, "a.b\n"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names(name: str) -> None:
    with pytest.raises(ValueError, match="Cookie name"):
        make_cookie(name, "x")


@pytest.mark.parametrize("value", BAD_VALUES)
def test_bad_values(value: str) -> None:
    with pytest.raises(ValueError, match="a value with characters that a cookie can't have"):
        make_cookie("a", value)


@pytest.mark.parametrize("path", BAD_PATHS)
def test_bad_paths(path: str) -> None:
    with pytest.raises(ValueError, match="Cookie path can't be"):
        make_cookie("a", "b", path=path)


@pytest.mark.parametrize("domain", BAD_DOMAINS)
def test_bad_domains(domain: str) -> None:
    with pytest.raises(ValueError, match="Cookie domain can't be"):
        make_cookie("a", "b", domain=domain)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"samesite": "None; X"}, "samesite must be"),
        ({"samesite": "lax"}, "samesite must be"),
        ({"samesite": "None"}, "samesite None must be secure"),
        ({"samesite": None}, "samesite None must be secure"),
        ({"partitioned": True}, "partitioned cookie must be secure"),
        ({"max_age": -1}, "must not be negative"),
        ({"expires": datetime(2026, 1, 1)}, "time zone"),
        ({"expires": datetime(1600, 1, 1, tzinfo=UTC)}, "from 1601 on"),
        ({"name": "__Host-a"}, "must be secure, with path '/' and without a domain"),
        ({"name": "__Host-a", "secure": True, "path": "/x"}, "with path '/'"),
        ({"name": "__hOST-a", "secure": True, "domain": "a.b"}, "without a domain"),
        ({"name": "__Secure-a"}, "must be secure"),
        ({"name": "__http-a"}, "must be secure"),
        ({"name": "__Http-a", "secure": True, "httponly": False}, "must be httponly"),
        ({"name": "__Host-Http-a", "secure": True, "httponly": False}, "must be httponly"),
    ],
)
def test_bad_attributes(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_cookie(**{"name": "a", "value": "b", **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": b"a"},
        {"value": b"b"},
        {"value": 3},
        {"path": None},
        {"path": b"/"},
        {"domain": b"a"},
        {"max_age": 1.5},
        {"max_age": True},
        {"max_age": "1"},
        {"expires": 3},
    ],
)
def test_bad_types(arguments: Any) -> None:
    with pytest.raises(TypeError, match="Cookie"):
        make_cookie(**{"name": "a", "value": "b", **arguments})


@pytest.mark.parametrize(("size", "fits"), [(4095, True), (4096, True), (4097, False)])
def test_size(size: int, fits: bool) -> None:
    value = "x" * (size - 1)
    if fits:
        assert make_cookie("a", value).startswith("a=x")
    else:
        with pytest.raises(ValueError, match=f"over {MAX_COOKIE} bytes"):
            make_cookie("a", value)


@to_asgi
async def set_cookie(request: HttpRequest) -> Any:
    return {"set-cookie": [make_cookie("a", request.querydict["v"]), make_cookie("b", "2")]}, "set"


def test_cookies_in_a_response() -> None:
    cookies = [
        value for name, value in ask(set_cookie, "/?v=1").headers.multi_items() if name == "set-cookie"
    ]
    assert [cookie.partition(";")[0] for cookie in cookies] == ["a=1", "b=2"]


@given(st.text(), st.text())
def test_what_is_made_is_read_again_or_refused(name: str, value: str) -> None:
    try:
        text = make_cookie(name, value)
    except ValueError:
        return
    pair, _, rest = text.partition("; ")
    assert rest == "Path=/; HttpOnly; SameSite=Lax"
    assert parse_cookies(pair, DEFAULT_LIMITS) == {name: value}
