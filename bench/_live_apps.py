"""The applications that `live.py` compares, all with the same broadcast and the same publisher.

Run by the interpreter of the peers' environment; the environment variable LIVE_APP says which
one `app` is, so that a server process has loaded nothing of the others. Messages are published
by a request to `/publish`, which every application gets from the same wrapper.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    App = Callable[[Any, Any, Any], Awaitable[None]]
    Publish = Callable[[str], Awaitable[Any] | None]

TEXT = "The quick brown fox jumps over the lazy dog"
EVENT_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
PING = 15  # seconds; the raw application has none, so that it has no timer per message either

queues: set[asyncio.Queue[Any]] = set()


class Subscription:
    """What one client has still to get: a queue of its own, as every one of the applications has it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self._get = self.queue.get

    def __aiter__(self) -> AsyncIterator[Any]:
        queues.add(self.queue)
        return self

    async def __anext__(self) -> Any:
        return await self._get()

    async def aclose(self) -> None:
        queues.discard(self.queue)


def broadcast(item: Any) -> None:
    for queue in queues:
        queue.put_nowait(item)


# Each maker returns the application, and what publishes the text of one message.


def make_raw() -> tuple[App, Publish]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await raw_stream(receive, send)
        elif scope["type"] == "websocket":
            await raw_websocket(receive, send)
        else:
            await raw_lifespan(receive, send)

    def publish(text: str) -> None:
        # A server encodes the text of a websocket message anew for each client, so that is what it gets.
        broadcast((b"data: %b\n\n" % text.encode(), text))

    return app, publish


async def raw_lifespan(receive: Any, send: Any) -> None:
    for event in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{event}.complete"})


async def raw_stream(receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": EVENT_HEADERS})
    await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
    queue: asyncio.Queue[Any] = asyncio.Queue()
    queues.add(queue)

    async def pump() -> None:
        while True:
            wire, _ = await queue.get()
            await send({"type": "http.response.body", "body": wire, "more_body": True})

    await pump_until_gone(pump(), receive, queue)


async def raw_websocket(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    queue: asyncio.Queue[Any] = asyncio.Queue()
    queues.add(queue)

    async def pump() -> None:
        while True:
            _, text = await queue.get()
            await send({"type": "websocket.send", "text": text})

    await pump_until_gone(pump(), receive, queue)


async def pump_until_gone(pump: Any, receive: Any, queue: asyncio.Queue[Any]) -> None:
    task = asyncio.create_task(pump)
    try:
        while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            pass
    finally:
        queues.discard(queue)
        task.cancel()


def make_asgineer() -> tuple[App, Publish]:
    import asgineer

    async def handler(request: Any) -> Any:
        if request.verb != "WEBSOCKET":
            return asgineer.EventStream(Subscription(), ping=PING)
        await request.accept()
        async with request.sending(Subscription()):
            async for _ in request.receive_iter():
                pass

    app: App = asgineer.to_asgi(handler)
    is_websocket = os.environ.get("LIVE_KIND") == "websocket"

    def publish(text: str) -> None:
        broadcast(text if is_websocket else asgineer.Event(text))

    return app, publish


def make_channel() -> tuple[App, Publish]:
    """The same with a channel of a bus in memory, which has a log and no queue per client."""
    import asgineer

    bus = asgineer.Bus()
    room = bus.channel("room")

    async def handler(request: Any) -> Any:
        if request.verb != "WEBSOCKET":
            return asgineer.EventStream(room.subscribe(since=request.last_event_id), ping=PING)
        await request.accept()
        async with request.sending(room.subscribe(since=request.last_event_id)):
            async for _ in request.receive_iter():
                pass

    def publish(text: str) -> Awaitable[Any]:
        return room.publish(json.loads(text))  # as a value: websockets would get text in quotes

    return asgineer.to_asgi(handler), publish


def make_starlette() -> tuple[App, Publish]:
    applications: Any = import_module("starlette.applications")
    routing: Any = import_module("starlette.routing")
    sse: Any = import_module("sse_starlette")

    async def events() -> AsyncIterator[dict[str, str]]:
        subscription = Subscription()
        try:
            async for text in subscription:
                yield {"data": text}
        finally:
            await subscription.aclose()

    async def stream(request: Any) -> Any:
        return sse.EventSourceResponse(events(), ping=PING)

    async def websocket(websocket: Any) -> None:
        await websocket.accept()
        subscription = Subscription()

        async def pump() -> None:
            async for text in subscription:
                await websocket.send_text(text)

        task = asyncio.create_task(pump())
        try:
            async for _ in websocket.iter_text():
                pass
        finally:
            task.cancel()
            await subscription.aclose()

    routes = [routing.Route("/", stream), routing.WebSocketRoute("/", websocket)]
    return applications.Starlette(routes=routes), broadcast


def make_litestar() -> tuple[App, Publish]:
    litestar: Any = import_module("litestar")
    channels: Any = import_module("litestar.channels")
    memory: Any = import_module("litestar.channels.backends.memory")
    response: Any = import_module("litestar.response")
    plugin = channels.ChannelsPlugin(backend=memory.MemoryChannelsBackend(), channels=["room"])

    async def events() -> AsyncIterator[bytes]:
        async with plugin.start_subscription(["room"]) as subscriber:
            async for data in subscriber.iter_events():
                yield data

    async def stream() -> Any:
        return response.ServerSentEvent(events())

    def publish(text: str) -> None:
        plugin.publish(text.encode(), "room")

    return litestar.Litestar(route_handlers=[litestar.get("/")(stream)], plugins=[plugin]), publish


MAKERS = {
    "raw": make_raw,
    "asgineer": make_asgineer,
    "channel": make_channel,
    "starlette": make_starlette,
    "litestar": make_litestar,
}


def with_publisher(inner: Any, publish: Publish) -> App:
    """Answer `/publish?rate=&seconds=` after publishing so; hand the rest to `inner`."""

    async def answer(scope: Any, send: Any) -> None:
        query = dict(parse_qsl(scope["query_string"].decode()))
        found = await publish_for(publish, int(query["rate"]), float(query["seconds"]))
        body = json.dumps(found).encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def app(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        # No coroutine of its own: each event would have to pass through it.
        if scope["type"] == "http" and scope["path"] == "/publish":
            return answer(scope, send)
        return inner(scope, receive, send)  # type: ignore[no-any-return]

    return app


async def publish_for(publish: Publish, rate: int, seconds: float) -> dict[str, int]:
    """Publish by a fixed timetable; too late rather than not at all, but no longer than `seconds`.

    A message carries the time at which it should have gone out, so its latency has all that the
    server was late with.
    """
    start = time.monotonic()
    number = 0
    while number < rate * seconds and time.monotonic() - start < seconds:
        due = start + number / rate
        await asyncio.sleep(max(0, due - time.monotonic()))
        number += 1
        told = publish(f'{{"n":{number},"t":{due:.6f},"text":"{TEXT}"}}')
        if told is not None:
            await told
    return {"published": number, "planned": int(rate * seconds)}


app = with_publisher(*MAKERS[os.environ["LIVE_APP"]]())
