"""The systems that `channels.py` compares: how each subscribes and publishes, in few words.

Run by the interpreter of the peers' environment; a process makes one of them, so that nothing of the
others is loaded. Each is used as its documentation says, with a loop of the user's per subscriber;
without bounds on what waits for a subscriber, where there is a choice, so that it loses nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class System(Protocol):
    """Channels of one kind.

    Attributes:
        yields: publishing in memory gives subscribers a turn; where it doesn't, the publisher does.
    """

    yields: bool

    async def start(self) -> None:
        """Connect."""

    async def publish(self, channel: str, data: str) -> None:
        """Publish one message, and return when that is done."""

    async def listen(self, channel: str, ready: Callable[[], object], take: Callable[[str], object]) -> None:
        """Subscribe, say that it is `ready`, and have `take` called for each message."""

    async def stop(self) -> None:
        """Disconnect."""


class Asgineer:
    """A bus of ours."""

    yields = True

    def __init__(self, url: str | None) -> None:
        import asgineer

        self._bus = asgineer.Bus(url)
        self._channels: dict[str, Any] = {}

    def _channel(self, name: str) -> Any:
        found = self._channels.get(name)
        if found is None:
            found = self._channels[name] = self._bus.channel(name)
        return found

    async def start(self) -> None:
        await self._bus.connect()

    async def publish(self, channel: str, data: str) -> None:
        await self._channel(channel).publish(data)

    async def listen(self, channel: str, ready: Callable[[], object], take: Callable[[str], object]) -> None:
        subscription = self._channel(channel).subscribe()
        await subscription.open()
        ready()
        async for message in subscription:
            take(message.data if not message.reset else "")

    async def stop(self) -> None:
        await self._bus.close()


class Litestar:
    """The channels of Litestar: pub/sub of Redis behind them, or memory."""

    yields = False

    def __init__(self, url: str | None) -> None:
        channels: Any = import_module("litestar.channels")
        if url is None:
            memory: Any = import_module("litestar.channels.backends.memory")
            backend = memory.MemoryChannelsBackend()
        else:
            backends: Any = import_module("litestar.channels.backends.redis")
            client: Any = import_module("redis.asyncio")
            backend = backends.RedisChannelsPubSubBackend(redis=client.Redis.from_url(url))
        self._plugin = channels.ChannelsPlugin(backend=backend, arbitrary_channels_allowed=True)
        self._joining = asyncio.Lock()

    async def start(self) -> None:
        await self._plugin._on_startup()  # what Litestar calls in its lifespan

    async def publish(self, channel: str, data: str) -> None:
        await self._plugin.wait_published(data, channel)

    async def listen(self, channel: str, ready: Callable[[], object], take: Callable[[str], object]) -> None:
        async with self._joining:  # ten at once on Redis break it silently: nothing comes any more
            subscriber = await self._plugin.subscribe([channel])
        ready()
        async for data in subscriber.iter_events():
            take(data.decode())

    async def stop(self) -> None:
        await self._plugin._on_shutdown()


class Broadcaster:
    """The package broadcaster, which Starlette's documentation names."""

    yields = False

    def __init__(self, url: str | None) -> None:
        broadcaster: Any = import_module("broadcaster")
        self._broadcast = broadcaster.Broadcast(url or "memory://")
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        await self._stack.enter_async_context(self._broadcast)

    async def publish(self, channel: str, data: str) -> None:
        await self._broadcast.publish(channel=channel, message=data)

    async def listen(self, channel: str, ready: Callable[[], object], take: Callable[[str], object]) -> None:
        async with self._broadcast.subscribe(channel=channel) as subscriber:
            ready()
            async for event in subscriber:
                take(event.message)

    async def stop(self) -> None:
        await self._stack.aclose()


MAKERS: dict[str, Callable[[str | None], System]] = {
    "asgineer": Asgineer,
    "litestar": Litestar,
    "broadcaster": Broadcaster,
}


def make(name: str, url: str | None) -> System:
    """Make the system of that name."""
    return MAKERS[name](url)
