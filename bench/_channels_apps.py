"""The applications for the rows of `channels.py` that go over the wire: one channel, SSE or websockets.

Run by the interpreter of the peers' environment on uvicorn: CHANNELS_APP says which one `app` is,
CHANNELS_URL where its engine is ("" for this process). What is published has the form that
`_live_client` looks for.
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from _live_apps import PING, with_publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from _live_apps import App, Publish

URL = os.environ.get("CHANNELS_URL") or None
KIND = os.environ.get("CHANNELS_KIND")
ROOM = "room"


def make_asgineer() -> tuple[App, Publish]:
    import asgineer

    room = asgineer.Bus(URL).channel(ROOM)

    async def handler(request: Any) -> Any:
        if request.verb != "WEBSOCKET":
            return asgineer.EventStream(room.subscribe(since=request.last_event_id), ping=PING)
        await request.accept()
        async with request.sending(room.subscribe(since=request.last_event_id)):
            async for _ in request.receive_iter():
                pass

    def publish(text: str) -> Awaitable[Any]:
        # As a value over websockets: text would come in quotes, which the load doesn't look for.
        return room.publish(json.loads(text) if KIND == "websocket" else text)

    return asgineer.to_asgi(handler), publish


def make_litestar() -> tuple[App, Publish]:
    litestar: Any = import_module("litestar")
    response: Any = import_module("litestar.response")
    from _channels_systems import Litestar

    plugin = Litestar(URL)._plugin

    async def events() -> AsyncIterator[bytes]:
        async with plugin.start_subscription([ROOM]) as subscriber:
            async for data in subscriber.iter_events():
                yield data

    async def stream() -> Any:
        return response.ServerSentEvent(events())

    async def publish(text: str) -> None:
        await plugin.wait_published(text, ROOM)

    return litestar.Litestar(route_handlers=[litestar.get("/")(stream)], plugins=[plugin]), publish


def make_broadcaster() -> tuple[App, Publish]:
    """As Starlette's users do it: broadcaster, and sse-starlette for the events."""
    broadcaster: Any = import_module("broadcaster")
    applications: Any = import_module("starlette.applications")
    routing: Any = import_module("starlette.routing")
    sse: Any = import_module("sse_starlette")
    broadcast = broadcaster.Broadcast(URL or "memory://")

    async def events() -> AsyncIterator[dict[str, str]]:
        async with broadcast.subscribe(channel=ROOM) as subscriber:
            async for event in subscriber:
                yield {"data": event.message}

    async def stream(request: Any) -> Any:
        return sse.EventSourceResponse(events(), ping=PING)

    async def publish(text: str) -> None:
        await broadcast.publish(channel=ROOM, message=text)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with broadcast:
            yield

    return applications.Starlette(routes=[routing.Route("/", stream)], lifespan=lifespan), publish


def make_socketio() -> tuple[App, Publish]:
    """A room of python-socketio over websockets; with an engine, its manager for that."""
    socketio: Any = import_module("socketio")
    manager = socketio.AsyncRedisManager(URL) if URL else None
    server = socketio.AsyncServer(async_mode="asgi", client_manager=manager, ping_interval=3600)

    async def connect(client: str, environ: Any) -> None:
        await server.enter_room(client, ROOM)

    server.on("connect", connect)

    async def publish(text: str) -> None:
        await server.emit("message", json.loads(text), room=ROOM)

    return socketio.ASGIApp(server), publish


MAKERS: dict[str, Callable[[], tuple[App, Publish]]] = {
    "asgineer": make_asgineer,
    "litestar": make_litestar,
    "broadcaster": make_broadcaster,
    "socketio": make_socketio,
}

if "CHANNELS_APP" in os.environ:
    app = with_publisher(*MAKERS[os.environ["CHANNELS_APP"]]())
