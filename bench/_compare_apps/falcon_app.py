# mypy: ignore-errors
# (its package is in another environment)
"""Falcon. It has no sessions, and compresses nothing; types are checked by msgspec, as in the raw one.

Nothing bounds the body here: it reads what there is, and its parser of urlencoded forms, which is
compiled, takes any number of fields.
"""

from __future__ import annotations

import falcon
import falcon.asgi
import msgspec
from _compare_apps.orders import Contact, Order
from _compare_apps.shared import CHUNK, CHUNKS, FILES, LARGE, PAGE, SMALL, TEXT


class Text:
    async def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = TEXT


class Small:
    async def on_get(self, req, resp):
        resp.media = SMALL


class Large:
    async def on_get(self, req, resp):
        resp.media = LARGE


class Item:
    async def on_get(self, req, resp, number):
        resp.media = {
            "item": number,
            "q": req.get_param("q", required=True),
            "limit": req.get_param_as_int("limit", required=True),
            "agent": req.user_agent,
            "language": req.get_header("accept-language"),
            "request": req.get_header("x-request-id"),
        }


class PostedOrder:
    async def on_post(self, req, resp):
        found = msgspec.json.decode(await req.stream.read(), type=Order)
        resp.media = {"id": found.id, "lines": len(found.lines)}


class PostedForm:
    async def on_post(self, req, resp):
        contact = msgspec.convert(await req.get_media(), Contact, strict=False)
        resp.media = {"name": contact.name, "age": contact.age}


class Upload:
    async def on_post(self, req, resp):
        async for part in await req.get_media():
            resp.media = {"name": part.filename, "size": len(await part.stream.read())}


class Page:
    async def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_HTML
        resp.text = PAGE


async def chunks():
    for _ in range(CHUNKS):
        yield CHUNK.encode()


class Stream:
    async def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = chunks()


class Echo:
    async def on_websocket(self, req, ws):
        await ws.accept()
        try:
            while True:
                await ws.send_text(await ws.receive_text())
        except falcon.WebSocketDisconnected:
            pass


json = falcon.media.JSONHandler(dumps=msgspec.json.encode, loads=msgspec.json.decode)
multipart = falcon.media.MultipartFormHandler()
multipart.parse_options.max_body_part_buffer_size = 2_000_000
app = falcon.asgi.App()
app.req_options.media_handlers["multipart/form-data"] = multipart
app.resp_options.media_handlers["application/json"] = json
app.add_route("/text", Text())
app.add_route("/json", Small())
app.add_route("/json10", Large())
app.add_route("/items/{number:int}", Item())
app.add_route("/order", PostedOrder())
app.add_route("/form", PostedForm())
app.add_route("/upload", Upload())
app.add_route("/page", Page())
app.add_route("/stream", Stream())
app.add_route("/echo", Echo())
FILES.mkdir(parents=True, exist_ok=True)
app.add_static_route("/assets", FILES)
