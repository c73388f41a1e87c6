"""What an HTTP request knows of its connection: who waits for the client, and whether it is still there.

ASGI servers tell that a client left only to who waits in `receive()`. So a request that
streams or sleeps has one task, the listener, which does nothing else. It starts at the first
such call, keeps at most one piece of the body that nobody read yet, or several where `_http` says
that it may go on, and ends with the request. A plain response has no listener. What the messages
mean (a body, a response) is `_http`'s to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import types
from typing import TYPE_CHECKING, Any, TypeVar

from . import _clock, _shutdown
from ._abort import abort
from ._interrupt import Interrupt
from ._request import BaseRequest
from ._stats import SEND_TIMEOUTS, counts
from ._ticker import go_on, ticker
from .errors import DisconnectedError, RequestTimeout, ServerClosing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from ._clock import Timer
    from ._request import Message

T = TypeVar("T")
PIECE_COST = 512  # bytes that a piece of a body takes besides what is in it
CHUNKS_IN_A_ROW = 16  # sent before the event loop gets a turn: a turn costs about as much as a send
DISCONNECT: Message = {"type": "http.disconnect"}


class IdleLimit:
    """Ends a wait of a reader that lasted too long.

    One timer per body, whatever the number of its pieces; none where nothing has to be waited for.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._interrupt: Interrupt | None = None
        self._since = 0.0
        self._timer: Timer | None = None

    @types.coroutine
    def wait(self, piece: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Wait for `piece`; raise RequestTimeout when it takes too long."""
        steps = piece.__await__()
        try:
            first = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # it was there: a small body comes with the head
        if self._seconds is None:
            return (yield from go_on(first, steps))
        return (yield from self._wait_within(self._seconds, go_on(first, steps)).__await__())

    async def _wait_within(self, seconds: float, piece: Awaitable[T]) -> T:
        self._since = _clock.clock.time()
        self._interrupt = Interrupt()
        if self._timer is None:
            self._timer = _clock.clock.call_later(seconds, self._look)
        try:
            return await self._interrupt.wait(piece, RequestTimeout)
        finally:
            self._interrupt = None

    def _look(self) -> None:
        """Interrupt the wait, or look again when it could have lasted long enough."""
        seconds = self._seconds or 0
        left = self._since + seconds - _clock.clock.time()
        if self._interrupt is None:
            left = seconds
        if self._interrupt is not None and left <= 0:
            self._interrupt()
        else:
            self._timer = _clock.clock.call_later(left, self._look)

    def cancel(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()


def _wake(sleeper: asyncio.Future[bool], woken: bool) -> None:
    if not sleeper.done():
        sleeper.set_result(woken)


class ConnectedRequest(BaseRequest):
    """A request whose client can leave while a handler is busy with it."""

    _chunks_in_a_row: int = 0
    _watchers: tuple[Callable[[Exception], object], ...] = ()  # to be told when the client left
    _gone: bool = False  # the client left
    _listener: asyncio.Task[None] | None = None
    _unread: list[Message] | None = None  # pieces of the body that came before anybody asked
    _unread_size: int = 0  # bytes of memory that they take, while nobody takes any
    _taken: asyncio.Future[None] | None = None  # the listener waits for such a piece to be taken
    _reader: asyncio.Future[Message] | None = None  # a reader waits for the listener
    _reading: bool = False  # a reader waits for the server itself
    _sleepers: set[asyncio.Future[bool]] | None = None
    _woken: bool = False  # wakeup() came while nobody slept

    # Sending

    async def _transmit(self, message: Message) -> None:
        if self._gone:
            await asyncio.sleep(0)  # a loop that swallows this would stop every other request
            raise DisconnectedError
        try:
            steps = self._send(message).__await__()
            first = next(steps)
            await ticker().within(self._settings.limits.send, first, steps, self._expire)
        except StopIteration:
            pass  # the server had room for it and did not wait: nearly always
        except DisconnectedError:
            raise
        except OSError as error:  # what ASGI 2.4 asks of a server whose client is gone
            self._note_disconnect()
            raise DisconnectedError from error

    def _expire(self) -> None:
        """The client takes nothing: leave it."""
        counts[SEND_TIMEOUTS] += not self._gone  # of two sends at once, a ping may be one
        self._note_disconnect()
        abort(self._send)

    async def _let_others_run(self) -> None:
        """Yield to the event loop, after CHUNKS_IN_A_ROW sends.

        Servers' `send` returns at once while their buffer has room, and always when the client is
        gone. Without this, a handler that sends in a loop would never let the listener tell it so.
        """
        self._chunks_in_a_row = 0
        await asyncio.sleep(0)

    # Waiting

    async def sleep_while_connected(self, seconds: float) -> bool:
        """Sleep until `seconds` are over or `wakeup` is called; return True when woken.

        A `wakeup` that came since the last sleep ends this one at once, so none is lost.
        Request body that arrives meanwhile is kept for who reads it.

        Raises:
            DisconnectedError: the client left, before or during the sleep.
            ServerClosing: the server began to stop, before or during the sleep.
        """
        self._listen()
        closing = _shutdown.notice()
        self._check_connected(closing)
        if self._woken:
            self._woken = False
            return True
        sleeper: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        timer = _clock.clock.call_later(seconds, lambda: _wake(sleeper, False))
        if self._sleepers is None:
            self._sleepers = set()
        self._sleepers.add(sleeper)
        interrupt = functools.partial(_wake, sleeper, False)
        closing.add(interrupt)
        try:
            woken = await sleeper
        except asyncio.CancelledError:
            # A wakeup that came in the same turn as the cancellation is kept for the next sleep.
            self._woken |= sleeper.done() and not sleeper.cancelled() and sleeper.result()
            raise
        finally:
            timer.cancel()
            closing.discard(interrupt)
            self._sleepers.discard(sleeper)
        self._check_connected(closing)
        return woken

    def _check_connected(self, closing: _shutdown.Notice) -> None:
        if self._gone:
            raise DisconnectedError
        if closing.begun:
            raise ServerClosing

    def wakeup(self) -> None:
        """End the sleep of this request, or the next one when it doesn't sleep now.

        To be called in the event loop of the request; from a thread by `loop.call_soon_threadsafe`.
        """
        sleeping = [sleeper for sleeper in self._sleepers or () if not sleeper.done()]
        for sleeper in sleeping:
            sleeper.set_result(True)
        self._woken = not sleeping

    @contextlib.contextmanager
    def _watching(self, tell: Callable[[Exception], object]) -> Generator[None]:
        """Have `tell` called in the block as `_watch` does."""
        self._watch(tell)
        try:
            yield
        finally:
            self._unwatch(tell)

    def _watch(self, tell: Callable[[Exception], object]) -> None:
        """Have `tell` called with the error when the client leaves, also when it has left before."""
        self._listen()
        self._watchers += (tell,)  # a tuple: of nearly every stream it is the only one
        if self._gone:
            tell(DisconnectedError())

    def _unwatch(self, tell: Callable[[Exception], object]) -> None:
        """Call `tell` no more."""
        self._watchers = tuple([other for other in self._watchers if other != tell])

    # Listening

    def _listen(self) -> None:
        """Start the listener, unless it runs, or a reader of the body waits for the server itself."""
        if self._listener is None and not self._gone and not self._reading:
            self._held = True
            self._listener = asyncio.get_running_loop().create_task(self._run_listener())

    async def _run_listener(self) -> None:
        while not self._gone:
            try:
                message = await self._receive()
            except OSError:
                message = DISCONNECT
            if not message or message["type"] != "http.request":
                self._note_disconnect()
            elif self._reader is not None and not self._reader.done():
                self._reader.set_result(message)
            else:
                self._keep(message)
                if message.get("more_body", False) and not self._may_hear_more():
                    self._taken = asyncio.get_running_loop().create_future()
                    await self._taken

    def _keep(self, message: Message) -> None:
        """Keep a piece of the body that nobody waits for, after what is kept already."""
        if self._unread is None:
            self._unread = []
            self._unread_size = 0
        self._unread.append(message)
        self._unread_size += PIECE_COST + len(message.get("body", b""))

    if TYPE_CHECKING:  # `_http` says it

        def _may_hear_more(self) -> bool:
            """Say whether the listener goes on although there is body that nobody took."""
            raise NotImplementedError

    def _go_on_listening(self) -> None:
        """Let the listener go on that waits for body to be taken."""
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)

    def _next_message(self) -> Coroutine[Any, Any, Message]:
        """Return the next message of the server, to be awaited, by way of the listener where there is one."""
        # Most requests have none of these, and one coroutine less.
        is_direct = self._listener is None and not self._unread and not self._gone
        return self._receive_directly(self._receive()) if is_direct else self._next_by_listener()

    async def _next_by_listener(self) -> Message:
        if self._unread:
            message = self._unread.pop(0)
            self._go_on_listening()
            return message
        if self._gone:
            return DISCONNECT
        reader: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._reader = reader
        try:
            return await reader
        except asyncio.CancelledError:
            if reader.done() and not reader.cancelled():  # it came in this very turn, for the next reader
                self._unread = [reader.result(), *(self._unread or ())]
            raise
        finally:
            self._reader = None

    async def _receive_directly(self, receiving: Awaitable[Message]) -> Message:
        self._reading = True
        try:
            message = await receiving
        finally:
            self._reading = False
        if not message or message["type"] != "http.request":
            self._note_disconnect()
            return DISCONNECT
        if self._sleepers or self._watchers:  # somebody began to wait meanwhile, who is to be told as well
            self._listen()
        return message

    def _note_disconnect(self) -> None:
        self._gone = True
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(DISCONNECT)
        for sleeper in self._sleepers or ():
            _wake(sleeper, False)
        for tell in self._watchers:
            tell(DisconnectedError())
