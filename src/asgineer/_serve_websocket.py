"""A websocket from its handshake to its close: around the handler, and what follows from how it ended.

Denied with the response that was returned or raised before `accept`; closed with 1000 at the
end, with 1011 where the handler failed, 1012 where the server stops.
"""

from __future__ import annotations

from typing import Any

from ._abort import denies_by_exception
from ._answer import answer_to, deciding_error, log_failure, passes_through
from ._response import render
from ._serve_http import ResponseAborted, check_stream_chunk
from ._stats import ENDED_WEBSOCKETS, WEBSOCKETS, counts, note_disconnect
from ._websocket import CLOSED, CONNECTING, MAX_REASON, WebsocketRequest
from .errors import DisconnectedError, HTTPError, ServerClosing, UsageError, status_phrase

ANSWERED_TWICE = "A websocket handler should return None after request.accept()"
INTERNAL_ERROR = "Internal server error"


async def serve_websocket(handler: Any, request: WebsocketRequest) -> str:
    """Serve one websocket, which is closed when the handler returns; return the outcome."""
    counts[WEBSOCKETS] += 1
    try:
        result = await handler(request)
        if request._stage is CONNECTING:
            await _deny(request, (403, {}, "Forbidden") if result is None else result)
        elif result is not None:
            raise UsageError(ANSWERED_TWICE)
        await request.close()
    except BaseException as error:
        return await _fail(request, error)
    finally:
        counts[ENDED_WEBSOCKETS] += 1
        request._end()
    return "ok"


async def _deny(request: WebsocketRequest, result: Any) -> None:
    """Answer the handshake with a response; with ASGI's 403 where the server can send no other."""
    status, headers, data = render(result)
    if "websocket.http.response" not in (request.scope.get("extensions") or {}):
        if status < 500 or not denies_by_exception(request._send):
            return await request._deny(403)
        request._status = 500
        raise ResponseAborted from None
    await request._wait_for_connect()
    if request._gone:
        raise request._gone
    if type(data) is not bytes:
        data = b"".join([check_stream_chunk(chunk) async for chunk in data])
    request._stage = CLOSED
    request._status = status
    await request._transmit({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await request._transmit({"type": "websocket.http.response.body", "body": data})
    request._bytes_sent = len(data)


async def _fail(request: WebsocketRequest, error: BaseException) -> str:
    """Deny the handshake, or close the websocket, with what went wrong."""
    error = deciding_error(error)
    try:
        if isinstance(error, ServerClosing):
            return await _close(request)
        if isinstance(error, DisconnectedError):
            return note_disconnect()
        if request._stage is CONNECTING:
            await _deny(request, answer_to(request, error, request._doing))
            return "error" if request._status >= 500 else "ok"
        if passes_through(error):
            raise error
        code, reason = _close_for(error)
        if not isinstance(error, HTTPError):
            story = log_failure(request, error, request._doing)
            reason = story if request._settings.is_debug() else reason
        await request.close(code, reason.encode()[:MAX_REASON].decode(errors="ignore"))
    except DisconnectedError:
        return note_disconnect()
    return "error" if code == 1011 else "ok"


async def _close(request: WebsocketRequest) -> str:
    """End a websocket whose handler left it to us that the server is closing."""
    if request._stage is CONNECTING:
        await _deny(request, (503, {"retry-after": "1"}, status_phrase(503)))
    await request.close(1012, "The server is closing")
    return "shutdown"


def _close_for(error: BaseException) -> tuple[int, str]:
    """Return close code and reason for `error`: 1008 or its own for a client's mistake, 1011 for ours."""
    if isinstance(error, HTTPError) and error.status < 500:
        return error.close_code, status_phrase(error.status)
    return 1011, INTERNAL_ERROR
