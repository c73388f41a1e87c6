"""Asgineer: the rows as its guide would have them written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _compare_apps.orders import Contact, Order
from _compare_apps.shared import CHUNK, CHUNKS, LARGE, PAGE, SECRET, SMALL, STYLE, TEXT

import asgineer
from asgineer.security import Sessions
from asgineer.utils import make_asset_handler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

assets = make_asset_handler({"style.css": STYLE})
sessions = Sessions([SECRET], cookie="session", secure=False)


@asgineer.to_asgi
async def app(request: asgineer.HttpRequest | asgineer.WebsocketRequest) -> asgineer.Response | None:
    if isinstance(request, asgineer.WebsocketRequest):
        await echo(request)
        return None
    match request.verb, *request.parts:
        case "GET", "text":
            return TEXT
        case "GET", "json":
            return SMALL
        case "GET", "json10":
            return LARGE
        case "GET", "items", number:
            return item(request, asgineer.param(number, int))
        case "POST", "order":
            order = await request.get_json(type=Order)
            return {"id": order.id, "lines": len(order.lines)}
        case "POST", "form":
            contact = await request.get_form(type=Contact)
            return {"name": contact.name, "age": contact.age}
        case "POST", "upload":
            file = (await request.get_form()).file("file")
            return {"name": file.filename, "size": len(await file.read())}
        case "GET", "session":
            return await count_visits(request)
        case _, "assets", *name:
            return await assets(request, name)
        case "GET", "page":
            return PAGE
        case "GET", "stream":
            return {"content-type": "text/plain; charset=utf-8"}, chunks()
        case _:
            raise asgineer.HTTPError(404)


def item(request: asgineer.HttpRequest, number: int) -> asgineer.Response:
    query, headers = request.querydict, request.headers
    return {
        "item": number,
        "q": query["q"],
        "limit": asgineer.param(query["limit"], int),
        "agent": headers["user-agent"],
        "language": headers["accept-language"],
        "request": headers["x-request-id"],
    }


async def count_visits(request: asgineer.HttpRequest) -> asgineer.Response:
    session = sessions.load(request)
    session["n"] = session.get("n", 0) + 1
    response: asgineer.Response = sessions.save(session, str(session["n"]))
    return response


async def chunks() -> AsyncGenerator[str]:
    for _ in range(CHUNKS):
        yield CHUNK


async def echo(request: asgineer.WebsocketRequest) -> None:
    await request.accept()
    async for message in request.receive_iter():
        await request.send(message)
