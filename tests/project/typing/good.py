"""A program that mypy and pyright accept under strict: every shape of a handler and of a response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asgineer
from asgineer import Handler, HTTPError, HttpRequest, MethodNotAllowed, Response, WebsocketRequest, param

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Point:
    x: int
    y: int


class Markup(str):
    def __html__(self) -> str:
        return self


async def chunks() -> AsyncIterator[bytes]:
    yield b"one"


async def lines() -> AsyncIterator[str]:
    yield "one\n"


async def shapes(request: HttpRequest) -> Response:
    match request.verb, *request.parts:
        case ("GET",):
            return "<html>Index page</html>"
        case "GET", "items", number:
            return {"item": param(number, int)}
        case _, "items", _:
            raise MethodNotAllowed("GET")
        case "GET", "bytes":
            return b"bytes"
        case "GET", "list":
            return [1, 2, "three"]
        case "GET", "one":
            return ("one",)
        case "GET", "point":
            return Point(1, 2)
        case "GET", "markup":
            return Markup("<p>")
        case "GET", "header":
            return {"content-type": "text/css"}, "body {}"
        case "GET", "cookies":
            return {"set-cookie": ["a=1", "b=2"]}, "cookies"
        case "GET", "mixed":
            return 200, {"x-a": "1", "set-cookie": ["a=1", "b=2"]}, "cookies"
        case "GET", "triple":
            return 201, {}, {"made": True}
        case "GET", "nothing":
            return 204, {}, None
        case "GET", "stream":
            return chunks()
        case "GET", "text-stream":
            return 200, {"content-type": "text/plain"}, lines()
        case "GET", "html":
            return asgineer.html("<p>")
        case "GET", "json":
            return 200, {}, asgineer.json(3)
        case _:
            raise HTTPError(404)


@asgineer.to_asgi
async def main(request: HttpRequest | WebsocketRequest) -> Response | None:
    if isinstance(request, WebsocketRequest):
        return await sockets(request)
    return await shapes(request)


async def sockets(request: WebsocketRequest) -> Response | None:
    await request.accept()
    async for message in request.receive_iter():
        await request.send(message)
    return None


async def around(request: HttpRequest) -> Response | None:
    response = await asgineer.response_of(request, shapes(request))
    if response is None:
        return None
    status, headers, body = response
    headers["x-site"] = "here"
    return status, headers, body


async def low_level(request: HttpRequest) -> None:
    await request.accept(200, {"content-type": "text/plain"})
    await request.send("hello")


def render(request: asgineer.BaseRequest, error: HTTPError) -> Response:
    return {"status": error.status}


def report(request: asgineer.BaseRequest, status: int, size: int, seconds: float, outcome: str) -> None:
    print(request.label, status, size, seconds, outcome)


@asgineer.to_asgi(error=render, done=report, debug=False, limits=asgineer.Limits(body=None))
async def configured(request: HttpRequest) -> str:
    body: bytes = await request.get_body(limit=100)
    return body.decode()


sockets_app = asgineer.to_asgi(sockets)
low_level_app = asgineer.to_asgi(low_level)
handler: Handler = shapes
assets = asgineer.utils.make_asset_handler({"main.js": "x"}, max_age=60)
waiting: asgineer.RequestSet[HttpRequest] = asgineer.RequestSet()


@asgineer.to_asgi
async def asset_site(request: HttpRequest) -> Response:
    return await assets(request, request.parts)


if __name__ == "__main__":
    asgineer.run(main, "uvicorn", "localhost:8080")
    asgineer.run("uvicorn", main, "localhost:8080")
    asgineer.run(main)
