"""One connection to Redis: commands of one turn of the loop go out together, replies come back in order.

Two tasks, one that writes and one that reads, and whoever waits for a reply waits for a future: a caller
that is cancelled ends its wait alone, its reply is read and dropped, and nobody gets another's. The
connection ends as a whole: by an error of the socket, by a reply that is `REPLY` seconds late, or by
`end`. Then every wait fails with ChannelError, and it is never used again; connecting anew is `_redis`'
matter. The library makes the connection, with TLS and whatever it says at first; its pools, retries and
pub/sub are not used, as they hide failures, nor its way of reading, which costs ten times as much.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from .. import _clock
from .._interrupt import Interrupt
from .._log import describe, log_error
from ..errors import ChannelError
from ._redis_protocol import Replies, pack_commands

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import AbstractConnection

    from .._clock import Timer
    from ._redis_protocol import Word

    Replied = asyncio.Future[Any]

CONNECT = 4.0  # seconds to connect, with all that is asked at first
REPLY = 4.0  # seconds for a reply: with `_redis.WAIT` in front less than `_engine.MAX_PUBLISH`


CHUNK = 65536  # bytes that are read at a time


class TooLate(Exception):
    """It did not come in time."""


async def within(seconds: float, awaitable: Awaitable[Any]) -> Any:
    """Await it, for `seconds` of our clock at most; then raise TooLate."""
    interrupt = Interrupt()
    timer = _clock.clock.call_later(seconds, interrupt)
    try:
        return await interrupt.wait(awaitable, TooLate)
    finally:
        timer.cancel()


class _Waiting:
    """A command, whoever waits for its replies, and how many are still to come."""

    __slots__ = ("deadline", "replied", "replies", "words")

    def __init__(self, words: tuple[Word, ...], replies: int, replied: Replied) -> None:
        self.words = words
        self.replies = replies
        self.replied = replied
        self.deadline = 0.0


class Wire:
    """A connection that is open.

    Args:
        connection: the library's; it belongs to the wire from now on.
        ended: called once, with the reason, when it is of no use any more.
        told: called with channel and payload of each message of pub/sub.

    Attributes:
        over: it has ended.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        ended: Callable[[Wire, BaseException], object],
        told: Callable[[bytes, bytes], object] | None = None,
    ) -> None:
        self._connection = connection
        self._ended = ended
        self._told = told
        self._unsent: list[_Waiting] = []
        self._waiting: deque[_Waiting] = deque()
        self._wanted = asyncio.Event()
        self._timer: Timer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.over = False

    async def open(self) -> None:
        """Connect; what fails here is raised, and `ended` not called."""
        try:
            await within(CONNECT, self._connection.connect())  # type: ignore[no-untyped-call] # the library's
        except TooLate:
            self._cut()
            raise TooLate(f"no connection in {CONNECT:.0f} s") from None
        except BaseException:
            self._cut()
            raise
        for work in (self._write, self._read):
            self._tasks.append(asyncio.create_task(self._until_it_fails(work)))

    def call(self, *words: Word, replies: int = 1) -> Replied:
        """Send a command; the future has its reply, of several the last.

        An error that the server replied is raised as the library's ResponseError, a connection that
        ended as ChannelError.
        """
        waiting = _Waiting(words, replies, asyncio.get_running_loop().create_future())
        if self.over:
            waiting.replied.set_exception(ChannelError("The connection to Redis has ended"))
        else:
            self._unsent.append(waiting)
            self._wanted.set()
        return waiting.replied

    def end(self, why: BaseException) -> None:
        """End the connection at once; whoever waits for a reply gets a ChannelError."""
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._cut()
        for waiting in [*self._waiting, *self._unsent]:
            if not waiting.replied.done():
                waiting.replied.set_exception(
                    ChannelError(f"The connection to Redis was lost: {describe(why) or type(why).__name__}")
                )
        self._waiting.clear()
        self._unsent.clear()
        self._ended(self, why)

    async def close(self) -> None:
        """End it, and return when its tasks have."""
        self.end(ChannelError("The bus was closed"))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cut(self) -> None:
        # Not the library's disconnect: that goes on sending what is in the buffer, for a quarter of an
        # hour when nobody takes it, and what was told as failed would be published after all.
        writer = self._connection._writer
        if writer is not None:
            writer.transport.abort()
            self._connection._writer = self._connection._reader = None

    async def _until_it_fails(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # of the socket, of the library, of the server that can't serve
            self.end(error)

    async def _write(self) -> None:
        writer = self._connection._writer
        assert writer is not None
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            going = [waiting for waiting in self._unsent if not waiting.replied.done()]
            self._unsent.clear()
            if not going:
                continue
            deadline = _clock.clock.time() + REPLY
            for waiting in going:
                waiting.deadline = deadline
            self._waiting.extend(going)
            if self._timer is None:
                self._timer = _clock.clock.call_later(REPLY, self._look)
            writer.write(pack_commands([waiting.words for waiting in going]))
            await writer.drain()

    async def _read(self) -> None:
        from redis.exceptions import ConnectionError as AtTheEnd

        reader, told = self._connection._reader, self._told
        assert reader is not None
        replies = Replies(self._connection._parser.parse_error)
        while data := await reader.read(CHUNK):
            for reply in replies.feed(data):
                if told is not None and type(reply) is list and reply[0] == b"message":
                    self._tell(reply[1], reply[2])
                elif isinstance(reply, AtTheEnd):  # the server is loading its data, or has no place for us
                    raise reply
                else:
                    self._take(reply)
        raise AtTheEnd("Connection closed by server.")

    def _tell(self, channel: bytes, payload: bytes) -> None:
        assert self._told is not None
        try:
            self._told(channel, payload)
        except Exception as error:  # a mistake with one message is no reason to lose the others
            log_error("A message of Redis could not be taken", error)

    def _take(self, reply: Any) -> None:
        waiting = self._waiting[0]
        waiting.replies -= 1
        if waiting.replies > 0 and not isinstance(reply, Exception):
            return
        self._waiting.popleft()
        if waiting.replied.done():  # its caller was cancelled
            return
        if isinstance(reply, Exception):
            waiting.replied.set_exception(reply)
        else:
            waiting.replied.set_result(reply)

    def _look(self) -> None:
        """End the connection when the oldest command has no reply yet: all others come after it."""
        self._timer = None
        if not self._waiting:
            return
        left = self._waiting[0].deadline - _clock.clock.time()
        if left <= 0:
            self.end(TooLate(f"no reply for {REPLY:.0f} s"))
        else:
            self._timer = _clock.clock.call_later(left, self._look)
