"""asgineer.utils: the plain functions, as programs call them."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

import asgineer
from asgineer import HttpRequest, to_asgi, utils

from .asking import ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def test_names() -> None:
    assert utils.sleep is asgineer.sleep
    assert asyncio.iscoroutinefunction(utils.sleep)
    for name in utils.__all__:
        assert callable(getattr(utils, name))


def test_a_name_that_is_not_there() -> None:
    name = "tea"
    with pytest.raises(AttributeError, match=r"module 'asgineer.utils' has no attribute 'tea'"):
        getattr(utils, name)


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("x", "text/plain; charset=utf-8"),
        ("<html>", "text/html; charset=utf-8"),
        (" <!DOCTYPE html>", "text/html; charset=utf-8"),
        (b"<html>", "application/octet-stream"),
        ({}, "application/json"),
        ([], "application/json"),
        (Point(1), "application/json"),
    ],
)
def test_guess_content_type_from_body(body: Any, content_type: str) -> None:
    assert utils.guess_content_type_from_body(body) == content_type


async def _stream() -> AsyncIterator[str]:
    yield "x"


@pytest.mark.parametrize("body", [None, 3, object(), _stream()])
def test_guess_content_type_of_something_else(body: Any) -> None:
    with pytest.raises(TypeError):
        utils.guess_content_type_from_body(body)


@pytest.mark.parametrize(
    ("response", "normal"),
    [
        ("x", (200, {}, "x")),
        (("x",), (200, {}, "x")),
        (({"X-A": "1"}, {"b": 2}), (200, {"x-a": "1"}, {"b": 2})),
        ((404, {"Set-Cookie": ["a", "b"]}, b""), (404, {"set-cookie": ["a", "b"]}, b"")),
        ((204, {}, None), (204, {}, None)),
    ],
)
def test_normalize_response(response: Any, normal: Any) -> None:
    assert utils.normalize_response(response) == normal
    assert utils.normalize_response(normal) == normal


def test_normalize_response_gives_a_fresh_dict() -> None:
    headers = {"x-a": "1"}
    utils.normalize_response((headers, "x"))[1]["x-b"] = "2"
    assert headers == {"x-a": "1"}


@pytest.mark.parametrize(
    "response",
    [(), (1, 2, 3, 4), ("200", {}, ""), (99, {}, ""), (200, None, ""), (200, [], ""), ({"a": 1}, "")],
)
def test_normalize_response_of_what_can_not_be(response: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        utils.normalize_response(response)


assets = utils.make_asset_handler({"main.js": "let x = 1\n" * 100, "": "<html>home"}, max_age=60)


@to_asgi
async def site(request: HttpRequest) -> Any:
    if request.path.startswith("/assets/"):
        return await assets(request, request.path.removeprefix("/assets/"))
    if request.path.startswith("/segments/"):
        return await assets(request, request.parts[1:])
    if request.path == "/cookie":
        status, headers, body = utils.normalize_response(await assets(request, "main.js"))
        headers["set-cookie"] = "a=b"
        return status, headers, body
    return await assets(request)


@pytest.mark.parametrize("path", ["/assets/main.js", "/segments/MAIN.js", "/main.js", "/cookie"])
def test_assets_in_an_app(path: str) -> None:
    answer = ask(site, path, headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-length"] == str(answer.num_bytes_downloaded)
    assert ("set-cookie" in answer.headers) is (path == "/cookie")
    head = ask(site, path, method="HEAD", headers={"accept-encoding": "gzip"})
    assert (head.headers, head.content) == (answer.headers, b"")
    again = ask(
        site, path, headers={"accept-encoding": "gzip", "if-none-match": f'"x", W/{answer.headers["etag"]}'}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert "content-length" not in again.headers
    assert again.headers["vary"] == "Accept-Encoding"


def test_assets_of_no_name_and_of_none() -> None:
    assert ask(site, "/").text == "<html>home"
    assert ask(site, "/nothing").status_code == 404
    assert ask(site, "/main.js", method="POST").headers["allow"] == "GET, HEAD"
