"""One connection to Redis: commands of one turn of the loop go out together, replies come back in order.

Whoever waits for a reply waits for a future: a caller that is cancelled ends its wait alone, its reply is
read and dropped, and nobody gets another's. There is no task: what comes in is read where the loop hands
it over, which spares each message a turn. The connection ends as a whole: by an error of the socket, by a
reply that is `REPLY` seconds late, or by `end`. Then every wait fails with ChannelError, and it is never
used again; connecting anew is `_redis`' matter. redis-py makes the connection, with TLS and whatever it
says at first; its pools, retries and pub/sub are not used, as they hide failures, nor its way of reading,
in several coroutines for each reply. hiredis, the parser of Redis' own, packs what goes out and reads what
comes in.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from .. import _clock
from .._interrupt import Interrupt
from .._log import describe, log_error
from ..errors import ChannelError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio.connection import AbstractConnection

    from .._clock import Timer

    Word = str | bytes | int
    Replied = asyncio.Future[Any]

CONNECT = 4.0  # seconds to connect, with all that is asked at first
REPLY = 4.0  # seconds for a reply: with `_redis.WAIT` in front less than `_engine.MAX_PUBLISH`
#: Messages that are handed on in one turn of the loop. After a stall there are thousands, which would push
#: each other off the log before a subscriber had its turn; so it is late, and nothing is lost.
TURN = 32
CLOSED = "Connection closed by server"
MORE: Any = object()  # no reply: the rest of it is still to come


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


class Wire(asyncio.Protocol):
    """A connection that is open.

    Args:
        connection: the library's; it belongs to the wire from now on.
        ended: called once, with the reason, when it is of no use any more.
        told: called with channel and payload of each message of pub/sub.

    Attributes:
        over: it has ended.
    """

    _transport: asyncio.Transport

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
        self._come: deque[Any] = deque()  # replies and messages that are still to be handed on
        self._is_behind = False  # so nothing is read
        self._is_due = False  # what is unsent goes out at the end of this turn
        self._is_full = False  # the socket takes no more for now
        self._timer: Timer | None = None
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
        assert self._connection._writer is not None
        import hiredis

        self._pack: Callable[[tuple[Word, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment] # one word, its stub says
        self._reader = hiredis.Reader(replyError=self._connection._parser.parse_error, notEnoughData=MORE)
        # asyncio's and uvloop's have both directions, whatever the writer says.
        self._transport = cast("asyncio.Transport", self._connection._writer.transport)
        self._transport.set_protocol(self)
        reader = self._connection._reader
        if self._transport.is_closing() or reader is None or reader.at_eof():  # it ended unseen
            self._cut()
            raise ConnectionResetError(CLOSED)

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
            if not self._is_due:
                self._is_due = True
                asyncio.get_running_loop().call_soon(self._send)
        return waiting.replied

    def end(self, why: BaseException) -> None:
        """End the connection at once; whoever waits for a reply gets a ChannelError."""
        if self.over:
            return
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        self._cut()
        for waiting in [*self._waiting, *self._unsent]:
            if not waiting.replied.done():
                waiting.replied.set_exception(
                    ChannelError(f"The connection to Redis was lost: {describe(why) or type(why).__name__}")
                )
        self._waiting.clear()
        self._unsent.clear()
        self._ended(self, why)

    def _cut(self) -> None:
        # Not the library's disconnect: that goes on sending what is in the buffer, for a quarter of an
        # hour when nobody takes it, and what was told as failed would be published after all.
        writer = self._connection._writer
        if writer is not None:
            writer.transport.abort()
            self._connection._writer = self._connection._reader = None

    def _send(self) -> None:
        self._is_due = False
        going = [waiting for waiting in self._unsent if not waiting.replied.done()]
        if not going or self._is_full:
            return
        self._unsent.clear()
        deadline = _clock.clock.time() + REPLY
        for waiting in going:
            waiting.deadline = deadline
        self._waiting.extend(going)
        if self._timer is None:
            self._timer = _clock.clock.call_later(REPLY, self._look)
        self._transport.write(b"".join([self._pack(waiting.words) for waiting in going]))

    # What the loop calls

    def pause_writing(self) -> None:
        """Send no more for now."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Send what has come meanwhile."""
        self._is_full = False
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        try:
            self._reader.feed(data)
            self._come.extend(iter(self._reader.gets, MORE))
        except Exception as error:  # it doesn't speak the protocol
            self.end(error)
        if not self._is_behind:
            self._hand_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end."""
        self._hand_on(len(self._come))
        self.end(exc or ConnectionResetError(CLOSED))

    def _hand_on(self, most: int = TURN) -> None:
        """Hand on what has come, some at a time, and read no more until all is."""
        if self.over:
            return
        try:
            for _ in range(min(most, len(self._come))):
                reply = self._come.popleft()
                if self._told is not None and type(reply) is list and reply[0] == b"message":
                    self._tell(reply[1], reply[2])
                else:
                    self._take(reply)
        except Exception as error:  # of the server that can't serve
            self.end(error)
        if bool(self._come) is not self._is_behind and not self.over:
            self._is_behind = not self._is_behind
            (self._transport.pause_reading if self._is_behind else self._transport.resume_reading)()
        if self._is_behind:
            asyncio.get_running_loop().call_soon(self._hand_on)

    def _tell(self, channel: bytes, payload: bytes) -> None:
        assert self._told is not None
        try:
            self._told(channel, payload)
        except Exception as error:  # a mistake with one message is no reason to lose the others
            log_error("A message of Redis could not be taken", error)

    def _take(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            from redis.exceptions import ConnectionError as AtTheEnd

            if isinstance(reply, AtTheEnd):  # the server is loading its data, or has no place for us
                raise reply
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
