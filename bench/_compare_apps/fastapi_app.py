# mypy: ignore-errors
# (untyped in places; a peer, not ours)
"""FastAPI, with pydantic's models; sessions and assets are Starlette's, mounted, so no other row pays."""

from typing import Annotated

from _compare_apps.shared import CHUNK, CHUNKS, FILES, LARGE, PAGE, SECRET, SMALL, TEXT
from fastapi import FastAPI, Form, Header, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

app = FastAPI()


class Line(BaseModel):
    sku: str
    count: int
    price: float


class Order(BaseModel):
    id: int
    customer: str
    gift: bool
    lines: list[Line]


class Contact(BaseModel):
    name: str
    email: str
    age: int
    message: str


@app.get("/text", response_class=PlainTextResponse)
async def text():
    return TEXT


@app.get("/json")
async def small():
    return SMALL


@app.get("/json10")
async def large():
    return LARGE


@app.get("/items/{number}")
async def item(
    number: int,
    q: str,
    limit: int,
    user_agent: Annotated[str, Header()],
    accept_language: Annotated[str, Header()],
    x_request_id: Annotated[str, Header()],
):
    return {
        "item": number,
        "q": q,
        "limit": limit,
        "agent": user_agent,
        "language": accept_language,
        "request": x_request_id,
    }


@app.post("/order")
async def order(order: Order):
    return {"id": order.id, "lines": len(order.lines)}


@app.post("/form")
async def form(contact: Annotated[Contact, Form()]):
    return {"name": contact.name, "age": contact.age}


@app.post("/upload")
async def upload(file: UploadFile):
    return {"name": file.filename, "size": len(await file.read())}


@app.get("/page", response_class=HTMLResponse)
async def page():
    return PAGE


async def chunks():
    for _ in range(CHUNKS):
        yield CHUNK


@app.get("/stream")
async def stream():
    return StreamingResponse(chunks(), media_type="text/plain")


@app.websocket("/echo")
async def echo(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


async def session(request: Request):
    request.session["n"] = request.session.get("n", 0) + 1
    return PlainTextResponse(str(request.session["n"]))


middleware = [Middleware(SessionMiddleware, secret_key=SECRET)]
app.router.routes.append(Route("/session", session, middleware=middleware))
app.mount("/assets", GZipMiddleware(StaticFiles(directory=FILES, check_dir=False)))
