"""Bus and Channel: the public face of channels.

Both are settings, cheap to make and without I/O, so they can stand at the top of a module. What
lives is a `_node.Node`, made in the event loop that runs when it is needed, and made anew when
another loop runs. The modules of that load with the first Bus, so that whoever has none pays nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Any

from .. import _extras
from ..errors import ChannelError, UsageError
from ._message import Batch, encode_data
from ._position import MAX_VECTOR, prefix_of, tag_of

if TYPE_CHECKING:
    from types import TracebackType

    from ._engine import Engine
    from ._node import Node, Status
    from ._subscription import Subscription

DEFAULT_HISTORY = 500  # messages
DEFAULT_TTL = 300.0  # seconds
MAX_HISTORY = 100_000
MAX_NAME = 200  # characters
MAX_KEY = 200
MAX_MESSAGE = 1024 * 1024  # bytes; as `Limits.message` has it for websockets, and NATS by default
MAX_LOG = 8 * 1024 * 1024

ENGINES = {
    "redis": "redis",
    "rediss": "redis",
    "redis+unix": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    "valkey+unix": "redis",
    "unix": "redis",
    "nats": "nats",
    "tls": "nats",
}
PACKAGES = {"redis": ("redis", "hiredis"), "nats": ("nats",)}  # that an engine needs
WORKERS = "ASGINEER_WORKERS"  # how many processes `run()` has started

_NAME = re.compile(r"[!-~]{1,200}")


class Bus:
    """Where channels are: in this process, or in Redis, Valkey or NATS.

        bus = asgineer.Bus("redis://127.0.0.1:6379")

    It serves one event loop at a time, and any number one after the other. It connects with the first
    use; `async with bus:` connects at once, and closes at the end, so it fits into a lifespan.

    Args:
        url: `redis://`, `rediss://`, `valkey://` or `nats://`, with host and port; None is in this process.
        local: every worker of `run(workers=…)` has messages of its own, and that is meant.
        max_message: bytes of one message.
        max_log: bytes of the messages of one channel that this process keeps.

    Raises:
        ChannelError: another scheme; the client library isn't installed; or no `url` in a worker that
            is one of several, where messages would reach only the clients of the same process.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        local: bool = False,
        max_message: int = MAX_MESSAGE,
        max_log: int = MAX_LOG,
    ) -> None:
        from . import _node, _subscription  # noqa: F401 - not with the first request

        if url is None and not local:
            _check_alone()
        self._url = url
        self._kind = "memory" if url is None else _check_url(url)
        self._max_message = max_message
        self._max_log = max_log
        self._node: Node | None = None

    def channel(self, name: str, *, history: int = DEFAULT_HISTORY, ttl: float = DEFAULT_TTL) -> Channel:
        """Return the channel of that name; cheap, no I/O. Give it the same bounds everywhere.

        Args:
            name: from 1 to 200 printable ASCII characters, without spaces.
            history: how many messages are retained, up to 100,000.
            ttl: how many seconds each is.

        Raises:
            ValueError: it can't be a name, or a bound is out of bounds.
        """
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ValueError(
                f"A channel's name has 1 to 200 printable ASCII characters, unlike {name!r:.100}"
            )
        if not isinstance(history, int) or not 1 <= history <= MAX_HISTORY:
            raise ValueError(f"history is a number of messages from 1 to {MAX_HISTORY}, not {history!r:.100}")
        if not 0 < ttl < float("inf"):
            raise ValueError(f"ttl is a number of seconds above 0, not {ttl!r:.100}")
        return Channel(self, name, history, ttl)

    def subscribe(self, *channels: Channel, since: str | None = None, slow: str = "reset") -> Subscription:
        """Return an async iterator of the messages of several channels, each in its own order.

        The id of each message is a vector: the positions in all of the channels. When they are other
        channels than those of `since`, those that are not in it begin with a reset.

        Args:
            channels: from 1 to 50, of this bus.
            since, slow: as in `Channel.subscribe`.
        """
        names = {channel.name for channel in channels}
        if not 1 <= len(channels) <= MAX_VECTOR or len(names) < len(channels):
            raise ValueError(f"A subscription is to 1 to {MAX_VECTOR} different channels")
        if any(channel.bus is not self for channel in channels):
            raise ValueError("The channels of a subscription are of one bus")
        from ._subscription import Subscription

        return Subscription(self, channels, since, slow)

    @property
    def status(self) -> Status:
        """How the bus fares in this process; it asks nobody, and has a JSON form."""
        from ._node import Status

        return Status(True, "new") if self._node is None else self._node.status

    async def connect(self) -> Node:
        """Return what this event loop has of the bus, connected.

        Raises:
            ChannelError: the engine can't be reached.
            UsageError: another event loop that this bus serves is still running.
        """
        from ._node import Node

        loop = asyncio.get_running_loop()
        node = self._node
        if node is None or node.loop is not loop or node.state == "closed":
            if node is not None and node.loop is not loop:
                if node.loop.is_running():
                    raise UsageError(
                        "This bus serves another event loop, which still runs: make one for each"
                    )
                node.abandon()
            node = self._node = Node(self._make_engine, self._max_message, self._max_log)
        if node.state == "new":
            await node.ready()
        return node

    def _make_engine(self) -> Engine:
        if self._url is None:
            from ._memory import MemoryEngine

            return MemoryEngine(self._max_log)
        if self._kind == "nats":
            from ._nats import NatsEngine

            return NatsEngine(self._url)
        from ._redis import RedisEngine

        return RedisEngine(self._url)

    async def close(self) -> None:
        """Close the connections; subscriptions end, and a later use connects anew."""
        node, self._node = self._node, None
        if node is not None and node.loop is asyncio.get_running_loop():
            await node.close()

    async def __aenter__(self) -> Bus:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Bus({self._kind}, {self.status.state})"  # the URL may hold a password


class Channel:
    """A bounded log of messages, shared by all who name it on the same bus."""

    __slots__ = ("_tag", "bus", "history", "name", "ttl")

    def __init__(self, bus: Bus, name: str, history: int, ttl: float) -> None:
        self.bus = bus
        self.name = name
        self.history = history
        self.ttl = ttl
        self._tag = tag_of(name)

    async def publish(self, data: Any, *, key: str | None = None) -> str:
        """Add a message, and return its position once the engine has given it one.

        Args:
            data: str, bytes, or anything that has a JSON form.
            key: up to 200 characters; publishing again with the same one, while the first message is
                retained, adds nothing and returns the first one's position.

        Raises:
            ChannelError: it may or may not have been added; within five seconds. With the same `key` it
                can be published again.
            TypeError: `data` has no JSON form.
            ValueError: `data` has more bytes than `Bus(max_message=…)` allows; or can't be written as
                UTF-8; or `key` is empty or too long. Nothing was added.
        """
        kind, raw = encode_data(data)
        if len(raw) > self.bus._max_message:
            raise ValueError(f"A message of {len(raw)} bytes is over the limit of {self.bus._max_message}")
        if key is not None and not 1 <= len(key) <= MAX_KEY:
            raise ValueError(f"A key has 1 to {MAX_KEY} characters, not {len(key)}")
        node = self.bus._node
        if node is None or node.state != "up" or node.loop is not asyncio.get_running_loop():
            node = await self.bus.connect()
        engine = node.engine
        epoch, offset = await engine.publish(
            self.name, kind, raw, history=self.history, ttl=self.ttl, key=key
        )
        if engine.logs is None:  # live may bring it later
            hub = node.hubs.get(self.name)
            if hub is not None:
                hub.note_published(epoch, offset)
        return f"{epoch}{self._tag}.{offset}"  # as `prefix_of` has it

    async def position(self) -> str:
        """Return where the log ends now. Take it before you load state, and subscribe with it after.

        Raises:
            ChannelError: the engine can't be asked.
        """
        node = await self.bus.connect()
        hub = node.hubs.get(self.name)
        if hub is not None and hub.is_sure:
            return hub.position()
        found = await node.engine.history(self.name, None, 0, history=self.history, ttl=self.ttl)
        return f"{prefix_of(found.epoch, self._tag)}{found.last}"

    async def read(self, *, since: str | None = None, wait: float = 0) -> Batch:
        """Return the messages after `since`, up to 1 MiB; if there are none, the first within `wait` seconds.

        The primitive of long polling; the batch is itself a return value of a handler.

        Args:
            since: as in `subscribe`.
            wait: seconds; 0 doesn't wait.

        Raises:
            ChannelError: the engine can't be asked.
            ServerClosing: the server begins to stop.
        """
        if not 0 <= wait < float("inf"):
            raise ValueError(f"wait is a number of seconds, not {wait!r:.100}")
        return await self.subscribe(since=since).read(wait)

    def subscribe(self, *, since: str | None = None, slow: str = "reset") -> Subscription:
        """Return an async iterator of the messages after `since`: each once, in order, or a reset first.

        Args:
            since: a position; None is from now on, "" all that is retained. One that is of another
                channel, forged, too old or of the future begins with a reset, never an error.
            slow: what happens when it lags so far behind that messages it has not taken are dropped:
                "reset" tells so and goes on from now; "latest" goes on with the newest message, for
                channels that carry state; "close" ends the iteration.

        Raises:
            TypeError, ValueError: another type of `since`, another `slow`.
        """
        from ._subscription import Subscription

        return Subscription(self.bus, [self], since, slow)

    def __repr__(self) -> str:
        return f"Channel({self.name!r}, history={self.history}, ttl={self.ttl})"


def _check_alone() -> None:
    """See that messages of this process reach all clients: it is no worker of several."""
    if os.environ.get(WORKERS, "1") not in ("", "1"):
        raise ChannelError(
            "Bus() is in one process, and this is one of several workers: use Bus(url) with a Redis, Valkey "
            "or NATS server, or Bus(None, local=True) if each worker is to have messages of its own"
        )


def _check_url(url: str) -> str:
    """Return which engine a URL names, and see that its client library is there."""
    if not isinstance(url, str):
        raise TypeError(f"The URL of a bus is a str or None, not {type(url).__name__}")
    scheme = url.partition("://")[0].lower()
    kind = ENGINES.get(scheme) if "://" in url else None
    if kind is None:
        shown = f"{scheme}://" if "://" in url else "a text without ://"
        raise ChannelError(
            f"Bus({shown}…) is none of redis://, rediss://, valkey://, nats://; Bus() needs none"
        )
    from importlib.util import find_spec

    if any(find_spec(package) is None for package in PACKAGES[kind]):
        raise ChannelError(
            f"Bus({scheme}://…) needs a package that is missing: {_extras.install_command(kind)}"
        )
    return kind
