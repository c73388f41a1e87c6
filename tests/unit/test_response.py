"""What a handler returns → status, raw headers, body. Pure: shapes in, what ASGI wants out."""

from __future__ import annotations

import collections
import http
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from asgineer import html, json, text
from asgineer._headers import encode_headers
from asgineer._response import (
    HTML,
    JSON,
    OCTETS,
    TEXT,
    encode_body,
    guess_text_type,
    normalize_response,
    render,
    resolve,
    split,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Page:
    def __init__(self, markup: Any) -> None:
        self.markup = markup

    def __html__(self) -> Any:
        return self.markup


class Markup(str):
    def __html__(self) -> str:
        return self


class Struct(msgspec.Struct):
    x: int


class Chunks:
    def __aiter__(self) -> AsyncIterator[str]:
        raise AssertionError("it was started")


@pytest.mark.parametrize(
    ("body", "data", "content_type"),
    [
        ("é", "é".encode(), TEXT),
        (b"x", b"x", OCTETS),
        (bytearray(b"x"), b"x", OCTETS),
        (memoryview(b"x"), b"x", OCTETS),
        ({}, b"{}", JSON),
        (collections.OrderedDict(a=1), b'{"a":1}', JSON),
        (Struct(1), b'{"x":1}', JSON),
        (Markup("plain"), b"plain", HTML),
        (Page("<p>é"), "<p>é".encode(), HTML),
        (Page(Markup("<p>")), b"<p>", HTML),
        (html("x"), b"x", HTML),
        (html(Markup("x")), b"x", HTML),
        (text("<html>"), b"<html>", TEXT),
        (
            json(
                {
                    1,
                }
            ),
            b"[1]",
            JSON,
        ),
        (json("x"), b'"x"', JSON),
    ],
)
def test_encode_body(body: Any, data: bytes, content_type: bytes) -> None:
    found = encode_body(body)
    assert found == (data, content_type)
    assert type(found[0]) is bytes


def test_subclasses_of_dict_list_bytes() -> None:
    class Dict(dict[str, int]):
        pass

    class List(list[int]):
        pass

    class Bytes(bytes):
        pass

    assert encode_body(Dict(a=1)) == (b'{"a":1}', JSON)
    assert encode_body(List([1])) == (b"[1]", JSON)
    assert encode_body(Bytes(b"x")) == (b"x", OCTETS)


def test_a_stream_is_not_started() -> None:
    stream = Chunks()
    assert encode_body(stream) == (stream, b"")
    assert render((201, {"X-A": "1"}, stream)) == (201, [(b"x-a", b"1")], stream)
    assert render(stream, "HEAD") == (200, [], stream)
    assert resolve((200, {}, stream)) == (200, {}, stream)


@pytest.mark.parametrize("make", [html, text])
@pytest.mark.parametrize("value", [b"x", 3, None, {}])
def test_html_and_text_take_text(make: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"{make.__name__}\(\) takes a str, not {type(value).__name__}"):
        make(value)


def test_json_says_what_it_can_not() -> None:
    with pytest.raises(TypeError, match="Could not JSON encode object"):
        json(object())


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        ("<html>", HTML),
        ("<html ", HTML),
        ("<html\n", HTML),
        ("<HtMl>", HTML),
        ("<!doctype html>", HTML),
        ("<!DOCTYPE HTML PUBLIC", HTML),
        ("\n\t\r\f <html>", HTML),
        ("<html", TEXT),
        ("<html/>", TEXT),
        ("<htmlx>", TEXT),
        ("< html>", TEXT),
        ("<!doctype  html>", TEXT),
        ("<p>", TEXT),
        ("", TEXT),
        ("\ufeff<html>", TEXT),
        ("\u2003<html>", TEXT),
        (" " * 100_000, TEXT),
    ],
)
def test_guess_text_type(start: str, kind: bytes) -> None:
    assert guess_text_type(start) == kind
    assert render(start)[1][0] == (b"content-type", kind)
    assert render((200, {}, start))[1][0] == (b"content-type", kind)


@pytest.mark.parametrize(
    ("result", "parts"),
    [
        ("x", (200, {}, "x")),
        (("x",), (200, {}, "x")),
        (({"a": "b"}, "x"), (200, {"a": "b"}, "x")),
        ((404, {"a": "b"}, "x"), (404, {"a": "b"}, "x")),
        ((None, "x"), (200, None, "x")),
        ([404, {}, "x"], (200, {}, [404, {}, "x"])),
    ],
)
def test_split(result: Any, parts: tuple[Any, ...]) -> None:
    assert split(result) == parts


@pytest.mark.parametrize("length", [0, 4, 5])
def test_split_of_another_length(length: int) -> None:
    with pytest.raises(TypeError, match=f"Handler returned {length}-tuple"):
        split((1,) * length)


def test_split_of_a_status_and_a_body_says_how_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"takes three values: 404, \{\}, body"):
        split((404, "x"))


EMPTY, SEVEN = (b"content-length", b"0"), (b"content-length", b"7")


@pytest.mark.parametrize(
    ("result", "method", "rendered"),
    [
        ("ab", "GET", (200, [(b"content-type", TEXT), (b"content-length", b"2")], b"ab")),
        ("ab", "HEAD", (200, [(b"content-type", TEXT), (b"content-length", b"2")], b"")),
        (
            (http.HTTPStatus.GONE, {}, b""),
            "GET",
            (410, [(b"content-type", OCTETS), (b"content-length", b"0")], b""),
        ),
        (
            (200, {"Content-Length": "0"}, ""),
            "GET",
            (200, [(b"content-length", b"0"), (b"content-type", TEXT)], b""),
        ),
        (
            (200, {"content-length": "7"}, b""),
            "HEAD",
            (200, [(b"content-length", b"7"), (b"content-type", OCTETS)], b""),
        ),
        ((204, {}, None), "GET", (204, [], b"")),
        ((304, {"ETag": '"x"'}, ""), "GET", (304, [(b"etag", b'"x"')], b"")),
        ((304, {"content-length": "7"}, None), "GET", (304, [SEVEN], b"")),
    ],
)
def test_render(result: Any, method: str, rendered: Any) -> None:
    assert render(result, method) == rendered
    assert type(render(result, method)[0]) is int


def test_render_gives_fresh_lists() -> None:
    render("x")[1].append((b"set-cookie", b"a=b"))
    assert len(render("x")[1]) == 2


@pytest.mark.parametrize("result", ["x", ({"X-A": "1"}, "x"), (404, {"Set-Cookie": ["a", "b"]}, {"x": 1})])
def test_resolve_then_render_is_the_same_response(result: Any) -> None:
    assert sorted(render(resolve(result))[1]) == sorted(render(result)[1])
    assert resolve(resolve(result)) == resolve(result)


def test_normalize_response_checks_the_headers_it_lowers() -> None:
    with pytest.raises(ValueError, match="given twice"):
        normalize_response(({"A": "1", "a": "2"}, "x"))
    headers = normalize_response(({"Set-Cookie": ["a"], "ETag": '"x"'}, "x"))[1]
    assert encode_headers(headers) == [(b"set-cookie", b"a"), (b"etag", b'"x"')]
