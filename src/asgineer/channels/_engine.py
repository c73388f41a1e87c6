"""What the core of a bus and an engine are to each other: the one internal interface of this folder.

An engine keeps bounded logs, one per channel, and tells live messages; the core (`_bus`, `_hub`)
does all the rest: positions, cursors, the merge of history and live, resets. An engine is one file,
with one class that `_bus` makes from the URL: `_memory.MemoryEngine()`, `_redis.RedisEngine(url)`,
`_nats.NatsEngine(url)`. Everything runs in one event loop; when another loop runs, the bus makes
another engine. Only these types live here, and no work.

An engine that has connections supervises them itself. It notices a failure by socket errors and by
the canary (`_canary`), calls `Listener.lost`, connects anew with a back-off that is drawn by chance,
and calls `Listener.back`. It buffers nothing that isn't told: while it is away, `publish` and
`history` raise ChannelError within five seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from ._memory import OwnLog

TEXT = "t"  # kinds of data: str,
JSON = "j"  # anything with a JSON form,
BYTES = "b"  # bytes

MAX_PUBLISH = 5.0  # seconds until `publish`, `history`, `listen` give up with ChannelError


class Entry:
    """One message of a log, as an engine gives it.

    Attributes:
        offset: its place in the log, above 0.
        kind: what `data` is: "t" for str (UTF-8), "j" for JSON, "b" for bytes; "" for an entry of the log
            that can't be read: it keeps its place, is counted as ignored, and nobody gets it.
        data: as it was published.
        previous: the offset of the message before it in this channel, where the engine can tell and
            it may be another than `offset - 1`; None is `offset - 1`.
    """

    __slots__ = ("data", "kind", "offset", "previous")

    def __init__(self, offset: int, kind: str, data: bytes, previous: int | None = None) -> None:
        self.offset = offset
        self.kind = kind
        self.data = data
        self.previous = previous

    def __repr__(self) -> str:
        return f"Entry({self.offset}, {self.kind!r}, {self.data!r:.100}, {self.previous})"


class History:
    """What an engine has of one log.

    Attributes:
        epoch: which log it is; another one when offsets may mean other messages. From 1 to 64
            letters, digits, "-" and "_".
        entries: ascending, and without a hole among them.
        first: the offset of the oldest message that is retained, `last + 1` when none is. Where offsets
            have holes (NATS), the lowest one from which on nothing is missing, as far as that is known.
        last: where the log ends now: the offset of its newest message, 0 before the first.
        complete: every retained message after the one that was asked for is in `entries`;
            False: ask again after `entries[-1]`.
    """

    __slots__ = ("complete", "entries", "epoch", "first", "last")

    def __init__(self, epoch: str, entries: list[Entry], first: int, last: int, complete: bool) -> None:
        self.epoch = epoch
        self.entries = entries
        self.first = first
        self.last = last
        self.complete = complete


class Listener(Protocol):
    """What the bus gives an engine; every method is called in the bus's event loop, and returns at once."""

    def message(self, channel: str, epoch: str, entry: Entry) -> None:
        """A live message came."""

    def ignored(self, channel: str, why: str) -> None:
        """A message on the bus is malformed, too big, or of another version: it is counted and logged."""

    def lost(self, why: BaseException | str) -> None:
        """From now on live messages may be missing."""

    def back(self) -> None:
        """It is connected anew: the bus listens again, in batches, and reads what is missing."""


class Engine(Protocol):
    """Bounded logs, one per channel, and the news of them.

    A channel's name has 1 to 200 printable ASCII characters without spaces; the bus checks it.
    """

    #: The logs themselves by channel, of those that are listened to at least, where they are in this
    #: process and `publish` wakes who waits (memory); None where they are elsewhere.
    @property
    def logs(self) -> Mapping[str, OwnLog] | None: ...

    async def open(self, listener: Listener) -> None:
        """Connect.

        Raises:
            ChannelError: it can't be reached; the text says what to do.
        """

    def publish(
        self, channel: str, kind: str, data: bytes, *, history: int, ttl: float, key: str | None
    ) -> Awaitable[tuple[str, int]]:
        """Add a message to the log and return (epoch, offset).

        Args:
            channel: the name of the log.
            kind: as in `Entry`.
            data: the message.
            history: how many messages the log retains.
            ttl: how many seconds each.
            key: a second message with it, while the first is retained, is not added: the first one's
                place is returned.

        Raises:
            ChannelError: it may or may not be in the log.
        """

    async def history(
        self, channel: str, after: int | None, limit: int, *, history: int, ttl: float
    ) -> History:
        """Return at most `limit` entries after offset `after`; None: none, only where the log ends."""

    async def listen(self, channels: Sequence[str]) -> None:
        """Return once every message that is published from then on comes to `Listener.message`."""

    async def unlisten(self, channels: Sequence[str]) -> None:
        """Have no more messages of them told; one that is on its way may still come."""

    async def close(self) -> None:
        """Leave no task, file descriptor or connection."""
