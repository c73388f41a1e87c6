"""HttpRequest: the body comes in, the response goes out.

Two small machines, each with named states. The body is UNREAD, then CONSUMED. The response
is NEW, then ACCEPTED (its head is out) and ENDED, or WHOLE (the app sends it in one go).
REFUSED is NEW after BodyTooLarge was raised: the response can't be a success any more. A
call that is wrong in a state raises a UsageError that names the call.

ASGI servers tell that a client left only to who waits in `receive()`. So a request that
streams or sleeps has one task, the listener, which does nothing else. It starts at the first
such call, keeps at most one piece of the body that nobody read yet (and drops none), and
ends with the request. A plain response has no listener.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _clock, _json, _shutdown
from ._abort import abort
from ._forward import call, scope_for
from ._headers import encode_headers, is_cross_site, parse_content_type
from ._interrupt import Guard, Interrupt
from ._limits import UNSET, Unset
from ._request import BaseRequest
from ._stats import OPEN_STREAMS, SEND_TIMEOUTS, counts
from ._ticker import Ticker, ticker
from .errors import (
    BadRequest,
    BodyTooLarge,
    DisconnectedError,
    InvalidData,
    RequestTimeout,
    ServerClosing,
    UnsupportedMediaType,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from typing import NoReturn

    from ._forms import Form
    from ._forward import ASGIApp
    from ._headers import RawHeaders
    from ._parts import Parts
    from ._request import Message

__all__ = ["HttpRequest"]

NEW, REFUSED, ACCEPTED, WHOLE, ENDED = "new", "refused", "accepted", "whole", "ended"
UNREAD, CONSUMED = "unread", "consumed"
CHUNKS_IN_A_ROW = 16  # sent before the event loop gets a turn: a turn costs about as much as a send
KEPT_PIECE = 65_536  # bytes of a body that was read whole, for who reads it in pieces
NO_BODY = (204, 304)  # RFC 9110 sections 15.3.5 and 15.4.5
# ASGI's, and two of its extensions: a file that the server reads by itself. All can be the last one.
BODY_MESSAGES = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")

T = TypeVar("T")
DISCONNECT: Message = {"type": "http.disconnect"}


def check_status(status: Any) -> int:
    """Return `status`.

    Raises:
        TypeError: it is no int.
        ValueError: it is not from 200 to 599. 1xx are the server's: they are no final response.
    """
    if type(status) is int and 200 <= status <= 599:
        return status
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(
            f"Status code must be an int, not {type(status).__name__}; the order is status, headers, body"
        )
    if not 200 <= status <= 599:
        raise ValueError(f"Status code must be an int from 200 to 599, not {status}")
    return int(status)  # an IntEnum such as http.HTTPStatus


def check_chunk(data: Any, kind: str = "Can only send bytes/str") -> bytes:
    """Return one piece of a body as bytes, text as UTF-8; TypeError for anything else."""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes):
        return data
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"{kind}, not {type(data).__name__}")


class IdleLimit:
    """Ends a wait of a reader that lasted too long. One timer per body, whatever the number of its pieces."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._interrupt: Interrupt | None = None
        self._since = 0.0
        self._timer = None if seconds is None else _clock.clock.call_later(seconds, self._look)

    async def wait(self, piece: Coroutine[Any, Any, T]) -> T:
        """Wait for `piece`; raise RequestTimeout when it takes too long."""
        self._since = _clock.clock.time()
        self._interrupt = Interrupt()
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


class HttpRequest(BaseRequest):
    """An HTTP request, and the way to answer it piece by piece."""

    _response_stage: str = NEW
    _body_stage: str = UNREAD
    _body: bytes | None = None
    _form: Form | None = None
    _content_length: int | None = None  # what the head of a streamed response promised

    _chunks_in_a_row: int = 0
    _streaming: bool = False  # counted as an open stream
    _ticker: Ticker | None = None
    _watchers: set[Callable[[Exception], object]] | None = None  # to be told when the client left
    _gone: bool = False  # the client left
    _listener: asyncio.Task[None] | None = None
    _unread: Message | None = None  # a piece of the body that came before anybody asked
    _taken: asyncio.Future[None] | None = None  # the listener waits for that piece to be taken
    _reader: asyncio.Future[Message] | None = None  # a reader waits for the listener
    _reading: bool = False  # a reader waits for the server itself
    _sleepers: set[asyncio.Future[bool]] | None = None
    _woken: bool = False  # wakeup() came while nobody slept

    # Body in

    async def iter_body(self) -> AsyncGenerator[bytes]:
        """Iterate over the request body as it comes in, in pieces of the server's choosing.

        There is no limit on the sum: what you keep of it is yours to bound.

        Raises:
            UsageError: the body was already consumed, by this or by `get_body`.
            RequestTimeout: nothing came for `Limits.body_idle` seconds (30) while you waited for it.
            DisconnectedError: the client left before the end; a cut-off body is never an end.
        """
        if self._body_stage is not UNREAD:
            raise UsageError("Request body was already consumed")
        self._body_stage = CONSUMED
        idle = IdleLimit(self._settings.limits.body_idle)
        more = True
        try:
            while more:
                message = await idle.wait(self._next_message())
                if message["type"] != "http.request":
                    raise DisconnectedError("The client disconnected before the end of the request body")
                more = message.get("more_body", False)
                if chunk := message.get("body", b""):
                    yield chunk
        finally:
            idle.cancel()

    async def get_body(self, limit: int | None | Unset = UNSET) -> bytes:
        """Return the whole request body; it is kept, so a second call returns it again.

        Args:
            limit: bytes, None for no limit; left out, it is `Limits.body` (10 MiB).

        Raises:
            BodyTooLarge: over the limit; before anything is read where content-length says so.
            UsageError: the body was already consumed by `iter_body`.
            DisconnectedError: the client left before the end.
        """
        if self._body is None:
            if isinstance(limit, Unset):
                limit = self._settings.limits.body
            if self._body_stage is UNREAD:
                self._check_declared_length(limit)
            self._body = await self._read_body(limit)
        return self._body

    def _check_declared_length(self, limit: int | None) -> None:
        declared = self.headers.get("content-length")
        if declared is None:
            return
        if not (declared.isascii() and declared.isdigit()):
            raise BadRequest("Bad Content-Length header")
        # Compared by digits first: int() of thousands of them is an error of its own.
        if limit is not None and (len(declared) > 18 or int(declared) > limit):
            self._refuse_body()

    async def _read_body(self, limit: int | None) -> bytes:
        chunks = []
        size = 0
        async for chunk in self.iter_body():
            size += len(chunk)
            if limit is not None and size > limit:
                self._refuse_body()
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _refuse_body(self, text: str = "Request body too large") -> NoReturn:
        if self._response_stage is NEW:
            self._response_stage = REFUSED
        raise BodyTooLarge(text)

    @overload
    async def get_json(self, limit: int | None | Unset = UNSET, type: None = None) -> Any: ...
    @overload
    async def get_json(self, limit: int | None | Unset = UNSET, *, type: type[T]) -> T: ...
    async def get_json(self, limit: int | None | Unset = UNSET, type: Any = None) -> Any:
        """Return the value of the JSON in the request body: a dict, a list, or what else it is.

        Args:
            limit: as for `get_body`.
            type: decode and check in one step: a dataclass, msgspec.Struct, TypedDict, `list[int]`, …,
                or a class with `model_validate_json`, such as pydantic's models.

        Raises:
            BadRequest: 400, no valid JSON, or an empty body.
            InvalidData: 422, JSON of another shape than `type`; the answer says where.
            UnsupportedMediaType: 415, the body does not say that it is JSON, and comes from a page of
                another site: a browser sends such a request without asking first. From anybody
                else it is read. Or it is encoded (content-encoding), or in another charset.
            BodyTooLarge, UsageError, RequestTimeout, DisconnectedError: as `get_body`.
        """
        self._check_says_json()
        return _json.decode(await self.get_body(limit), type)

    def _check_says_json(self) -> None:
        headers = self.headers
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("Encoded request bodies are not supported")
        media_type, charset = parse_content_type(headers.get("content-type", ""))
        if charset.lower().replace("_", "-") not in ("", "utf-8", "utf8"):
            raise UnsupportedMediaType("JSON is UTF-8")
        says_json = media_type == "application/json" or media_type.endswith("+json")
        if not says_json and is_cross_site(headers):
            raise UnsupportedMediaType("The body does not say that it is JSON")

    @overload
    async def get_form(self, type: None = None, *, limit: int | None | Unset = UNSET) -> Form: ...
    @overload
    async def get_form(self, type: type[T], *, limit: int | None | Unset = UNSET) -> T: ...
    async def get_form(self, type: Any = None, *, limit: int | None | Unset = UNSET) -> Any:
        """Return the form in the request body, urlencoded or multipart; it is kept for a second call.

        Files above `Limits.spool` (1 MiB) are written to a temporary file by a thread. All are closed
        when the handler ends, however it ends.

        Args:
            type: return a value of this dataclass, Struct, TypedDict or NamedTuple class instead:
                see `Form.check`, which is for showing the page again with what is wrong.
            limit: bytes, None for no limit; left out, it is `Limits.body` (10 MiB).

        Raises:
            BadRequest: 400, the form can't be read, or the client ended it early.
            InvalidData: 422, some field is not what `type` asks for; `errors` has all of them.
            UnsupportedMediaType: 415, the body does not say that it is a form.
            BodyTooLarge: over the limit, or over one of `Limits.form_fields`, `form_files`, `form_field`.
            UsageError, RequestTimeout, DisconnectedError: as `get_body`.
        """
        if self._form is None:
            from ._forms import read_form

            body = self._iter_limited(limit)
            self._held = True
            self._form = await read_form(self.headers, body, self._settings.limits, self._refuse_body)
        if type is None:
            return self._form
        value, errors = self._form.check(type)
        if errors:
            raise InvalidData(errors)
        return value

    def iter_form(self, limit: int | None | Unset = UNSET) -> Parts:
        """Iterate over the parts of a multipart form as they come in, without keeping any of it.

            async for part in request.iter_form(limit=None):
                if part.filename is not None:
                    await part.save(folder / f"{uuid4()}.upload")

        A part is read inside the loop, by iteration, `read` or `save`, or it is skipped.

        Args:
            limit: bytes of the whole body, None for any size; left out, it is `Limits.body` (10 MiB).

        Raises:
            UnsupportedMediaType, BodyTooLarge, BadRequest: as `get_form`.
            UsageError, RequestTimeout, DisconnectedError: as `iter_body`.
        """
        from ._parts import open_parts

        body = self._iter_limited(limit)
        return open_parts(self.headers, body, self._settings.limits, self._refuse_body)

    async def _iter_limited(self, limit: int | None | Unset) -> AsyncGenerator[bytes]:
        """Iterate over the body, as it comes in or as `get_body` kept it, up to `limit` bytes."""
        if isinstance(limit, Unset):
            limit = self._settings.limits.body
        if self._body is not None:
            for start in range(0, len(self._body), KEPT_PIECE):
                yield self._body[start : start + KEPT_PIECE]
            return
        if self._body_stage is UNREAD:
            self._check_declared_length(limit)
        size = 0
        async with aclosing(self.iter_body()) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if limit is not None and size > limit:
                    self._refuse_body()
                yield chunk

    # Response out

    async def accept(self, status: int = 200, headers: dict[str, Any] | None = None) -> None:
        """Send the head of the response; then `send` its body, and return None from the handler.

        No header is added to yours.

        Raises:
            UsageError: a response was accepted already.
            TypeError, ValueError: a status or header that HTTP does not allow; nothing was sent.
            DisconnectedError: the client left.
        """
        if self._response_stage not in (NEW, REFUSED):
            raise UsageError("Cannot accept an already accepted request")
        status = check_status(status)
        if self._response_stage is REFUSED and status < 400:
            raise BodyTooLarge
        await self._start_response(status, encode_headers({} if headers is None else headers))

    async def send(self, data: bytes | str, more: bool = True) -> None:
        """Send one piece of the response body, text as UTF-8; `more=False` ends the response.

        Waits while the client (or a buffer before it) is slow to take it, as far as the server tells.

        Raises:
            UsageError: before `accept`, or after the end.
            TypeError: `data` is neither bytes nor str.
            ValueError: more bytes than the content-length that was given, or a body where
                the status (204, 304) has none.
            DisconnectedError: the client left, or took nothing for `Limits.send` seconds (30).
        """
        if self._response_stage is not ACCEPTED:
            raise UsageError(
                "Cannot send before calling accept: await request.accept() first"
                if self._response_stage in (NEW, REFUSED)
                else "Cannot send to a closed connection: the response has ended"
            )
        await self._send_chunk(check_chunk(data), more)

    async def _start_response(self, status: int, headers: RawHeaders) -> None:
        """Send the head of a response that is sent in pieces."""
        for name, value in headers:
            if name == b"content-length":
                if not value.isdigit():
                    raise ValueError(f"Header 'content-length' must be a number, not {value!r:.100}")
                self._content_length = int(value)
        self._response_stage = ACCEPTED
        self._status = status
        self._held = self._streaming = True
        counts[OPEN_STREAMS] += 1
        await self._transmit({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_chunk(self, data: bytes, more: bool) -> None:
        if more:
            self._listen()
            await self._let_others_run()
        if self.method == "HEAD":
            data = b""
        elif data:
            self._count(len(data))
        if not more:
            self._response_stage = ENDED
        await self._transmit({"type": "http.response.body", "body": data, "more_body": more})

    async def _let_others_run(self) -> None:
        """Yield to the event loop once in a while.

        Servers' `send` returns at once while their buffer has room, and always when the client is
        gone. Without this, a handler that sends in a loop would never let the listener tell it so.
        """
        self._chunks_in_a_row += 1
        if self._chunks_in_a_row >= CHUNKS_IN_A_ROW:
            self._chunks_in_a_row = 0
            await asyncio.sleep(0)

    def _count(self, size: int) -> None:
        if self._status in NO_BODY:
            raise ValueError(f"A response with status {self._status} has no body")
        self._bytes_sent += size
        if self._content_length is not None and self._bytes_sent > self._content_length:
            raise ValueError(f"The response body is longer than its content-length, {self._content_length}")

    def _is_cut_short(self) -> bool:
        """Say whether the response ended with fewer bytes than its head promised."""
        promised = self._content_length
        return promised is not None and self._bytes_sent < promised and self._has_body()

    def _has_body(self) -> bool:
        return self.method != "HEAD" and self._status not in NO_BODY

    async def _transmit(self, message: Message) -> None:
        if self._gone:
            raise DisconnectedError
        if self._ticker is None:
            self._ticker = ticker()
        try:
            await self._ticker.within(self._settings.limits.send, self._send(message), self._expire)
        except DisconnectedError:
            raise
        except OSError as error:  # what ASGI 2.4 asks of a server whose client is gone
            self._note_disconnect()
            raise DisconnectedError from error

    def _expire(self) -> None:
        """The client takes nothing: leave it."""
        counts[SEND_TIMEOUTS] += 1
        self._note_disconnect()
        abort(self._send)

    # Another app

    async def forward(self, app: ASGIApp, prefix: str = "") -> None:
        """Hand the request to another ASGI application, which answers it; return None after it.

        Every message goes through as it is, so `Limits` of the body and our checks don't hold for
        what the other app reads. It finds `state` in its `scope["state"]`, with what its own lifespan
        left there (see `running`).

        Args:
            prefix: the path that it is mounted at, inside this app, such as "/admin". `root_path`
                grows by it, `path` in the scope stays whole, as ASGI has it.

        Raises:
            HTTPError: 404, the path isn't under the prefix.
            UsageError: the body was read, or a response accepted.
            RuntimeError: the app returned without a whole response; uncaught, that is a 500, or
                the connection is cut. What the app raises passes, and ends the same way.
            DisconnectedError: the client left, before the end of the response.
        """
        scope = scope_for(self, app, prefix)
        if self._response_stage is REFUSED:
            raise BodyTooLarge
        if self._response_stage is not NEW:
            raise UsageError("Cannot forward an already accepted request")
        if self._body_stage is not UNREAD:
            raise UsageError("Cannot forward a request whose body was consumed")
        self._body_stage = CONSUMED
        await call(self, app, scope, self._next_message, self._pass_on, self._is_answered)

    def _is_answered(self) -> bool:
        return self._response_stage is ENDED

    async def _pass_on(self, message: Message) -> None:
        """Send a message of another app, and take note of it."""
        kind = message["type"]
        if kind == "http.response.start":
            self._response_stage = ACCEPTED
            self._status = message["status"]
        elif kind in BODY_MESSAGES:
            if self.method != "HEAD":
                self._bytes_sent += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._response_stage = ENDED
        try:
            await self._send(message)
        except OSError:
            self._note_disconnect()
            raise

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

    @contextlib.asynccontextmanager
    async def cancel_on_disconnect(self) -> AsyncGenerator[None]:
        """Cancel the block when the client leaves, and raise DisconnectedError at its end.

        For a handler that computes, or waits for something that knows no client. The request body
        is read before, up to its limit. That the server is closing doesn't cancel the block.

        Raises:
            DisconnectedError: the client left; its own cancellation becomes this, another stays one.
            BodyTooLarge: the body that had to be read is over the limit.
        """
        if self._body_stage is UNREAD:
            await self.get_body()
        guard = Guard()
        async with guard.around():
            with self._watching(guard.tell):
                yield

    @contextlib.contextmanager
    def _watching(self, tell: Callable[[Exception], object]) -> Generator[None]:
        """Have `tell` called with the error when the client leaves, also when it has left before."""
        self._listen()
        if self._watchers is None:
            self._watchers = set()
        self._watchers.add(tell)
        if self._gone:
            tell(DisconnectedError())
        try:
            yield
        finally:
            self._watchers.discard(tell)

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
                self._unread = message
                if message.get("more_body", False):
                    self._taken = asyncio.get_running_loop().create_future()
                    await self._taken

    async def _next_message(self) -> Message:
        """Return the next message of the server, by way of the listener where there is one."""
        if self._unread is not None:
            message, self._unread = self._unread, None
            if self._taken is not None and not self._taken.done():
                self._taken.set_result(None)
            return message
        if self._gone:
            return DISCONNECT
        if self._listener is None:
            return await self._receive_directly()
        self._reader = asyncio.get_running_loop().create_future()
        try:
            return await self._reader
        finally:
            self._reader = None

    async def _receive_directly(self) -> Message:
        self._reading = True
        try:
            message = await self._receive()
        finally:
            self._reading = False
        if not message or message["type"] != "http.request":
            self._note_disconnect()
            return DISCONNECT
        if self._sleepers:  # somebody fell asleep meanwhile, who is to be told as well
            self._listen()
        return message

    def _note_disconnect(self) -> None:
        self._gone = True
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(DISCONNECT)
        for sleeper in self._sleepers or ():
            _wake(sleeper, False)
        for tell in list(self._watchers or ()):
            tell(DisconnectedError())

    def _end(self) -> None:
        """The handler is done: nothing of this request goes on."""
        self._response_stage = ENDED
        if self._streaming:
            self._streaming = False
            counts[OPEN_STREAMS] -= 1
        if self._listener is not None:
            self._listener.cancel()
        if self._form is not None:
            self._form.close()
        if self._request_sets:
            self._leave_request_sets()
