"""Heads of HTTP/1.1: what must not come in, and how what goes out is written."""

from __future__ import annotations

import pytest

from asgineer._h1 import (
    CHUNKED,
    LENGTH,
    MAX_HANDSHAKE_LINE,
    MAX_HEADERS,
    MAX_HEADERS_SIZE,
    NO_BODY,
    UNTIL_CLOSE,
    Head,
    Openings,
    Refused,
    check_fields,
    check_handshake,
    check_size,
    has_body,
    plain_fields,
    split_target,
    whole_response,
)

HOST = (b"host", b"a")
DEFAULTS = [(b"date", b"today"), (b"server", b"unit")]


def status_of(check: object, *args: object) -> int:
    with pytest.raises(Refused) as refused:
        check(*args)  # type: ignore[operator]  # a function
    assert refused.value.text
    return refused.value.status


# Requests


def test_fields_are_returned_by_name() -> None:
    assert check_fields([HOST, (b"x", b"1"), (b"x", b"2")], "1.1") == {b"host": b"a", b"x": b"2"}


@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ([], "1.1", 400),
        ([HOST, HOST], "1.1", 400),
        ([HOST, (b"expect", b"x"), (b"expect", b"x")], "1.1", 400),
        ([HOST, (b"upgrade", b"x"), (b"upgrade", b"y")], "1.1", 400),
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], "1.1", 501),
        ([HOST, (b"transfer-encoding", b",chunked")], "1.1", 501),
        ([HOST, (b"transfer-encoding", b"chunked")], "1.0", 400),
        ([HOST], "0.9", 505),
        ([HOST], "2.0", 505),
    ],
)
def test_fields_are_refused(headers: list[tuple[bytes, bytes]], version: str, status: int) -> None:
    assert status_of(check_fields, headers, version) == status


@pytest.mark.parametrize(
    ("headers", "version"), [([], "1.0"), ([HOST, (b"transfer-encoding", b"CHUNKED")], "1.1")]
)
def test_fields_are_taken(headers: list[tuple[bytes, bytes]], version: str) -> None:
    assert check_fields(headers, version) == dict(headers)


def test_number_of_fields_has_a_limit() -> None:
    headers = [HOST, *[(b"x%d" % number, b"") for number in range(MAX_HEADERS - 1)]]
    check_fields(headers, "1.1")
    assert status_of(check_fields, [*headers, (b"y", b"")], "1.1") == 431


def test_size_of_fields_has_a_limit() -> None:
    check_size([(b"x", b"v" * (MAX_HEADERS_SIZE - 1))])
    assert status_of(check_size, [(b"x", b"v" * MAX_HEADERS_SIZE)]) == 431


@pytest.mark.parametrize(
    ("method", "target", "path", "query"),
    [
        ("GET", b"/", b"/", b""),
        ("GET", b"/a?b?c", b"/a", b"b?c"),
        ("GET", b"//a/%2F?", b"//a/%2F", b""),
        ("OPTIONS", b"*", b"*", b""),
        ("GET", b"http://a/b?c", b"/b", b"c"),
        ("GET", b"HTTPS://A", b"/", b""),
        ("GET", b"http://a?b", b"/", b"b"),
    ],
)
def test_target(method: str, target: bytes, path: bytes, query: bytes) -> None:
    assert split_target(method, target, dict([HOST])) == (path, query)


def test_absolute_target_without_host_field() -> None:
    assert split_target("GET", b"http://other/b", {}) == (b"/b", b"")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", b"*"),
        ("GET", b"@a"),
        ("GET", b"a"),
        ("GET", b""),
        ("GET", b"/a#b"),
        ("GET", b"http://a/b#c"),
        ("GET", b"http://other/"),
        ("GET", b"http://user@a/"),
        ("GET", b"http:///b"),
        ("GET", b"ftp://a/b"),
    ],
)
def test_bad_target(method: str, target: bytes) -> None:
    assert status_of(split_target, method, target, dict([HOST])) == 400


@pytest.mark.parametrize(
    ("method", "version", "fields", "status"),
    [
        ("POST", "1.1", {}, 400),
        ("GET", "1.0", {}, 400),
        ("GET", "1.1", {b"content-length": b"1"}, 400),
        ("GET", "1.1", {b"cookie": b"c" * MAX_HANDSHAKE_LINE}, 431),
    ],
)
def test_bad_handshake(method: str, version: str, fields: dict[bytes, bytes], status: int) -> None:
    assert status_of(check_handshake, method, version, fields) == status
    check_handshake("GET", "1.1", {b"content-length": b"0"})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({b"content-length": b"00"}, False),
        ({b"content-length": b"10"}, True),
        ({b"transfer-encoding": b"chunked"}, True),
    ],
)
def test_has_body(fields: dict[bytes, bytes], expected: bool) -> None:
    assert has_body(fields) is expected


# Responses


def test_openings_are_made_once_until_the_fields_change() -> None:
    openings = Openings()
    first = openings.get(200, DEFAULTS)
    assert first == b"HTTP/1.1 200 OK\r\ndate: today\r\nserver: unit\r\n"
    assert openings.get(200, DEFAULTS) is first
    assert openings.get(299, DEFAULTS).startswith(b"HTTP/1.1 299 \r\n")
    assert openings.get(200, [(b"date", b"tomorrow")]) == b"HTTP/1.1 200 OK\r\ndate: tomorrow\r\n"


def test_whole_response() -> None:
    assert whole_response(400, "long", [(b"server", b"unit")]) == (
        b"HTTP/1.1 400 Bad Request\r\nserver: unit\r\ncontent-type: text/plain; charset=utf-8\r\n"
        b"content-length: 4\r\nconnection: close\r\n\r\nlong"
    )


def test_plain_fields() -> None:
    assert plain_fields([(b"a", b"\xff b"), (b"content-length", b"7")]) == (
        b"a: \xff b\r\ncontent-length: 7\r\n",
        7,
    )
    assert plain_fields([(b"a", b"")]) == (b"a: \r\n", None)
    assert plain_fields([]) == (b"", None)


@pytest.mark.parametrize(
    "field",
    [
        (b"connection", b"close"),
        (b"A", b"b"),
        (b"a", b"b\r\nc: d"),
        (b"a", b"b\nc"),
        (b"a\r\nb", b"c"),
        (b"a: b\r\nc", b"d"),
        (b"", b"b"),
        (b"a", b"\0"),
        (b"content-length", b"+1"),
        (b"content-length", b""),
    ],
)
def test_what_is_not_plain(field: tuple[bytes, bytes]) -> None:
    assert plain_fields([(b"x", b"y"), field]) is None


def test_two_lengths_are_not_plain() -> None:
    assert plain_fields([(b"content-length", b"1"), (b"content-length", b"1")]) is None


@pytest.mark.parametrize(
    ("status", "headers", "method", "version", "framing", "lines"),
    [
        (200, [], "GET", "1.1", CHUNKED, b"transfer-encoding: chunked\r\n"),
        (200, [(b"Transfer-Encoding", b"Chunked")], "GET", "1.1", CHUNKED, b"transfer-encoding: chunked\r\n"),
        (200, [(b"content-length", b"5")], "GET", "1.1", LENGTH, b"content-length: 5\r\n"),
        (
            200,
            [(b"content-length", b"5"), (b"Content-Length", b"5")],
            "GET",
            "1.1",
            LENGTH,
            b"content-length: 5\r\n",
        ),
        (
            *(200, [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], "GET", "1.1", CHUNKED),
            b"transfer-encoding: chunked\r\n",
        ),
        (200, [(b"content-length", b"5")], "HEAD", "1.1", NO_BODY, b"content-length: 5\r\n"),
        (200, [], "HEAD", "1.1", NO_BODY, b""),
        (304, [(b"content-length", b"5")], "GET", "1.1", NO_BODY, b"content-length: 5\r\n"),
        (204, [(b"content-length", b"0")], "GET", "1.1", NO_BODY, b""),
        (200, [], "GET", "1.0", UNTIL_CLOSE, b"connection: close\r\n"),
        (200, [(b"X", b"y")], "HEAD", "1.1", NO_BODY, b"x: y\r\n"),
        (200, [(b"connection", b"a, Close")], "HEAD", "1.1", NO_BODY, b"connection: close\r\n"),
        (200, [(b"connection", b"upgrade")], "HEAD", "1.1", NO_BODY, b"connection: upgrade\r\n"),
    ],
)
def test_head(
    status: int, headers: list[tuple[bytes, bytes]], method: str, version: str, framing: str, lines: bytes
) -> None:
    head = Head(status, headers, [], method=method, version=version)
    assert head.framing == framing
    assert head.data.partition(b"\r\n")[2] == lines + b"\r\n"
    assert head.length == (5 if framing == LENGTH else 0)
    assert head.keep_alive is (b"close" not in lines)


def test_head_takes_the_date_of_the_app() -> None:
    assert Head(200, [(b"Date", b"mine")], DEFAULTS, method="HEAD").data == (
        b"HTTP/1.1 200 OK\r\nserver: unit\r\ndate: mine\r\n\r\n"
    )


def test_head_of_a_last_response() -> None:
    assert b"connection: close\r\n" in Head(200, [], [], keep_alive=False).data


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (100, []),
        (600, []),
        ("200", []),
        (200, [(b"", b"")]),
        (200, [(b"a b", b"")]),
        (200, [(b"a", b"b\rc")]),
        (200, [(b"a", b"\x7f")]),
        (200, [(b"content-length", b"-1")]),
        (200, [(b"content-length", b"1" * 19)]),
        (200, [(b"content-length", b"1"), (b"content-length", b"2")]),
        (200, [(b"transfer-encoding", b"gzip")]),
    ],
)
def test_head_that_cannot_be_sent(status: int, headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(RuntimeError):
        Head(status, headers, [])
