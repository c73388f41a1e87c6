# mypy: ignore-errors
# (untyped in places; a peer, not ours)
"""Starlette. It checks no types, so msgspec does, as in the raw application."""

from __future__ import annotations

import msgspec
from _compare_apps.orders import Contact, Order
from _compare_apps.shared import CHUNK, CHUNKS, FILES, LARGE, PAGE, SECRET, SMALL, TEXT
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocketDisconnect


async def text(request):
    return PlainTextResponse(TEXT)


async def small(request):
    return JSONResponse(SMALL)


async def large(request):
    return JSONResponse(LARGE)


async def item(request):
    query, headers = request.query_params, request.headers
    return JSONResponse(
        {
            "item": request.path_params["number"],
            "q": query["q"],
            "limit": int(query["limit"]),
            "agent": headers["user-agent"],
            "language": headers["accept-language"],
            "request": headers["x-request-id"],
        }
    )


async def order(request):
    found = msgspec.json.decode(await request.body(), type=Order)
    return JSONResponse({"id": found.id, "lines": len(found.lines)})


async def form(request):
    async with request.form() as fields:
        contact = msgspec.convert(dict(fields), Contact, strict=False)
    return JSONResponse({"name": contact.name, "age": contact.age})


async def upload(request):
    async with request.form() as fields:
        file = fields["file"]
        return JSONResponse({"name": file.filename, "size": len(await file.read())})


async def session(request):
    request.session["n"] = request.session.get("n", 0) + 1
    return PlainTextResponse(str(request.session["n"]))


async def page(request):
    return HTMLResponse(PAGE)


async def chunks():
    for _ in range(CHUNKS):
        yield CHUNK


async def stream(request):
    return StreamingResponse(chunks(), media_type="text/plain")


async def echo(websocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


app = Starlette(
    routes=[
        Route("/text", text),
        Route("/json", small),
        Route("/json10", large),
        Route("/items/{number:int}", item),
        Route("/order", order, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/session", session, middleware=[Middleware(SessionMiddleware, secret_key=SECRET)]),
        Mount(
            "/assets", StaticFiles(directory=FILES, check_dir=False), middleware=[Middleware(GZipMiddleware)]
        ),
        Route("/page", page),
        Route("/stream", stream),
        WebSocketRoute("/echo", echo),
    ]
)
