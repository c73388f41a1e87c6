"""HttpRequest: the body comes in, the response goes out.

Two small machines, each with named states. The body is UNREAD, then CONSUMED, or
DROPPED: too much of it came while a response was sent. The response
is NEW, then ACCEPTED (its head is out) and ENDED, or WHOLE (the app sends it in one go).
REFUSED is NEW after the body was too large, or did not come: the response can't be a success any more. A
call that is wrong in a state raises a UsageError that names the call.

How the client's leaving is noticed is `_connection`'s work.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _json
from ._connection import CHUNKS_IN_A_ROW, ConnectedRequest, IdleLimit
from ._fields import parse_pairs
from ._forms import LONG, FieldCount, Form, check_urlencoded, read_multipart
from ._forward import call, scope_for
from ._headers import encode_headers, fields_by_name, is_cross_site, parse_content_type
from ._interrupt import Guard
from ._limits import UNSET, Unset
from ._parts import URLENCODED, media_type_of
from ._stats import OPEN_STREAMS, counts
from ._ticker import go_on
from .errors import (
    BadRequest,
    BodyTooLarge,
    DisconnectedError,
    HTTPError,
    InvalidData,
    RequestTimeout,
    UnsupportedMediaType,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import NoReturn, TypeAlias

    from ._forward import ASGIApp
    from ._headers import RawHeaders
    from ._parts import Parts
    from ._request import Message

    Look: TypeAlias = Callable[[bytes], object]

__all__ = ["HttpRequest"]

NEW, REFUSED, ACCEPTED, WHOLE, ENDED = "new", "refused", "accepted", "whole", "ended"
UNREAD, CONSUMED, DROPPED = "unread", "consumed", "dropped"
CUT_OFF = "The client disconnected before the end of the request body"
KEPT_PIECE = 65_536  # bytes of a body that was read whole, for who reads it in pieces
NO_BODY = (204, 304)  # RFC 9110 sections 15.3.5 and 15.4.5
# ASGI's, and two of its extensions: a file that the server reads by itself. All can be the last one.
BODY_MESSAGES = ("http.response.body", "http.response.pathsend", "http.response.zerocopysend")

T = TypeVar("T")


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


async def _pieces_of(body: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(body), KEPT_PIECE):
        yield body[start : start + KEPT_PIECE]


def _piece_of(message: Message) -> tuple[bytes, bool]:
    """Return the piece of the body in `message`, and whether there are more."""
    if message["type"] != "http.request":
        raise DisconnectedError(CUT_OFF)
    return message.get("body", b""), message.get("more_body", False)


class HttpRequest(ConnectedRequest):
    """An HTTP request, and the way to answer it piece by piece."""

    _response_stage: str = NEW
    _refusal: HTTPError | None = None  # why it is REFUSED
    _body_stage: str = UNREAD
    _body: bytes | None = None
    _begun: Awaitable[Message] | None = None  # the first piece of a body that did not come with the head
    _form: Form | None = None
    _content_length: int | None = None  # what the head of a streamed response promised

    _streaming: bool = False  # counted as an open stream

    # Body in

    def iter_body(self) -> AsyncGenerator[bytes]:
        """Iterate over the request body as it comes in, in pieces of the server's choosing.

        There is no limit on the sum: what you keep of it is yours to bound.

        Raises:
            UsageError: the body was already consumed, by this or by `get_body`; or it was dropped, as over
                `Limits.pending` bytes of it (1 MiB) came before you asked, while a response was sent.
            RequestTimeout: nothing came for `Limits.body_idle` seconds (30) while you waited for it.
            DisconnectedError: the client left before the end; a cut-off body is never an end.
        """
        return self._read_pieces(None)

    async def _read_pieces(self, limit: int | None) -> AsyncGenerator[bytes]:
        """Iterate over the body as it comes in, up to `limit` bytes."""
        idle = self._begin_to_read()
        size, more = 0, True
        try:
            while more:
                chunk, more = _piece_of(await idle.wait(self._next_message()))
                size += len(chunk)
                if limit is not None and size > limit:
                    self._refuse_body()
                if chunk:
                    yield chunk
        except RequestTimeout as error:
            self._refuse(error)
        finally:
            idle.cancel()

    def _begin_to_read(self) -> IdleLimit:
        if self._body_stage is not UNREAD:
            raise UsageError(f"Request body was already {self._body_stage}")
        self._body_stage = CONSUMED
        return IdleLimit(self._settings.limits.body_idle)

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
            body = self._begin_body(limit, None)
            self._body = await self._read_body(limit) if body is None else body
        return self._body

    def _begin_body(self, limit: int | None | Unset, fields: dict[bytes, bytes] | None) -> bytes | None:
        """Return the body if it is here, as one that came with the head is, else None: `_read_body` waits.

        One step of the server's `receive`, taken by hand. A coroutine that could wait, with a timer
        for it, would cost more than the JSON of a small body.

        Args:
            limit: as for `get_body`.
            fields: the raw header fields, where they were looked at; else None.
        """
        if isinstance(limit, Unset):
            limit = self._settings.limits.body
        if self._body_stage is not UNREAD:
            raise UsageError(f"Request body was already {self._body_stage}")
        self._check_declared_length(limit, fields)
        self._body_stage = CONSUMED
        if self._listener is not None or self._gone:
            return None
        steps = self._receive().__await__()
        try:
            first = next(steps)
        except StopIteration as end:
            message = end.value
        else:
            self._begun = go_on(first, steps)
            return None
        if not message or message["type"] != "http.request":
            self._note_disconnect()
            raise DisconnectedError(CUT_OFF)
        body: bytes = message.get("body", b"")
        if limit is not None and len(body) > limit:
            self._refuse_body()
        if message.get("more_body", False):
            self._unread = [message]
            return None
        return body

    def _check_declared_length(self, limit: int | None, fields: dict[bytes, bytes] | None) -> None:
        if fields is None:
            text = self.headers.get("content-length")
            declared = None if text is None else text.encode()
        else:
            declared = fields.get(b"content-length")
        if declared is None:
            return
        if not declared.isdigit():
            raise BadRequest("Bad Content-Length header")
        # Compared by digits first: int() of thousands of them is an error of its own.
        if limit is not None and (len(declared) > 18 or int(declared) > limit):
            self._refuse_body()

    async def _read_body(self, limit: int | None | Unset, look: Look | None = None) -> bytes:
        """Wait for the rest of a body that `_begin_body` began; each piece is shown to `look`."""
        # As _read_pieces does it: an iterator between would cost as much as all the rest.
        if isinstance(limit, Unset):
            limit = self._settings.limits.body
        idle = IdleLimit(self._settings.limits.body_idle)
        begun, self._begun = self._begun, None
        chunks = []
        size, more = 0, True
        try:
            while more:
                next_message = self._next_message() if begun is None else self._receive_directly(begun)
                begun = None
                chunk, more = _piece_of(await idle.wait(next_message))
                size += len(chunk)
                if limit is not None and size > limit:
                    self._refuse_body()
                if look is not None:
                    look(chunk)
                if chunk:
                    chunks.append(chunk)
        except RequestTimeout as error:
            self._refuse(error)
        finally:
            idle.cancel()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _may_hear_more(self) -> bool:
        """Go on where a response is sent and nobody began to read: or a client that leaves isn't noticed.

        What comes is kept up to `Limits.pending` bytes; then all of it is dropped.
        """
        if self._response_stage is not ACCEPTED or self._body_stage is CONSUMED:
            return False
        limit = self._settings.limits.pending
        if self._body_stage is DROPPED or (limit is not None and self._unread_size > limit):
            self._body_stage = DROPPED
            self._unread = None
        return True

    def _refuse_body(self, text: str = "Request body too large") -> NoReturn:
        self._refuse(BodyTooLarge(text))

    def _refuse(self, error: HTTPError) -> NoReturn:
        """Raise `error`; a handler that catches it can't make a success of the request any more."""
        if self._response_stage is NEW:
            self._response_stage = REFUSED
            self._refusal = error
            self._held = True
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a circle, which would keep the connection

    def _refused(self) -> HTTPError:
        """Return why this request can't be a success any more."""
        return self._refusal or HTTPError(400)

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
        fields = self._fields_of_body(b"application/json")
        if fields is None:
            self._check_says_json()
        body = self._body
        if body is None:
            body = self._begin_body(limit, fields)  # as get_body does it, which would be one more coroutine
            if body is None:
                body = await self._read_body(limit)
            self._body = body
        return _json.decode(body, type)

    def _fields_of_body(self, content_type: bytes) -> dict[bytes, bytes] | None:
        """Return the raw header fields if the body is of that type and not encoded, and they are plain.

        None where the headers have to be asked, which also says what is wrong with them; they may have
        been changed, too.
        """
        if self._headers is not None:
            return None
        fields = fields_by_name(self.scope["headers"], self._settings.limits)
        is_plain = fields.get(b"content-type") == content_type and b"content-encoding" not in fields
        return fields if is_plain else None

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
        form = self._form
        if form is None:
            form = self._form = await self._read_form(limit)
        if type is None:
            return form
        value, errors = form.check(type)
        if errors:
            raise InvalidData(errors)
        return value

    async def _read_form(self, limit: int | None | Unset) -> Form:
        limits = self._settings.limits
        fields = self._fields_of_body(b"application/x-www-form-urlencoded")
        if fields is not None or media_type_of(self.headers) == URLENCODED:
            body = self._begin_body(limit, fields) if self._body is None else self._body
            if body is None:
                body = await self._read_body(limit, FieldCount(limits, self._refuse_body).add)
            check_urlencoded(body, limits, self._refuse_body)
            if len(body) > LONG:
                return Form(pairs=await asyncio.to_thread(parse_pairs, body))
            return Form(pairs=parse_pairs(body))
        self._held = True  # for the files
        return await read_multipart(self.headers, self._iter_limited(limit), limits, self._refuse_body)

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

    def _iter_limited(self, limit: int | None | Unset) -> AsyncGenerator[bytes]:
        """Iterate over the body, as it comes in or as `get_body` kept it, up to `limit` bytes."""
        if isinstance(limit, Unset):
            limit = self._settings.limits.body
        if self._body is not None:
            return _pieces_of(self._body)
        if self._body_stage is UNREAD:
            self._check_declared_length(limit, None)
        return self._read_pieces(limit)

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
            raise self._refused()
        await self._start_response(status, encode_headers({} if headers is None else headers))

    async def send(self, data: bytes | str, more: bool = True) -> None:
        """Send one piece of the response body, text as UTF-8; `more=False` ends the response.

        Waits while the client (or a buffer before it) is slow to take it, as far as the server tells.

        Raises:
            UsageError: before `accept`, or after the end.
            TypeError: `data` is neither bytes nor str.
            ValueError: more bytes than the content-length that was given, or at the end fewer; or a
                body where the status (204, 304) has none.
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
        self._go_on_listening()
        await self._transmit({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_chunk(self, data: bytes, more: bool) -> None:
        if more:
            self._listen()
            self._chunks_in_a_row += 1
            if self._chunks_in_a_row >= CHUNKS_IN_A_ROW:
                await self._let_others_run()
        if self.scope["method"] == "HEAD":
            data = b""
        elif data:
            self._count(len(data))
        if not more:
            self._check_length()  # before the server is told that this was all
            self._response_stage = ENDED
        await self._transmit({"type": "http.response.body", "body": data, "more_body": more})

    def _count(self, size: int) -> None:
        if self._status in NO_BODY:
            raise ValueError(f"A response with status {self._status} has no body")
        self._bytes_sent += size
        if self._content_length is not None and self._bytes_sent > self._content_length:
            raise ValueError(f"The response body is longer than its content-length, {self._content_length}")

    async def _end_response(self) -> None:
        """End a response that was sent in pieces, unless it has ended.

        Raises:
            ValueError: it has fewer bytes than its head promised.
        """
        if self._response_stage is ACCEPTED:
            await self._send_chunk(b"", False)

    def _check_length(self) -> None:
        """Raise ValueError if the response would end with fewer bytes than its head promised."""
        promised = self._content_length
        if promised is not None and self._bytes_sent < promised and self._has_body():
            raise ValueError(f"The response body ended before its content-length, {promised}")

    def _has_body(self) -> bool:
        return self.method != "HEAD" and self._status not in NO_BODY

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
            raise self._refused()
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

    def _end(self) -> None:
        """The handler is done: nothing of this request goes on."""
        self._response_stage = ENDED
        if self._streaming:
            self._streaming = False
            counts[OPEN_STREAMS] -= 1
        if self._listener is not None:
            self._listener.cancel()
        # Both hold a traceback, and that holds this request: a circle, which would keep the connection.
        self._listener = self._refusal = None
        if self._form is not None:
            self._form.close()
        if self._request_sets:
            self._leave_request_sets()
