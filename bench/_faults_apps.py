"""The applications that `faults.py` compares: one room as server-sent events, and a path that publishes.

The environment says which one `app` is (FAULTS_APP) and where its engine is (FAULTS_URL), so that a
process has loaded nothing of the others. `/events` streams the room, `/publish/N` answers 200 once
its library says that N is published, and 503 when it says that it isn't.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    App = Callable[[Any, Any, Any], Awaitable[None]]
    Follow = Callable[[], AsyncIterator[str]]

URL = os.environ.get("FAULTS_URL", "")
EVENT_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]


def make_asgineer() -> App:
    import asgineer

    bus = asgineer.Bus(URL or None)
    room = bus.channel("room")

    @asgineer.to_asgi
    async def app(request: asgineer.HttpRequest) -> asgineer.Response:
        match request.parts:
            case ("events",):
                return asgineer.EventStream(room.subscribe(since=request.last_event_id))
            case ("publish", number):
                return await room.publish(number, key=number)
        return "ready"

    return app


class Streamed:
    """A raw application around a library that has channels, and no server-sent events of its own."""

    def __init__(self, library: AbstractAsyncContextManager[Any], follow: Follow, publish: Any) -> None:
        self._library = library
        self._follow = follow
        self._publish = publish

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["path"] == "/events":
            await self._stream(receive, send)
        else:
            await self._answer(scope["path"], send)

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        async with self._library:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, path: str, send: Any) -> None:
        status = 200
        if path.startswith("/publish/"):
            try:
                await self._publish(path.rpartition("/")[2])
            except Exception:  # whatever its library raises
                status = 503
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"ready"})

    async def _stream(self, receive: Any, send: Any) -> None:
        await receive()
        streaming = asyncio.ensure_future(self._send_events(send))
        leaving = asyncio.ensure_future(receive())
        await asyncio.wait([streaming, leaving], return_when=asyncio.FIRST_COMPLETED)
        for task in (streaming, leaving):
            task.cancel()
        await asyncio.gather(streaming, leaving, return_exceptions=True)

    async def _send_events(self, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_HEADERS})
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
        with suppress(Exception):  # the stream ends, and the client comes back
            async for text in self._follow():
                body = b"data: %s\n\n" % text.encode()
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def make_litestar() -> App:
    from redis.asyncio import Redis

    backends = import_module("litestar.channels.backends.redis")
    backend = backends.RedisChannelsPubSubBackend(redis=Redis.from_url(URL))
    channels = import_module("litestar.channels").ChannelsPlugin(backend, channels=["room"])

    async def follow() -> AsyncIterator[str]:
        async with channels.start_subscription(["room"]) as subscriber:
            async for data in subscriber.iter_events():
                yield data.decode().strip('"')

    async def publish(number: str) -> None:
        await channels.wait_published(number, "room")

    return Streamed(channels, follow, publish)


def make_broadcaster() -> App:
    # Its backend on pub/sub stays deaf with redis-py 8.1: it looks for channels before it has subscribed.
    broadcast = import_module("broadcaster").Broadcast(URL.replace("redis:", "redis-stream:"))

    async def follow() -> AsyncIterator[str]:
        async with broadcast.subscribe(channel="room") as subscriber:
            async for event in subscriber:
                yield event.message

    async def publish(number: str) -> None:
        await broadcast.publish(channel="room", message=number)

    return Streamed(broadcast, follow, publish)


class ChannelsRedis:
    """A channel layer has nothing to open or close."""

    async def __aenter__(self) -> None:
        """Do nothing."""

    async def __aexit__(self, *error: object) -> None:
        """Do nothing."""


def make_channels_redis() -> App:
    layer = import_module("channels_redis.pubsub").RedisPubSubChannelLayer(hosts=[URL])

    async def follow() -> AsyncIterator[str]:
        name = await layer.new_channel()
        await layer.group_add("room", name)
        try:
            while True:
                yield (await layer.receive(name))["number"]
        finally:
            await layer.group_discard("room", name)

    async def publish(number: str) -> None:
        await layer.group_send("room", {"type": "number", "number": number})

    return Streamed(ChannelsRedis(), follow, publish)


MAKERS = {
    "asgineer": make_asgineer,
    "litestar": make_litestar,
    "broadcaster": make_broadcaster,
    "channels_redis": make_channels_redis,
}

app = MAKERS[os.environ.get("FAULTS_APP", "asgineer")]()
