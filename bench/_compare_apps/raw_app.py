"""Raw ASGI: what somebody would write by hand for each row, with the same codecs and no framework.

The row says what is done; nothing is checked that the row doesn't ask for.
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from _compare_apps.orders import Contact, Order
from _compare_apps.shared import CHUNK, CHUNKS, LARGE, PAGE, SECRET, SMALL, STYLE, TEXT
from itsdangerous import URLSafeTimedSerializer
from multipart import (  # type: ignore[import-untyped]  # it has annotations, but no py.typed
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

JSON = (b"content-type", b"application/json")
PLAIN = (b"content-type", b"text/plain; charset=utf-8")
HTML = (b"content-type", b"text/html; charset=utf-8")
CSS = (b"content-type", b"text/css; charset=utf-8")

style_gzip = gzip.compress(STYLE.encode(), mtime=0)
etag = b'"%b"' % sha256(style_gzip).hexdigest()[:20].encode()
signer = URLSafeTimedSerializer(SECRET)


async def answer(send: Any, body: bytes, kind: tuple[bytes, bytes], *more: tuple[bytes, bytes]) -> None:
    headers = [kind, (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def body_of(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    if not message["more_body"]:
        return body
    chunks = [body]
    while message["more_body"]:
        message = await receive()
        chunks.append(message["body"])
    return b"".join(chunks)


async def text(scope: Any, receive: Any, send: Any) -> None:
    body = TEXT.encode()
    headers = [PLAIN, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def small(scope: Any, receive: Any, send: Any) -> None:
    body = msgspec.json.encode(SMALL)
    headers = [JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def large(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, msgspec.json.encode(LARGE), JSON)


async def item(scope: Any, receive: Any, send: Any) -> None:
    number = int(scope["path"].split("/")[2])
    query = dict(parse_qsl(scope["query_string"].decode()))
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    found = {
        "item": number,
        "q": query["q"],
        "limit": int(query["limit"]),
        "agent": headers["user-agent"],
        "language": headers["accept-language"],
        "request": headers["x-request-id"],
    }
    await answer(send, msgspec.json.encode(found), JSON)


async def order(scope: Any, receive: Any, send: Any) -> None:
    found = msgspec.json.decode(await body_of(receive), type=Order)
    await answer(send, msgspec.json.encode({"id": found.id, "lines": len(found.lines)}), JSON)


async def form(scope: Any, receive: Any, send: Any) -> None:
    fields = dict(parse_qsl((await body_of(receive)).decode()))
    contact = msgspec.convert(fields, Contact, strict=False)
    await answer(send, msgspec.json.encode({"name": contact.name, "age": contact.age}), JSON)


async def upload(scope: Any, receive: Any, send: Any) -> None:
    kind = next(value for name, value in scope["headers"] if name == b"content-type")
    _, options = parse_options_header(kind.decode("latin-1"))
    found: dict[str, Any] = {}
    chunks: list[bytes] = []
    with PushMultipartParser(options["boundary"]) as parser:
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            for event in parser.parse(message["body"]):
                if isinstance(event, MultipartSegment):
                    found["name"] = event.filename
                elif event:
                    chunks.append(bytes(event))
    found["size"] = len(b"".join(chunks))
    await answer(send, msgspec.json.encode(found), JSON)


async def session(scope: Any, receive: Any, send: Any) -> None:
    count = 0
    for name, value in scope["headers"]:
        if name == b"cookie":
            cookies = dict(part.strip().partition("=")[::2] for part in value.decode().split(";"))
            if "session" in cookies:
                count = signer.loads(cookies["session"], max_age=1_209_600)["n"]
    count += 1
    cookie = f"session={signer.dumps({'n': count})}; Path=/; HttpOnly; SameSite=Lax"
    await answer(send, b"%d" % count, PLAIN, (b"set-cookie", cookie.encode()))


async def style(scope: Any, receive: Any, send: Any) -> None:
    given = dict(scope["headers"])
    if given.get(b"if-none-match") == etag:
        await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", etag)]})
        await send({"type": "http.response.body", "body": b""})
    else:
        more = [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"), (b"etag", etag)]
        await answer(send, style_gzip, CSS, *more)


async def page(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, PAGE.encode(), HTML)


async def stream(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [PLAIN]})
    for _ in range(CHUNKS):
        await send({"type": "http.response.body", "body": CHUNK.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


ROUTES = {
    "/text": text,
    "/json": small,
    "/json10": large,
    "/order": order,
    "/form": form,
    "/upload": upload,
    "/session": session,
    "/assets/style.css": style,
    "/page": page,
    "/stream": stream,
    "/echo": echo,
}


async def lifespan(receive: Any, send: Any) -> None:
    for event in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{event}.complete"})


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await ROUTES.get(scope["path"], item)(scope, receive, send)
