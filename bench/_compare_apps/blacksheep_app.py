# mypy: ignore-errors
# (its package is in another environment)
"""BlackSheep. Sessions are the whole application's, so they have one of their own."""

import os

import msgspec
from _compare_apps.orders import Contact, Order
from _compare_apps.shared import CHUNK, CHUNKS, FILES, LARGE, PAGE, SECRET, SMALL, TEXT
from blacksheep import (
    Application,
    FromQuery,
    Request,
    Response,
    StreamedContent,
    WebSocket,
    WebSocketDisconnectError,
)
from blacksheep.server.responses import html, json, text

app = Application()
if os.environ.get("COMPARE_PART") == "session":
    app.use_sessions(SECRET)
FILES.mkdir(parents=True, exist_ok=True)
app.serve_files(FILES, root_path="/assets", extensions={".css"})


@app.router.get("/text")
async def get_text():
    return text(TEXT)


@app.router.get("/json")
async def small():
    return json(SMALL)


@app.router.get("/json10")
async def large():
    return json(LARGE)


@app.router.get("/items/{int:number}")
async def item(request: Request, number: int, q: FromQuery[str], limit: FromQuery[int]):
    header = request.get_first_header
    return json(
        {
            "item": number,
            "q": q.value,
            "limit": limit.value,
            "agent": header(b"user-agent").decode(),
            "language": header(b"accept-language").decode(),
            "request": header(b"x-request-id").decode(),
        }
    )


@app.router.post("/order")
async def order(request: Request):
    found = msgspec.json.decode(await request.read(), type=Order)
    return json({"id": found.id, "lines": len(found.lines)})


@app.router.post("/form")
async def form(request: Request):
    contact = msgspec.convert(await request.form(), Contact, strict=False)
    return json({"name": contact.name, "age": contact.age})


@app.router.post("/upload")
async def upload(request: Request):
    (file,) = await request.files("file")
    name = file.file_name
    data = file.data if isinstance(file.data, bytes) else file.data.read()
    return json({"name": name.decode() if isinstance(name, bytes) else name, "size": len(data)})


@app.router.get("/session")
async def session(request: Request):
    request.session["n"] = request.session.get("n", 0) + 1
    return text(str(request.session["n"]))


@app.router.get("/page")
async def page():
    return html(PAGE)


async def chunks():
    for _ in range(CHUNKS):
        yield CHUNK.encode()


@app.router.get("/stream")
async def stream():
    return Response(200, content=StreamedContent(b"text/plain; charset=utf-8", chunks))


@app.router.ws("/echo")
async def echo(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnectError:
        pass
