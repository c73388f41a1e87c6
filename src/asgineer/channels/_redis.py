"""The engine on Redis (7.0 or newer) and Valkey: redis-py makes the connections, all else is done here.

Two connections (`_redis_wire`), one for commands and one that listens, under one supervisor. Whatever
ends one of them is told at once by `lost`; then what is missing is connected anew, with a pause drawn by
chance, and told by `back`. Both must lead to the same process of the server, one that takes writes: its
`run_id` stands in every log, so what a failover or a restart did to it is told as a reset.
A reply or a heartbeat (`_canary`) that doesn't come ends both connections, as a black hole has no errors.

What is kept in Redis, and how, is said in `_redis_scripts`. A cluster's nodes are not followed: a URL
names one server, or a name that leads to the one that takes writes now.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .. import _clock
from .._log import describe
from ..errors import ChannelError
from ._canary import Canary
from ._redis_scripts import (
    HISTORY,
    KEPT,
    MAX_COUNTED,
    MAX_MESSAGE,
    MAX_READ,
    PUBLISH,
    Malformed,
    keys_of,
    live_channel,
    once_key,
    parse_history,
    parse_live,
)
from ._redis_url import read_info, read_url
from ._redis_wire import TooLate, Wire, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._engine import History, Listener
    from ._redis_wire import Word

WAIT = 0.9  # seconds for a connection that was just lost; then come the seconds for the reply
PAUSE = 0.1  # seconds, doubled with each attempt to connect, up to
MAX_PAUSE = 2.0  # seconds; drawn by chance between none and this


class _NotThere(Exception):
    """The server doesn't have the script."""


class RedisEngine:
    """Channels in a Redis or Valkey server.

    Args:
        url: `redis://[user:password@]host[:port][/database]`, `rediss://` with TLS, the same with
            `valkey://` and `valkeys://`; `unix:///path?db=0`. The options of redis-py's
            connections follow as a query, such as `?ssl_ca_certs=/path`.

    Raises:
        ChannelError: redis-py isn't there, or the URL can't be read.
    """

    logs = None

    def __init__(self, url: str) -> None:
        self._make, self._database, self._place = read_url(url)
        self._commands: Wire | None = None
        self._live: Wire | None = None
        self._server = ""  # the run_id of the process that both lead to
        self._own = b"asgineer:canary:" + secrets.token_hex(8).encode()
        self._token = secrets.token_urlsafe(6)  # of always the same length
        self._offered = 0  # epochs
        self._names: dict[bytes, str] = {}  # of pub/sub's channels
        self._up = asyncio.Event()
        self._lost_at = 0.0
        self._why: BaseException = ChannelError("The bus was closed")
        self._failed = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._canary = Canary(self._beat, self._end_both)

    async def open(self, listener: Listener) -> None:
        """Connect, once, within the seconds that a connection may take.

        Raises:
            ChannelError: the server can't be reached, is too old, or refuses; the text says what to do.
        """
        self._listener = listener
        try:
            await self._connect()
        except Exception as error:
            self._end_both(error)
            raise ChannelError(
                f"{_reason(error, self._place)}. Does it run, and does the URL that Bus was given "
                "lead to it, with user and password where it wants them?"
            ) from None
        self._supervisor = asyncio.create_task(self._supervise(), name="asgineer bus")

    async def publish(
        self, channel: str, kind: str, data: bytes, *, history: int, ttl: float, key: str | None
    ) -> tuple[str, int]:
        """Add a message; the place of the first one with `key` is returned while that is retained.

        Raises:
            ChannelError: it may or may not be in the log. Beyond 16 MiB, or without memory, it isn't.
        """
        if len(data) > MAX_MESSAGE:
            raise ChannelError(f"A message of {len(data)} bytes is too big: {MAX_MESSAGE} is the most")
        commands = await self._for_commands()
        keys: list[Word] = [*keys_of(channel), *([] if key is None else [once_key(channel, key)])]
        words: list[Word] = [self._fresh_epoch(), self._server, live_channel(channel, self._database)]
        place = await self._run(commands, PUBLISH, keys, [*words, history, _ms(ttl), KEPT, kind, data])
        epoch, _, offset = place.decode().partition(" ")
        return epoch, int(offset)

    async def history(
        self, channel: str, after: int | None, limit: int, *, history: int, ttl: float
    ) -> History:
        """Return at most `limit` messages after `after`, 4 MiB and one message at most."""
        commands = await self._for_commands()
        start: Word = "" if after is None else min(after, MAX_COUNTED)
        words: list[Word] = [self._fresh_epoch(), self._server, _ms(ttl), KEPT, start, limit, MAX_READ]
        reply = await self._run(commands, HISTORY, keys_of(channel), words)
        return parse_history(reply)

    async def listen(self, channels: Sequence[str]) -> None:
        """Return once Redis confirmed each."""
        await self._connected()
        names = {live_channel(channel, self._database): channel for channel in channels}
        self._names.update(names)
        await self._ask(self._live, "SUBSCRIBE", *names, replies=len(names))

    async def unlisten(self, channels: Sequence[str]) -> None:
        """Return once Redis confirmed each; at once while there is no connection, which has no channels."""
        names = [live_channel(channel, self._database) for channel in channels]
        for name in names:
            self._names.pop(name, None)
        if self._live is not None and not self._live.over:
            with suppress(ChannelError):  # it ended meanwhile
                await self._ask(self._live, "UNSUBSCRIBE", *names, replies=len(names))

    async def close(self) -> None:
        """End both connections; calls that wait fail with ChannelError."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        self._why, self._lost_at = ChannelError("The bus was closed"), float("-inf")
        for wire in (self._commands, self._live):
            if wire is not None:
                wire.end(self._why)
        await asyncio.sleep(0)  # until the sockets are closed, too

    # Commands

    async def _for_commands(self) -> Wire:
        """Return the connection for commands, also while the other one is away."""
        if self._commands is None or self._commands.over:
            await self._connected()
        assert self._commands is not None
        return self._commands

    async def _connected(self) -> None:
        """Wait for both connections, if one was lost a moment ago."""
        if not self._up.is_set() and (left := self._lost_at + WAIT - _clock.clock.time()) > 0:
            with suppress(TooLate):
                await within(left, self._up.wait())
        if not self._up.is_set():
            raise ChannelError(_reason(self._why, self._place))

    def _fresh_epoch(self) -> str:
        """Return an epoch that nobody has had, in case that a log is to begin."""
        self._offered += 1
        return f"{self._token}{self._offered:x}"

    async def _run(self, wire: Wire, script: str, keys: Sequence[Word], words: Sequence[Word]) -> Any:
        rest = (len(keys), *keys, *words)
        try:
            return await self._ask(wire, "EVALSHA", _SHA[script], *rest)
        except _NotThere:  # somebody flushed them; it did not run, so it can't run twice
            return await self._ask(wire, "EVAL", script, *rest)

    async def _ask(self, wire: Wire | None, *words: Word, replies: int = 1) -> Any:
        """Send a command and return its reply; what the server refuses is a ChannelError."""
        assert wire is not None  # as `_connected` has returned
        try:
            return await wire.call(*words, replies=replies)
        except ChannelError:
            raise
        except Exception as error:
            raise self._meaning_of(error) from None

    def _meaning_of(self, error: Exception) -> Exception:
        """Return what is raised for what the server replied."""
        from redis.exceptions import NoScriptError, ReadOnlyError

        if isinstance(error, NoScriptError):
            return _NotThere()
        if isinstance(error, ReadOnlyError):
            self._end_both(error)  # it became a replica: the one that takes writes is elsewhere now
            return ChannelError(_reason(error, self._place))
        return ChannelError(f"{self._place} refused: {describe(error)}")

    async def _beat(self) -> None:
        await self._ask(self._commands, "PUBLISH", self._own, b"")

    # What comes in

    def _told(self, name: bytes, payload: bytes) -> None:
        if name == self._own:
            self._canary.heard()
            return
        channel = self._names.get(name)
        if channel is None:
            return
        try:
            epoch, entry = parse_live(payload)
        except Malformed as error:
            self._listener.ignored(channel, str(error))
        else:
            self._listener.message(channel, epoch, entry)

    # Connections

    def _ended(self, wire: Wire, why: BaseException) -> None:
        """One connection ended. A time-out says the same of the other: a black hole has no errors."""
        if self._up.is_set():
            self._lost_at = _clock.clock.time()
        self._up.clear()
        self._why = why
        self._failed.set()
        if isinstance(why, TooLate):
            self._end_both(why)

    def _end_both(self, why: BaseException | str) -> None:
        error = why if isinstance(why, BaseException) else TooLate(why)
        for wire in (self._commands, self._live):
            if wire is not None:
                wire.end(error)

    async def _supervise(self) -> None:
        try:
            while True:
                self._canary.start()
                await self._failed.wait()
                self._canary.stop()
                self._listener.lost(self._why)
                await self._connect_again()
                self._listener.back()
        finally:
            self._up.clear()
            self._canary.stop()
            self._end_both(ChannelError("The bus was closed"))

    async def _connect_again(self) -> None:
        pause = PAUSE
        while True:
            await _sleep(random.uniform(0, pause))
            try:
                await self._connect()
            except Exception as error:
                self._why = error
                pause = min(pause * 2, MAX_PAUSE)
            else:
                return

    async def _connect(self) -> None:
        """Connect what isn't, until both connections lead to one server."""
        self._failed.clear()
        if self._commands is None or self._commands.over:
            self._commands, server = await self._connect_one(None)
            if server != self._server and self._live is not None:
                self._live.end(ChannelError("Another server answers there"))
            self._server = server
            for script in _SHA:
                await self._ask(self._commands, "SCRIPT", "LOAD", script)
        if self._live is None or self._live.over:
            self._live, server = await self._connect_one(self._told)
            await self._ask(self._live, "SUBSCRIBE", self._own)
            if server != self._server:
                error = ChannelError("Two servers answer there, in turn")
                self._end_both(error)
                raise error
        if self._commands.over or self._live.over:
            raise self._why
        self._failed.clear()
        self._up.set()

    async def _connect_one(self, told: Any) -> tuple[Wire, str]:
        """Return a connection, and the run_id of the server."""
        wire = Wire(self._make(), self._ended, told)
        await wire.open()
        try:
            run_id = read_info(await self._ask(wire, "INFO"))
        except BaseException:
            wire.end(ChannelError("It is not used"))
            raise
        return wire, run_id


_SHA = {script: hashlib.sha1(script.encode()).hexdigest() for script in (PUBLISH, HISTORY)}


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


async def _sleep(seconds: float) -> None:
    done = asyncio.Event()
    timer = _clock.clock.call_later(seconds, done.set)
    try:
        await done.wait()
    finally:
        timer.cancel()


def _reason(error: BaseException, place: str) -> str:
    if isinstance(error, ChannelError):
        return str(error)
    return f"{place} is away: {describe(error).rstrip('.?') or type(error).__name__}"
