"""utils.compress: which encoding, what is left alone, and what the headers say of it."""

from __future__ import annotations

import asyncio
import copy
import gzip
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import brotli  # type: ignore[import-untyped]  # it has no types
import pytest
import zstandard

from asgineer import HttpRequest, Limits, response_of, to_asgi
from asgineer import _compress as module
from asgineer.utils import compress

from .asking import ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TEXT = "compress me, " * 200
DATA = TEXT.encode()
UNDO = {
    "zstd": zstandard.decompress,
    "br": brotli.decompress,
    "gzip": gzip.decompress,
    None: lambda data: data,
}


def request(accept: str | None = "gzip", method: str = "GET", **headers: str) -> HttpRequest:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if accept is not None:
        fields["accept-encoding"] = accept
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]

    async def nothing(*_: Any) -> Any: ...

    return HttpRequest({"type": "http", "method": method, "path": "/", "headers": raw}, nothing, nothing)


def pack(response: Any, accept: str | None = "gzip", method: str = "GET", **options: Any) -> Any:
    """Compress, and see that what was given is not written into."""
    before = copy.copy(response[1]) if isinstance(response, tuple) and len(response) == 3 else None
    result = compress(request(accept, method), response, **options)
    if before is not None:
        assert response[1] == before
        assert result is None or result[1] is not response[1]
    return result


@pytest.fixture
def fresh_codecs() -> Iterator[None]:
    module._codecs.cache_clear()
    yield
    module._codecs.cache_clear()


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("gzip;q=1, zstd;q=0.5", "gzip"),
        ("br;q=0, *", "zstd"),
        ("zstd;q=0, br;q=0, *;q=0.3", "gzip"),
        ("deflate", None),
        ("identity", None),
        ("gzip;q=0", None),
        ("", None),
        (None, None),
    ],
)
def test_encoding(accept: str | None, encoding: str | None) -> None:
    status, headers, body = pack((201, {"X-A": "b"}, TEXT), accept)
    assert status == 201
    assert headers.get("content-encoding") == encoding
    assert UNDO[encoding](body) == DATA
    assert (len(body) < len(DATA)) is (encoding is not None)
    assert headers["vary"] == "Accept-Encoding"
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["x-a"] == "b"


@pytest.mark.parametrize(
    ("modules", "encodings"),
    [
        ({"compression.zstd": None, "zstandard": None, "brotli": None}, ["gzip"]),
        ({"compression.zstd": None, "zstandard": None}, ["br", "gzip"]),
        ({"brotli": None}, ["zstd", "gzip"]),
        ({}, ["zstd", "br", "gzip"]),
    ],
)
@pytest.mark.usefixtures("fresh_codecs")
def test_what_is_not_installed(
    modules: dict[str, None], encodings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in modules.items():
        monkeypatch.setitem(sys.modules, name, value)
    assert list(module._codecs()) == encodings
    assert pack(TEXT, "gzip, br, zstd")[1]["content-encoding"] == encodings[0]


@pytest.mark.usefixtures("fresh_codecs")
def test_the_zstd_of_python_itself_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ModuleType("compression.zstd")
    own.compress = lambda data, level: b"own %d" % level  # type: ignore[attr-defined]
    package = ModuleType("compression")
    package.zstd = own  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "compression", package)
    monkeypatch.setitem(sys.modules, "compression.zstd", own)
    assert pack(TEXT, "zstd")[2] == b"own 3"


@pytest.mark.parametrize(
    "response", [TEXT, (TEXT,), ({}, TEXT), (200, {}, TEXT), (200, {}, DATA), (200, {}, {"a": TEXT}), [TEXT]]
)
def test_every_shape_of_a_response(response: Any) -> None:
    status, headers, body = pack(response)
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert TEXT in gzip.decompress(body).decode()


def test_none_stays_none() -> None:
    assert compress(request(), None) is None


@pytest.mark.parametrize(("size", "compressed"), [(1023, False), (1024, True), (1025, True)])
def test_smallest_size(size: int, compressed: bool) -> None:
    assert ("content-encoding" in pack("a" * size)[1]) is compressed


@pytest.mark.parametrize(("least", "compressed"), [(2599, True), (2600, True), (2601, False)])
def test_smallest_size_of_your_own(least: int, compressed: bool) -> None:
    headers = pack(TEXT, min_size=least)[1]
    assert ("content-encoding" in headers) is compressed
    assert ("vary" in headers) is compressed


def test_what_would_get_larger_goes_as_it_is() -> None:
    status, headers, body = pack(b"abc", min_size=0)
    assert (status, body, "content-encoding" in headers) == (200, b"abc", False)
    assert headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "response",
    [
        (200, {"content-encoding": "br"}, DATA),
        (200, {"Content-Encoding": "identity"}, DATA),
        (206, {"content-range": "bytes 0-2599/9999"}, DATA),
        (200, {"content-range": "bytes 0-2599/9999"}, DATA),
        (200, {"content-type": "image/png"}, DATA),
        (200, {"content-type": "application/zip"}, DATA),
        (200, {"cache-control": "public, No-Transform"}, DATA),
        (200, {"repr-digest": "sha-256=:x:"}, DATA),
        (204, {}, None),
    ],
)
def test_left_alone(response: Any) -> None:
    status, headers, body = pack(response)
    expected = {name.lower(): value for name, value in response[1].items()}
    if response[2] is not None:
        expected.setdefault("content-type", "application/octet-stream")
    assert (status, headers, body) == (response[0], expected, response[2] or b"")


def test_a_stream_is_left_alone() -> None:
    async def stream() -> AsyncIterator[str]:
        yield TEXT

    body = stream()
    assert pack((200, {"a": "b"}, body)) == (200, {"a": "b"}, body)


@pytest.mark.parametrize(
    ("vary", "merged"),
    [
        ("Cookie", "Cookie, Accept-Encoding"),
        (["Cookie", "Origin"], "Cookie, Origin, Accept-Encoding"),
        ("accept-encoding", "accept-encoding"),
        ("Cookie, ACCEPT-Encoding", "Cookie, ACCEPT-Encoding"),
        (["Cookie", "Accept-Encoding"], ["Cookie", "Accept-Encoding"]),
        ("*", "*"),
        ("", "Accept-Encoding"),
    ],
)
def test_vary_is_merged(vary: str | list[str], merged: str | list[str]) -> None:
    assert pack((200, {"Vary": vary}, TEXT))[1]["vary"] == merged


@pytest.mark.parametrize(
    ("etag", "accept", "sent"),
    [
        ('"x"', "gzip", 'W/"x"'),
        ('W/"x"', "gzip", 'W/"x"'),
        ('"x"', "identity", '"x"'),
    ],
)
def test_etag(etag: str, accept: str, sent: str) -> None:
    assert pack((200, {"ETag": etag}, TEXT), accept)[1]["etag"] == sent


@pytest.mark.parametrize(
    ("known", "sent"),
    [('W/"x"', 'W/"x"'), ('"a", W/"x"', 'W/"x"'), ('"x"', '"x"'), ("*", '"x"'), ('W/"xy"', '"x"')],
)
def test_304_has_the_tag_that_the_client_has(known: str, sent: str) -> None:
    answer = compress(request("gzip", if_none_match=known), (304, {"etag": '"x"'}, None))
    assert answer == (304, {"etag": sent, "vary": "Accept-Encoding"}, b"")


def test_304_with_a_weak_tag_or_none() -> None:
    assert pack((304, {"etag": 'W/"x"'}, None))[1]["etag"] == 'W/"x"'
    assert pack((304, {"vary": "*"}, None))[1] == {"vary": "*"}


def test_length_and_ranges_are_those_of_what_is_sent() -> None:
    given = {"content-length": str(len(DATA)), "accept-ranges": "bytes"}
    headers = pack((200, given, DATA))[1]
    assert not given.keys() & headers.keys()
    assert given.items() <= pack((200, given, DATA), "identity")[1].items()


def test_head_has_the_headers_of_get() -> None:
    @to_asgi
    async def main(request: HttpRequest) -> Any:
        return compress(request, (200, {"etag": '"x"'}, TEXT))

    get, head = (ask(main, method=method, headers={"accept-encoding": "gzip"}) for method in ("GET", "HEAD"))
    assert get.headers == head.headers
    assert get.headers["content-encoding"] == "gzip"
    assert get.headers["content-length"] == str(get.num_bytes_downloaded)
    assert head.content == b""


@pytest.mark.parametrize("body", [None, "", b""])
def test_head_that_the_handler_answers_itself_is_left_alone(body: Any) -> None:
    status = 204 if body is None else 200
    response = (status, {"X": "y"} if body is None else {"Content-Length": "5000"}, body)
    expected = {name.lower(): value for name, value in response[1].items()}
    assert pack(response, method="HEAD") == (status, expected, body)


def test_a_flawed_response_is_told() -> None:
    with pytest.raises(TypeError, match="Body cannot be int"):
        pack((200, {}, 3))


def test_around_a_part_of_an_app() -> None:
    async def site(request: HttpRequest) -> Any:
        raise ValueError

    @to_asgi(limits=Limits(headers=1000))
    async def main(request: HttpRequest) -> Any:
        return compress(request, await response_of(request, site(request)), min_size=0)

    assert ask(main, headers={"accept-encoding": "gzip"}).text == "Internal server error"


def test_in_a_thread() -> None:
    answer = asyncio.run(asyncio.to_thread(compress, request(), (200, {}, TEXT)))
    assert answer[1]["content-encoding"] == "gzip"
