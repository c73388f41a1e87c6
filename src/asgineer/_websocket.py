"""WebsocketRequest: accept, receive, send, close.

One machine with three states: CONNECTING (the handshake waits for an answer), OPEN, CLOSED
(by us: closed, or denied). Beside it stands whether the client left, which is no mistake of
anybody: what comes too late raises DisconnectedError, what is wrong in a state UsageError.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _json
from ._abort import abort, close_code
from ._forward import call, scope_for
from ._headers import encode_headers, is_same_origin
from ._interrupt import Guard, close
from ._request import BaseRequest
from ._shutdown import notice
from ._sse import Event
from ._stats import SEND_TIMEOUTS, counts
from ._ticker import ticker
from .errors import BadRequest, DisconnectedError, HTTPError, InvalidData, ServerClosing, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Collection, Generator

    from ._forward import ASGIApp
    from ._request import Message

__all__ = ["WebsocketRequest"]

T = TypeVar("T")
CONNECTING, OPEN, CLOSED = "connecting", "open", "closed"
NO_CODE, ABNORMAL = 1005, 1006  # RFC 6455 section 7.4.1: no code was sent; no close frame came
MAX_UTF8 = 4  # bytes of a character
SENDS_IN_A_ROW = 2  # without a receive; then somebody has to listen whether the client is there
MAX_REASON = 123  # bytes: a close frame holds 125, the code takes two


class WebsocketRequest(BaseRequest):
    """A websocket: the handshake to answer, then messages both ways."""

    _default_scheme = "ws"
    _stage: str = CONNECTING
    _asked: bool = False  # the server's "websocket.connect" was received
    _gone: DisconnectedError | None = None  # how the client left
    _receiving: Guard | None = None  # ends the waits of who receives; made once, with the first of them
    _has_received: bool = False  # the handler takes messages, so it learns by them that the client left
    _watchers: set[Callable[[Exception], object]] | None = None  # to be told so, where it takes none
    _sends_in_a_row: int = 0
    _listener: asyncio.Task[None] | None = None
    _unread: deque[Message] | None = None  # what the listener has received for the handler
    _unread_size: int = 0
    _changed: asyncio.Future[None] | None = None  # of the listener and the reader, the one that waits
    _doing: str = "websocket handler"

    @property
    def method(self) -> str:
        """GET, as the handshake has it; route by `verb`."""
        return "GET"

    @property
    def verb(self) -> str:
        """WEBSOCKET, so that one `match` can route both kinds of request."""
        return "WEBSOCKET"

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """The subprotocols that the client offers, in its order of preference."""
        return tuple(self.scope.get("subprotocols") or ())

    # The handshake

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: dict[str, Any] | None = None,
        origins: Collection[str] | None = None,
    ) -> None:
        """Accept the handshake: the websocket is open.

        A page of another site can open a websocket to yours, with the visitor's cookies. So an
        Origin header, which browsers send, must name the host and port of the Host header; the
        scheme isn't compared, so that pages behind a TLS proxy work.

        Args:
            subprotocol: one of `subprotocols`.
            headers: further response headers.
            origins: other origins to accept, such as `["https://example.com"]`; `["*"]` is any.

        Raises:
            UsageError: it was accepted or closed already.
            HTTPError: 403, from another origin; uncaught, the handshake is denied with it.
            ValueError: a subprotocol that the client did not offer.
            DisconnectedError: the client left before.
        """
        if self._stage is not CONNECTING:
            what = "an already accepted" if self._stage is OPEN else "a closed"
            raise UsageError(f"Cannot accept {what} websocket")
        if isinstance(origins, str):
            raise TypeError("origins must be a list of origins, not a str")
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ValueError(f"The client did not offer the subprotocol {subprotocol!r:.100}")
        raw_headers = encode_headers({} if headers is None else headers)
        self._check_origin(origins or ())
        await self._wait_for_connect()
        if self._gone:
            raise self._too_late("Cannot accept ws that already disconnected")
        self._stage = OPEN
        self._status = 101
        await self._transmit({"type": "websocket.accept", "subprotocol": subprotocol, "headers": raw_headers})

    def _check_origin(self, origins: Collection[str]) -> None:
        origin = self.headers.get("origin")
        if origin is None or "*" in origins or origin in origins:
            return
        if not is_same_origin(origin, self.headers.get("host", "")):
            raise HTTPError(403, "Origin not allowed")

    async def _wait_for_connect(self) -> None:
        """Take the message that every ASGI server sends first."""
        if not self._asked:
            self._asked = True
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._note_disconnect(message)

    # Messages in

    async def receive(self) -> str | bytes:
        """Wait for the next message: a str for a text message, bytes for a binary one.

        Raises:
            UsageError: before `accept`, after `close`, or while another task receives.
            DisconnectedError: the client left, with its close code and reason; or it sent a message
                over `Limits.message` (1 MiB), for which the websocket was closed with 1009; or
                another task closed it meanwhile.
            ServerClosing: the server began to stop, before or during the wait.
        """
        if self._stage is not OPEN or self._gone is not None:
            await self._check_can_receive()
        guard = self._receiving or self._begin_to_receive()
        if guard._waiting:
            raise UsageError("Cannot receive in two tasks at once")
        if guard.error is not None:
            raise guard.error
        # One frame, and no object that is made for a message: each would be a tenth of what an echo
        # costs us.
        guard.take_over()
        guard._waiting = True
        try:
            message = await (self._receive() if self._unread is None else self._next_unread())
        except asyncio.CancelledError as cancellation:
            guard.raise_instead_of(cancellation)
            raise
        finally:
            guard._waiting = False
            if guard._cancelled:
                guard._stop_waiting()
        if message["type"] != "websocket.receive":
            raise self._note_disconnect(message)
        self._sends_in_a_row = 0
        data = message.get("text")
        if data is None:
            data = _data_of(message)
        limit = self._settings.limits.message
        if limit is not None and len(data) * MAX_UTF8 > limit and _size_of(data) > limit:
            await self.close(1009, "Message too big")
            raise DisconnectedError("A message was too big", code=1009, reason="Message too big")
        return data

    async def _check_can_receive(self) -> None:
        """Raise what is wrong with receiving now, if anything is."""
        if self._stage is CONNECTING:
            raise UsageError("Cannot receive before calling accept: await request.accept() first")
        if self._gone and not self._unread:
            await asyncio.sleep(0)  # a loop that swallows this would stop every other request
            raise self._too_late("Cannot receive from ws that already disconnected")
        if self._stage is CLOSED:
            raise UsageError("Cannot receive from a closed websocket")

    def _begin_to_receive(self) -> Guard:
        """Make what ends the waits for messages, and be told that the server begins to stop until `_end`."""
        self._receiving = guard = Guard()
        self._has_received = True
        closing = notice()
        closing.add(self._begin_to_close)
        if closing.begun:
            self._begin_to_close()
        return guard

    def _begin_to_close(self) -> None:
        assert self._receiving is not None
        self._receiving.tell(ServerClosing())

    def _is_receiving(self) -> bool:
        return self._receiving is not None and self._receiving._waiting

    async def receive_iter(self) -> AsyncGenerator[str | bytes]:
        """Iterate over the messages that come in, until the client leaves or `close` is called.

        Raises:
            UsageError: as `receive`, before `accept`, or while another task receives.
            ServerClosing: the server began to stop; uncaught, the websocket is closed with 1012.
        """
        while (self._gone is None or self._unread) and self._stage is not CLOSED:
            try:
                message = await self.receive()
            except ServerClosing:
                raise
            except DisconnectedError:
                return
            yield message

    @overload
    async def receive_json(self, type: None = None) -> Any: ...
    @overload
    async def receive_json(self, type: type[T]) -> T: ...
    async def receive_json(self, type: Any = None) -> Any:
        """Wait for the next message, and return the value of the JSON in it.

        Args:
            type: decode and check in one step, as `HttpRequest.get_json` does.

        Raises:
            BadRequest, InvalidData: it is no JSON, or none of that type; uncaught, the websocket is
                closed with 1007.
            UsageError, DisconnectedError, ServerClosing: as `receive`.
        """
        message = await self.receive()
        try:
            return _json.decode(message.encode() if isinstance(message, str) else message, type)
        except (BadRequest, InvalidData) as error:
            error.close_code = 1007  # "data not consistent with the type of the message"
            raise

    # Messages out

    async def send(self, data: bytes | str | dict[str, Any]) -> None:
        """Send one message: bytes as binary, str as text, a dict as JSON in a text message.

        Several tasks may send; each message goes out whole.

        Raises:
            UsageError: before `accept`, or after `close`.
            TypeError: another type, or a dict that is no JSON.
            DisconnectedError: the client left, or took nothing for `Limits.send` seconds (30).
        """
        if self._stage is not OPEN or self._gone is not None:
            if self._gone:
                await asyncio.sleep(0)  # as in `receive`
            self._check_can_send()
        if type(data) is str:
            message: Message = {"type": "websocket.send", "text": data}
            size = _size_of(data)
        else:
            message, size = _encode_message(data)
        self._sends_in_a_row += 1
        if self._sends_in_a_row >= SENDS_IN_A_ROW and not self._is_receiving():
            self._listen()
            await asyncio.sleep(0)  # or a handler that sends in a loop would never be told
        try:  # as `_transmit` does it; a coroutine less
            steps = self._send(message).__await__()
            first = next(steps)
        except StopIteration:
            pass
        except DisconnectedError:
            raise
        except OSError as error:
            raise self._failed() from error
        else:
            await self._go_on_sending(first, steps)
        self._bytes_sent += size

    def _check_can_send(self) -> None:
        if self._stage is not OPEN:
            raise UsageError(
                "Cannot send before calling accept: await request.accept() first"
                if self._stage is CONNECTING
                else "Cannot send to a closed websocket"
            )
        if self._gone:
            raise self._too_late("Cannot send to a disconnected ws")

    @contextlib.asynccontextmanager
    async def sending(self, events: AsyncIterable[Any]) -> AsyncGenerator[None]:
        """Send each item of `events` as it comes, while the block receives.

            async with request.sending(room.subscribe()):
                async for message in request.receive_iter(): ...

        It ends with the block; and the block ends when the server begins to stop, `events` fails,
        or the client left: by `receive`, or at once where the block never received. The end of
        `events` ends nothing. `events` is always closed.

        Args:
            events: an async iterable of what `send` takes, or of `Event`, which goes out as JSON,
                `{"event", "id", "data"}` without what it hasn't; or what a channel's `subscribe` gives:
                then `{"id"}`, the place where it begins, goes out first, before the block.

        Raises:
            DisconnectedError, ServerClosing: as above; and whatever `events` raised.
            UsageError: before `accept`, or after `close`.
            TypeError: `events` is no async iterable.
        """
        self._check_can_send()
        iterator = aiter(events)
        guard = Guard()
        pump: asyncio.Task[Exception | None] | None = None
        ended_by: BaseException | None = None
        try:
            with self._watching(guard.tell):
                await self._open(iterator, guard)
                pump = asyncio.get_running_loop().create_task(self._pump(iterator, guard))
                async with guard.around():
                    yield
        except BaseException as error:
            ended_by = error
            raise
        finally:
            failure = None
            try:
                if pump is not None:
                    pump.cancel()
                    await asyncio.wait([pump])
                    failure = None if pump.cancelled() else pump.result()
            finally:
                await close(iterator)  # here, as a pump that never ran could not
            # What failed when it was cancelled is nobody's yet.
            if failure is not ended_by and not isinstance(failure, (DisconnectedError, type(None))):
                raise failure

    async def _open(self, events: AsyncIterator[Any], guard: Guard) -> None:
        """Let events that can be resumed begin, and tell the client where they do."""
        begin = getattr(events, "open", None)
        if begin is not None:
            await self.send({"id": await guard.wait(begin)})

    async def _pump(self, events: AsyncIterator[Any], guard: Guard) -> Exception | None:
        """Send each of `events`; tell the block, and return, what went wrong."""
        pending = getattr(events, "pending", None)
        try:
            async for event in events:
                await self.send(_message_of(event))
                if pending is not None:
                    for other in pending():
                        await self.send(_message_of(other))
        except Exception as error:
            guard.tell(error)
            return error
        return None

    @contextlib.contextmanager
    def _watching(self, tell: Callable[[Exception], object]) -> Generator[None]:
        """Have `tell` called when the server begins to stop, or the client left and nobody receives."""
        if not self._is_receiving():
            self._listen()
        closing = notice()
        begin_to_close = functools.partial(tell, ServerClosing())
        closing.add(begin_to_close)
        if self._watchers is None:
            self._watchers = set()
        self._watchers.add(tell)
        if closing.begun:
            begin_to_close()
        try:
            yield
        finally:
            self._watchers.discard(tell)
            closing.discard(begin_to_close)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the websocket; before `accept`, deny the handshake with 403. A second call does nothing.

        Args:
            code: 1000, 1001 to 1014 as RFC 6455 section 7.4 has them, or your own from 3000 to 4999.
            reason: a short text for the client, at most 123 bytes.

        Raises:
            ValueError: a code that may not be sent, or a reason that is too long.
        """
        if code in (NO_CODE, ABNORMAL, 1004) or not (1000 <= code <= 1014 or 3000 <= code <= 4999):
            raise ValueError(f"A websocket can't be closed with code {code!r}")
        if len(reason.encode()) > MAX_REASON:
            raise ValueError(f"The reason of a close is at most {MAX_REASON} bytes")
        if self._stage is CLOSED:
            return
        if self._stage is CONNECTING:
            await self._deny(403)
            return
        self._stage = CLOSED
        if self._gone is None:
            await self._stop_receiving(
                DisconnectedError(f"The websocket was closed ({code})", code=code, reason=reason)
            )
            message = {"type": "websocket.close", "code": close_code(self._send, code), "reason": reason}
            await self._transmit(message)

    async def _stop_receiving(self, error: DisconnectedError) -> None:
        """End every wait for a message: granian sends no close while the app waits in its `receive`."""
        is_receiving = self._is_receiving()
        if self._listener is not None:
            self._listener.cancel()
        if is_receiving:
            assert self._receiving is not None
            self._receiving.tell(error)
        if self._listener is not None or is_receiving:
            await asyncio.sleep(0)  # the waits end in this turn of the event loop

    # Another app

    async def forward(self, app: ASGIApp, prefix: str = "") -> None:
        """Hand the websocket to another ASGI application, which answers the handshake; return None after it.

        As `HttpRequest.forward`, with `prefix`. The origin isn't checked: that is the other app's to do.

        Raises:
            HTTPError: 404, the path isn't under the prefix.
            UsageError: it was accepted or closed already.
            RuntimeError: the app returned without an answer. What the app raises passes.
            DisconnectedError: the client left, and the app did not expect that.
        """
        scope = scope_for(self, app, prefix)
        if self._stage is not CONNECTING:
            what = "an already accepted" if self._stage is OPEN else "a closed"
            raise UsageError(f"Cannot forward {what} websocket")
        if self._gone:
            raise self._too_late("Cannot forward ws that already disconnected")
        await call(self, app, scope, self._receive_for_other, self._pass_on, self._is_answered)

    def _is_answered(self) -> bool:
        return self._stage is not CONNECTING

    async def _receive_for_other(self) -> Message:
        """Receive a message for another app, and take note of it."""
        message = await self._receive()
        self._asked = True
        if message["type"] == "websocket.disconnect":
            self._note_disconnect(message)
        return message

    async def _pass_on(self, message: Message) -> None:
        """Send a message of another app, and take note of it."""
        kind = message["type"]
        if kind == "websocket.accept":
            self._stage, self._status = OPEN, 101
        elif kind == "websocket.http.response.start":
            self._stage, self._status = CLOSED, message["status"]
        elif kind == "websocket.close":
            self._stage, self._status = CLOSED, self._status or 403
        self._bytes_sent += len(
            message.get("bytes") or message.get("body") or (message.get("text") or "").encode()
        )
        await self._transmit(message)

    async def _deny(self, status: int) -> None:
        """Answer the handshake by ASGI's own denial, which is 403 everywhere."""
        await self._wait_for_connect()
        self._stage = CLOSED
        if self._gone is None:
            self._status = status
            await self._transmit({"type": "websocket.close", "code": 1000, "reason": ""})

    async def _transmit(self, message: Message) -> None:
        try:
            steps = self._send(message).__await__()
            first = next(steps)
        except StopIteration:
            return  # the server had room for it and did not wait: nearly always
        except DisconnectedError:
            raise
        except OSError as error:
            raise self._failed() from error
        await self._go_on_sending(first, steps)

    async def _go_on_sending(self, first: Any, steps: Generator[Any, Any, None]) -> None:
        """Wait for a client that is slow, but not for ever."""
        try:
            await ticker().within(self._settings.limits.send, first, steps, self._expire)
        except DisconnectedError:
            raise
        except OSError as error:
            raise self._failed() from error

    def _failed(self) -> DisconnectedError:
        """Return what an OSError of sending says, as ASGI 2.4 asks for it: the client is gone."""
        return self._note_disconnect({"code": ABNORMAL})

    def _expire(self) -> None:
        """The client takes nothing: leave it."""
        counts[SEND_TIMEOUTS] += 1
        self._note_disconnect({"code": ABNORMAL})
        abort(self._send)

    # Listening

    def _listen(self) -> None:
        """Start to receive in the place of a handler that only sends: a server may tell nobody else."""
        if self._listener is None:
            self._unread = deque()
            self._listener = asyncio.get_running_loop().create_task(self._run_listener())

    async def _run_listener(self) -> None:
        assert self._unread is not None
        limit = self._settings.limits.pending
        while self._gone is None:
            try:
                message = await self._receive()
            except OSError:
                message = {"type": "websocket.disconnect", "code": ABNORMAL}
            if message["type"] != "websocket.receive":
                self._note_disconnect(message)
            self._unread.append(message)
            self._unread_size += _size_of(_data_of(message))
            self._wake()
            while self._gone is None and limit is not None and self._unread_size > limit:
                await self._wait_for_change()

    async def _next_unread(self) -> Message:
        """Return the next message that the listener has received."""
        assert self._unread is not None
        while not self._unread:
            await self._wait_for_change()
        message = self._unread.popleft()
        self._unread_size -= _size_of(_data_of(message))
        self._wake()
        return message

    async def _wait_for_change(self) -> None:
        # The listener waits when there is too much, the reader when there is nothing: never both.
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _note_disconnect(self, message: Message) -> DisconnectedError:
        if self._gone is None:
            code, reason = message.get("code", NO_CODE), message.get("reason") or ""
            self._gone = DisconnectedError(f"The client disconnected ({code})", code=code, reason=reason)
            if not self._has_received:
                for tell in list(self._watchers or ()):
                    tell(self._gone)
        return self._gone

    def _too_late(self, text: str) -> DisconnectedError:
        left = self._gone or DisconnectedError()
        return DisconnectedError(text, code=left.code, reason=left.reason)

    def _end(self) -> None:
        """The handler is done."""
        self._stage = CLOSED
        if self._receiving is not None:
            notice().discard(self._begin_to_close)
            self._receiving.error = None  # its traceback leads back to here
        if self._listener is not None:
            self._listener.cancel()
        if self._request_sets:
            self._leave_request_sets()


def _encode_message(data: Any) -> tuple[Message, int]:
    """Return the ASGI message for `data`, and how many bytes it carries."""
    if isinstance(data, dict):
        data = _json.encode(data).decode()
    if isinstance(data, str):
        return {"type": "websocket.send", "text": data}, _size_of(data)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return {"type": "websocket.send", "bytes": bytes(data)}, len(data)
    raise TypeError(f"Can only send bytes/str/dict over a websocket, not {type(data).__name__}")


def _data_of(message: Message) -> str | bytes:
    """Return what a message of the client carries; servers differ in what they leave out."""
    text: str | None = message.get("text")
    data: bytes = message.get("bytes") or b""
    return data if text is None else text


def _size_of(data: str | bytes) -> int:
    """Return the bytes of it on the wire."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def _message_of(item: Any) -> Any:
    """Return what `send` takes for an item of a stream: the text that it made once for all, or its own."""
    if isinstance(item, Event):
        fields = {"event": item.event, "id": item.id, "data": item.data}
        return {name: value for name, value in fields.items() if value is not None}
    text: str | None = getattr(item, "text", None)
    return item if text is None else text
