# mypy: ignore-errors
# (its package is in another environment)
"""Litestar. Sessions, which it encrypts, and compression are the whole application's: one of their own."""

import os
from hashlib import sha256
from typing import Annotated, Any

from _compare_apps.orders import Contact, Order
from _compare_apps.shared import CHUNK, CHUNKS, FILES, LARGE, PAGE, SECRET, SMALL, TEXT
from litestar import Litestar, MediaType, Request, WebSocket, get, post, websocket
from litestar.config.compression import CompressionConfig
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import WebSocketDisconnect
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.params import Body, Parameter
from litestar.response import Stream
from litestar.static_files import create_static_files_router


@get("/text", media_type=MediaType.TEXT)
async def text() -> str:
    return TEXT


@get("/json")
async def small() -> dict[str, Any]:
    return SMALL


@get("/json10")
async def large() -> dict[str, Any]:
    return LARGE


@get("/items/{number:int}")
async def item(
    number: int,
    q: str,
    limit: int,
    agent: Annotated[str, Parameter(header="user-agent")],
    language: Annotated[str, Parameter(header="accept-language")],
    request_id: Annotated[str, Parameter(header="x-request-id")],
) -> dict[str, Any]:
    return {
        "item": number,
        "q": q,
        "limit": limit,
        "agent": agent,
        "language": language,
        "request": request_id,
    }


@post("/order", status_code=200)
async def order(data: Order) -> dict[str, Any]:
    return {"id": data.id, "lines": len(data.lines)}


@post("/form", status_code=200)
async def form(data: Annotated[Contact, Body(media_type=RequestEncodingType.URL_ENCODED)]) -> dict[str, Any]:
    return {"name": data.name, "age": data.age}


@post("/upload", status_code=200)
async def upload(
    data: Annotated[dict[str, UploadFile], Body(media_type=RequestEncodingType.MULTI_PART)],
) -> dict[str, Any]:
    return {"name": data["file"].filename, "size": len(await data["file"].read())}


@get("/session", media_type=MediaType.TEXT)
async def session(request: Request) -> str:
    request.session["n"] = request.session.get("n", 0) + 1
    return str(request.session["n"])


@get("/page", media_type=MediaType.HTML)
async def page() -> str:
    return PAGE


async def chunks():
    for _ in range(CHUNKS):
        yield CHUNK


@get("/stream")
async def stream() -> Stream:
    return Stream(chunks(), media_type="text/plain")


@websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass


FILES.mkdir(parents=True, exist_ok=True)
handlers = [text, small, large, item, order, form, upload, page, stream, echo]
handlers.append(create_static_files_router("/assets", [FILES]))
options: dict[str, Any] = {}
part = os.environ.get("COMPARE_PART")
if part == "session":
    handlers.append(session)
    options["middleware"] = [CookieBackendConfig(secret=sha256(SECRET.encode()).digest()).middleware]
elif part == "assets":
    options["compression_config"] = CompressionConfig(backend="gzip")
app = Litestar(handlers, openapi_config=None, **options)
