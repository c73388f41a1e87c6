# mypy: ignore-errors
# (its package is in another environment)
"""The last release of older Asgineer: what it has no part for is written by hand, sessions are left out."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

from _compare_apps.shared import CHUNK, CHUNKS, LARGE, PAGE, SMALL, STYLE, TEXT

import asgineer
from asgineer.utils import make_asset_handler

assets = make_asset_handler({"style.css": STYLE})


@asgineer.to_asgi
async def app(request):
    if isinstance(request, asgineer.WebsocketRequest):
        return await echo(request)
    path = request.path
    if path == "/text":
        return TEXT
    elif path == "/json":
        return SMALL
    elif path == "/json10":
        return LARGE
    elif path.startswith("/items/"):
        return item(request, int(path.split("/")[2]))
    elif path == "/order":
        return order(await request.get_json())
    elif path == "/form":
        fields = dict(parse_qsl((await request.get_body()).decode()))
        return {"name": fields["name"], "age": int(fields["age"])}
    elif path.startswith("/assets/"):
        return await assets(request, path[8:])
    elif path == "/page":
        return PAGE
    elif path == "/stream":
        return 200, {"content-type": "text/plain; charset=utf-8"}, chunks()
    return 404, {}, "not found"


def item(request, number):
    query, headers = request.querydict, request.headers
    return {
        "item": number,
        "q": query["q"],
        "limit": int(query["limit"]),
        "agent": headers["user-agent"],
        "language": headers["accept-language"],
        "request": headers["x-request-id"],
    }


def order(value):
    """Check the types by hand, as nothing does it."""
    for name, kind in (("id", int), ("customer", str), ("gift", bool), ("lines", list)):
        if not isinstance(value[name], kind):
            return 422, {}, name
    for line in value["lines"]:
        for name, kind in (("sku", str), ("count", int), ("price", float)):
            if not isinstance(line[name], kind):
                return 422, {}, name
    return {"id": value["id"], "lines": len(value["lines"])}


async def chunks():
    for _ in range(CHUNKS):
        yield CHUNK


async def echo(request):
    await request.accept()
    async for message in request.receive_iter():
        await request.send(message)


assert json  # what the release encodes with; here so that the start-up row counts the same for all
