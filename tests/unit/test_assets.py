"""Asset sets: what is built once, and every answer that comes of it."""

from __future__ import annotations

import asyncio
import gzip
import sys
from typing import TYPE_CHECKING, Any, cast

import brotli  # type: ignore[import-untyped]  # has no types
import pytest
import zstandard

from asgineer._assets import make_asset_handler
from asgineer._http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asgineer._assets import AssetHandler
    from asgineer._request import Message

DECODERS: dict[str | None, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "gzip": gzip.decompress,
    "zstd": zstandard.decompress,
    None: bytes,
}
PROSE = "All work and no play. " * 100
ASSETS: dict[str, str | bytes] = {
    "main.js": "console.log('hello')",
    "Big.JS": "let x = 1\n" * 200,
    "style/site.css": PROSE,
    "photo.png": b"\x89PNG" + b"\x00" * 4000,
    "": "<!doctype html><title>Home</title>",
    "noextension": "just text",
    "blob": b"\x00\x01",
    "empty.txt": "",
    "été.txt": "chaud",
}


async def _no_receive() -> Message:
    raise AssertionError("an asset handler reads no body")


async def _no_send(message: Message) -> None:
    raise AssertionError("an asset handler sends nothing by itself")


def make_request(path: str = "/", method: str = "GET", **headers: str) -> HttpRequest:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw}
    return HttpRequest(scope, _no_receive, _no_send)


def ask(
    handler: AssetHandler,
    url: str = "/",
    path: str | Sequence[str] | None = None,
    method: str = "GET",
    **headers: str,
) -> tuple[int, dict[str, Any], bytes]:
    return asyncio.run(_ask(handler, make_request(url, method, **headers), path))


async def _ask(
    handler: AssetHandler, request: HttpRequest, path: str | Sequence[str] | None
) -> tuple[int, dict[str, Any], bytes]:
    return await handler(request, path)


@pytest.fixture(scope="module")
def assets() -> AssetHandler:
    return make_asset_handler(ASSETS)


# Finding the key


@pytest.mark.parametrize(
    ("url", "path", "body"),
    [
        ("/main.js", None, b"console.log('hello')"),
        ("/MAIN.js", None, b"console.log('hello')"),
        ("/big.js", None, b"let x = 1\n" * 200),
        ("/style/site.css", None, PROSE.encode()),
        ("/", None, b"<!doctype html><title>Home</title>"),
        ("", None, b"<!doctype html><title>Home</title>"),
        ("/noextension", None, b"just text"),
        ("/%C3%89T%C3%89.txt", "ÉTÉ.txt", b"chaud"),
        ("/assets/main.js", "main.js", b"console.log('hello')"),
        ("/assets/main.js", ["main.js"], b"console.log('hello')"),
        ("/assets/x", ("style", "site.css"), PROSE.encode()),
        ("/main.js", "", b"<!doctype html><title>Home</title>"),
        ("/main.js", [], b"<!doctype html><title>Home</title>"),
    ],
)
def test_key(assets: AssetHandler, url: str, path: str | Sequence[str] | None, body: bytes) -> None:
    status, _, answer = ask(assets, url, path)
    assert (status, answer) == (200, body)


@pytest.mark.parametrize(
    "path",
    [
        "main.jsx",
        "main.js/",
        "main",
        "style",
        "style/",
        "style//site.css",
        "style\\site.css",
        "./main.js",
        "../main.js",
        "style/../main.js",
        "/etc/passwd",
        "main.js\x00",
        "main\uff0ejs",  # a full-width dot
        "e\u0301te\u0301.txt",
        "x" * 70_000,
        ["main.js", ""],
        ["", "main.js"],
        ["..", "main.js"],
    ],
)
def test_unknown_key(assets: AssetHandler, path: str | Sequence[str]) -> None:
    status, headers, body = ask(assets, "/assets/", path)
    assert status == 404
    assert headers == {"content-type": "text/plain; charset=utf-8"}
    assert body == b"Not Found"


# What is sent with it


@pytest.mark.parametrize(
    ("name", "content", "content_type"),
    [
        ("a.js", b"", "text/javascript; charset=utf-8"),
        ("a.MJS", b"", "text/javascript; charset=utf-8"),
        ("a.css", "", "text/css; charset=utf-8"),
        ("a.html", b"<p>", "text/html; charset=utf-8"),
        ("a.html", b"\xe9t\xe9", "text/html"),
        ("a.txt", "\xe9", "text/plain; charset=utf-8"),
        ("a.json", "{}", "application/json"),
        ("a.min.js.map", "{}", "application/json"),
        ("a.svg", "<svg/>", "image/svg+xml"),
        ("a.png", b"", "image/png"),
        ("a.webp", b"", "image/webp"),
        ("a.woff2", b"", "font/woff2"),
        ("a.wasm", b"", "application/wasm"),
        ("a.mp4", b"", "video/mp4"),
        ("a.pdf", b"", "application/pdf"),
        ("a.csv", "1,2", "text/csv; charset=utf-8"),
        ("a.js.gz", b"\x1f\x8b", "application/gzip"),
        ("a.tar.xz", b"", "application/x-xz"),
        ("a.unknownthing", b"x", "application/octet-stream"),
        ("a.unknownthing", "x", "text/plain; charset=utf-8"),
        ("page", "<html><p>", "text/html; charset=utf-8"),
        ("page", "  <!DOCTYPE html>", "text/html; charset=utf-8"),
        ("page", b"<html><p>", "application/octet-stream"),
        ("v1.js/page", b"x", "application/octet-stream"),
        ("js", b"x", "application/octet-stream"),
        ("data:text/html,x", "x", "text/plain; charset=utf-8"),
        ("", "", "text/plain; charset=utf-8"),
        (".css", "x", "text/plain; charset=utf-8"),
    ],
)
def test_content_type(name: str, content: str | bytes, content_type: str) -> None:
    _, headers, _ = ask(make_asset_handler({name: content}), path=name)
    assert headers["content-type"] == content_type


@pytest.mark.parametrize("max_age", [0, 1, 31_536_000])
def test_cache_control(max_age: int) -> None:
    handler = make_asset_handler({"a": "b"}, max_age=max_age)
    _, headers, _ = ask(handler, path="a")
    assert headers["cache-control"] == f"public, max-age={max_age}, must-revalidate"
    status, headers, _ = ask(handler, path="a", if_none_match="*")
    assert (status, headers["cache-control"]) == (304, f"public, max-age={max_age}, must-revalidate")


def test_all_headers_of_each_answer(assets: AssetHandler) -> None:
    common = {"etag", "cache-control", "content-type"}
    assert set(ask(assets, path="main.js")[1]) == common | {"accept-ranges"}
    assert set(ask(assets, path="big.js")[1]) == common | {"accept-ranges", "vary"}
    assert set(ask(assets, path="big.js", accept_encoding="gzip")[1]) == common | {"vary", "content-encoding"}
    assert set(ask(assets, path="main.js", if_none_match="*")[1]) == {"etag", "cache-control"}
    assert set(ask(assets, path="big.js", if_none_match="*")[1]) == {"etag", "cache-control", "vary"}


def test_headers_are_fresh_each_time(assets: AssetHandler) -> None:
    for known in ({}, {"if_none_match": "*"}):
        _, first, _ = ask(assets, path="big.js", **known)
        before = dict(first)
        first["set-cookie"] = "a=b"
        first.pop("vary")
        assert ask(assets, path="big.js", **known)[1] == before
    ask(assets, path="nothing")[1]["set-cookie"] = "a=b"
    assert "set-cookie" not in ask(assets, path="nothing")[1]


# Which encoding


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, gzip;q=0.1", "br"),
        ("br;q=0.1, gzip", "gzip"),
        ("zstd", "zstd"),
        ("*", "br"),
        ("br;q=0, zstd;q=0, *", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("identity;q=0", None),
        ("identity;q=0, gzip", "gzip"),
        ("deflate", None),
        ("br;q=2", None),
        ("gzip;q=5", None),
        ("", None),
        ("x," * 10_000 + "gzip", "gzip"),
    ],
)
def test_encoding(assets: AssetHandler, accept: str, encoding: str | None) -> None:
    status, headers, body = ask(assets, path="style/site.css", accept_encoding=accept)
    assert status == 200
    assert headers.get("content-encoding") == encoding
    assert headers["vary"] == "Accept-Encoding"
    assert DECODERS[encoding](body) == PROSE.encode()


def test_encoding_unasked(assets: AssetHandler) -> None:
    _, headers, body = ask(assets, path="style/site.css")
    assert "content-encoding" not in headers
    assert headers["vary"] == "Accept-Encoding"
    assert body == PROSE.encode()


@pytest.mark.parametrize(
    ("name", "content", "options", "compressed"),
    [
        ("a.txt", "x" * 255, {}, False),
        ("a.txt", "x" * 256, {}, True),
        ("a.txt", "é" * 128, {}, True),  # bytes count, not characters
        ("a.txt", "x" * 99, {"min_compress_size": 100}, False),
        ("a.txt", "x" * 100, {"min_compress_size": 100}, True),
        ("a.txt", "x" * 100, {"min_compress_size": 0}, True),
        ("a.txt", "", {"min_compress_size": 0}, False),
        ("a.png", b"x" * 4000, {}, False),
        ("a.mp4", b"x" * 4000, {}, False),
        ("a.zip", b"x" * 4000, {}, False),
        ("a.txt.gz", b"x" * 4000, {}, False),
        ("a.woff2", b"x" * 4000, {}, False),
        ("a.svg", b"x" * 4000, {}, True),
        ("a.wasm", b"x" * 4000, {}, True),
    ],
)
def test_what_is_compressed(
    name: str, content: str | bytes, options: dict[str, Any], compressed: bool
) -> None:
    _, headers, _ = ask(make_asset_handler({name: content}, **options), path=name, accept_encoding="gzip")
    assert ("content-encoding" in headers) is compressed
    assert ("vary" in headers) is compressed


def _half_random(noise: int, filler: int) -> bytes:
    import random

    return random.Random(1).randbytes(noise) + b"x" * filler


def test_compressed_only_below_nine_tenths() -> None:
    for noise, filler in ((1000, 0), (2000, 100), (2000, 200), (2000, 250), (2000, 400)):
        body = _half_random(noise, filler)
        small = len(gzip.compress(body, 9, mtime=0)) < 0.9 * len(body)
        _, headers, _ = ask(make_asset_handler({"a": body}), path="a", accept_encoding="gzip")
        assert ("content-encoding" in headers) is small, (noise, filler)
    assert small, "the last one is to be compressible"


# Entity tags


def test_etag_per_encoding(assets: AssetHandler) -> None:
    plain = ask(assets, path="big.js")[1]["etag"]
    packed = ask(assets, path="big.js", accept_encoding="gzip")[1]["etag"]
    assert plain != packed
    for etag in (plain, packed):
        assert etag[0] == etag[-1] == '"'
        assert len(etag) > 20
    assert ask(assets, path="main.js")[1]["etag"] not in (plain, packed)


def test_etag_is_the_same_in_every_process(assets: AssetHandler) -> None:
    again = make_asset_handler(dict(reversed(ASSETS.items())), max_age=9)
    for accept in ("gzip", "identity"):
        first, second = (ask(each, path="big.js", accept_encoding=accept) for each in (assets, again))
        assert (first[1]["etag"], first[2]) == (second[1]["etag"], second[2])


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ("{}", 304),
        ("W/{}", 304),
        ('"x", {}, "y"', 304),
        ("*", 304),
        ('"x"', 200),
        ("", 200),
        ('"' + "x," * 30_000, 200),
    ],
)
@pytest.mark.parametrize("accept", ["gzip", "identity"])
def test_if_none_match(assets: AssetHandler, form: str, status: int, accept: str) -> None:
    etag = ask(assets, path="big.js", accept_encoding=accept)[1]["etag"]
    answer = ask(assets, path="big.js", accept_encoding=accept, if_none_match=form.format(etag))
    assert answer[0] == status
    assert answer[1]["etag"] == etag
    assert answer[1]["vary"] == "Accept-Encoding"
    assert bool(answer[2]) is (status == 200)


def test_if_none_match_of_the_other_encoding(assets: AssetHandler) -> None:
    etag = ask(assets, path="big.js", accept_encoding="gzip")[1]["etag"]
    assert ask(assets, path="big.js", if_none_match=etag)[0] == 200


def test_if_none_match_of_nothing(assets: AssetHandler) -> None:
    assert ask(assets, path="nothing", if_none_match="*")[0] == 404


# Methods


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "TRACE", "__class__"])
@pytest.mark.parametrize("path", ["main.js", "nothing"])
def test_other_methods(assets: AssetHandler, method: str, path: str) -> None:
    status, headers, _ = ask(assets, path=path, method=method, if_none_match="*")
    assert status == 405
    assert headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("more", [{}, {"accept_encoding": "gzip"}, {"if_none_match": "*"}])
def test_head_has_the_headers_of_get(assets: AssetHandler, more: dict[str, str]) -> None:
    """The body is there as well: the app takes its length from it, and drops it."""
    assert ask(assets, path="big.js", method="HEAD", **more) == ask(assets, path="big.js", **more)


# Bad use, at build


@pytest.mark.parametrize(
    ("assets", "words"),
    [
        (None, "assets must be a dict"),
        ("folder", "assets must be a dict"),
        ([("a", b"b")], "assets must be a dict"),
        ({1: b"x"}, "name of an asset must be a str, not 1"),
        ({b"a": b"x"}, "name of an asset must be a str, not b'a'"),
        ({"a": None}, "Asset 'a' must be str or bytes, not NoneType"),
        ({"a": bytearray(b"x")}, "Asset 'a' must be str or bytes, not bytearray"),
        ({"a": ("x", "text/html")}, "Asset 'a' must be str or bytes, not tuple"),
    ],
)
def test_wrong_types(assets: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make_asset_handler(assets)


@pytest.mark.parametrize("names", [("a.js", "A.js"), ("É", "é"), ("x/Y", "X/y")])
def test_names_equal_in_lower_case(names: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="Two assets have the name .* in lower case"):
        make_asset_handler(dict.fromkeys(names, b""))


@pytest.mark.parametrize("option", ["max_age", "min_compress_size"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(-1, ValueError), ("1", TypeError), (1.0, TypeError), (True, TypeError), (None, TypeError)],
)
def test_wrong_numbers(option: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=option):
        make_asset_handler({}, **{option: value})


def test_text_that_is_no_unicode() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        make_asset_handler({"a": "\ud800"})


def test_later_changes_of_the_dict_have_no_effect() -> None:
    source: dict[str, str | bytes] = {"a": "1"}
    handler = make_asset_handler(source)
    source["a"] = "2"
    source["b"] = "3"
    assert ask(handler, path="a")[2] == b"1"
    assert ask(handler, path="b")[0] == 404


def test_nothing_is_built_for_a_hit(assets: AssetHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> bytes:
        raise AssertionError("compressed for a request")

    monkeypatch.setattr(gzip, "compress", refuse)
    monkeypatch.setattr(cast("Any", sys.modules["hashlib"]), "sha256", refuse)
    first, second = (ask(assets, path="big.js", accept_encoding="gzip") for _ in range(2))
    assert first[2] is second[2]
