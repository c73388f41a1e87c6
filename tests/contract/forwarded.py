"""Apps that hand their requests on: to the contract's own app, and to one of another framework."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

import asgineer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from asgineer import HttpRequest, WebsocketRequest


async def about(request: Request) -> Response:
    return JSONResponse(
        {
            "path": request.scope["path"],
            "root_path": request.scope["root_path"],
            "url": str(request.url_for("about")),
        }
    )


async def upload(request: Request) -> Response:
    return Response(str(len(await request.body())))


async def count(request: Request) -> Response:
    async def numbers() -> AsyncIterator[str]:
        for number in range(1000):
            yield f"{number}\n"

    return StreamingResponse(numbers())


async def endless(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    return StreamingResponse(pieces())


async def source(request: Request) -> Response:
    return FileResponse(__file__)


async def fails(request: Request) -> Response:
    raise ValueError("in the other app")


async def fails_later(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        raise ValueError("in the other app")

    return StreamingResponse(pieces())


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:  # ends by WebSocketDisconnect
        await websocket.send_text(await websocket.receive_text())


async def deny(websocket: WebSocket) -> None:
    await websocket.close()


def make_apps(core: Any, report: Callable[..., None]) -> dict[str, Any]:
    """Return the apps by the first segment of the paths that they serve."""
    pages = (about, upload, count, endless, source, fails, fails_later)
    other = Starlette(
        routes=[
            *[
                Route(f"/{page.__name__}", page, methods=["GET", "POST"], name=page.__name__)
                for page in pages
            ],
            WebSocketRoute("/echo", echo),
            WebSocketRoute("/deny", deny),
        ]
    )

    async def forward(request: HttpRequest | WebsocketRequest) -> None:
        await request.forward(core, "/forward")

    async def starlette(request: HttpRequest | WebsocketRequest) -> None:
        await request.forward(other, "/starlette")

    return {
        "forward": asgineer.to_asgi(forward),
        "starlette": asgineer.to_asgi(starlette, done=report),
    }
