"""The end of an HTTP request: what the handler's result came to is sent, or what went wrong is.

One function for each way a response can go out, and `fail` for all that can go wrong. Which
result is which response is `_response`'s to know, what an exception is answered with
`_answer`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._abort import abort
from ._answer import answer_to, deciding_error, log_failure, passes_through
from ._http import ACCEPTED, ENDED, NEW, REFUSED, WHOLE, HttpRequest, check_chunk
from ._outflow import Outflow
from ._response import OCTETS, guess_text_type, render
from ._stats import note_disconnect
from ._stream import EventStream
from .errors import DisconnectedError, HTTPError, ServerClosing, UsageError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ._headers import RawHeaders

ANSWERED_TWICE = "Handlers that call request.accept() should return None"


async def send_whole(request: HttpRequest, status: int, headers: RawHeaders, data: bytes) -> None:
    request._response_stage = WHOLE
    request._status = status
    await request._send({"type": "http.response.start", "status": status, "headers": headers})
    await request._send({"type": "http.response.body", "body": data})
    request._bytes_sent = len(data)


def send_stream(
    request: HttpRequest, status: int, headers: RawHeaders, stream: Any
) -> Coroutine[Any, Any, None]:
    """Send what `stream` yields, and close it on every way out.

    When the client leaves while it waits, wherever that is, its wait is cancelled.
    """
    request._doing = "sending chunked response"
    if isinstance(stream, EventStream):
        return stream.serve(request, status, headers)
    return PieceFlow(request, aiter(stream)).run(status, headers)


def check_stream_chunk(item: Any) -> bytes:
    if type(item) is bytes:
        return item
    if type(item) is str:
        return item.encode()
    return check_chunk(item, "Response chunks must be bytes or str")


class PieceFlow(Outflow):
    """A stream of bytes or text."""

    __slots__ = ()
    encode = staticmethod(check_stream_chunk)

    async def start(self, status: int, headers: RawHeaders) -> bytes:
        """Pull the first piece before the status goes out: an early error is still a 500."""
        self._waiting = True
        try:
            chunk = await self._items.__anext__()
        except StopAsyncIteration:
            chunk = b""
        self._waiting = False
        for name, _ in headers:
            if name == b"content-type":
                break
        else:
            headers.append((b"content-type", guess_text_type(chunk) if isinstance(chunk, str) else OCTETS))
        data = self.encode(chunk)
        await self._request._start_response(status, headers)
        return data


async def finish(request: HttpRequest, result: Any) -> None:
    """End a response that was sent in pieces, or that can't be a success any more."""
    if request._response_stage is REFUSED:
        status, headers, data = render(result, request.method)
        if status < 400:
            raise request._refused()
        _end_connection(request, headers)
        return await (send_whole if type(data) is bytes else send_stream)(request, status, headers, data)
    if result is not None:
        raise UsageError(ANSWERED_TWICE)
    await request._end_response()


def _end_connection(request: HttpRequest, headers: RawHeaders) -> None:
    """Let the server close the connection after the response: the rest of the body may still come.

    Later HTTP versions, which know no such header, can end the one request.
    """
    if request.http_version.startswith("1") and all(name != b"connection" for name, _ in headers):
        headers.append((b"connection", b"close"))


async def fail(request: HttpRequest, error: BaseException) -> str:
    """Answer with what went wrong, or end the response so that it is seen to fail; return the outcome."""
    stage = request._response_stage
    error = deciding_error(error)
    if isinstance(error, ServerClosing):
        return await _close(request)
    if isinstance(error, DisconnectedError) or (stage is WHOLE and isinstance(error, OSError)):
        return note_disconnect()  # an OSError of send is what ASGI 2.4 asks of a server whose client is gone
    if passes_through(error):
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a circle, which would keep the request
    if stage is REFUSED and isinstance(error, HTTPError) and error.status < 400:
        error = request._refused()
    if stage is NEW or stage is REFUSED:
        return await _answer(request, error)
    log_failure(request, error, request._doing)
    request._response_stage = ENDED
    if stage is ACCEPTED and not abort(request._send):
        raise ResponseAborted from None  # the log has told the story
    return "error"


async def _close(request: HttpRequest) -> str:
    """End a request whose handler left it to us that the server is closing."""
    if request._response_stage in (NEW, REFUSED):
        await _answer(request, HTTPError(503, headers={"retry-after": "1"}))
    elif request._response_stage is ACCEPTED and not abort(request._send):
        raise ResponseAborted from None
    return "shutdown"


async def _answer(request: HttpRequest, error: BaseException) -> str:
    try:
        answer = answer_to(request, error, request._doing)
        status, headers, data = render(answer, request.method)
        if request._response_stage is REFUSED:
            _end_connection(request, headers)
        await send_whole(request, status, headers, data)
    except OSError:  # the client left; a DisconnectedError is one of them
        return note_disconnect()
    return "error" if request._status >= 500 else "ok"


class ResponseAborted(Exception):
    """Raised out of the app to make the server close the connection; our log has the story already."""

    def __init__(self) -> None:
        super().__init__("a response that had begun could not be completed")
