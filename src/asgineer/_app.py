"""to_asgi: one ASGI callable. The way of one request, and no detour:

    the server calls `app(scope, receive, send)`
      → a request object is made                    (_http, _websocket)
      → the handler is called with it
      → its result becomes status, headers, body    (_response; _answer where it raised)
      → they are sent                               (below)

One short function for each of http, websocket and lifespan. Nothing here looks at a path, a
header or a body. Everything that goes wrong goes through `_fail` or `_fail_websocket`.
"""

from __future__ import annotations

import inspect
import os
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from ._abort import abort
from ._answer import answer_to, deciding_error, log_failure, passes_through
from ._http import ACCEPTED, ENDED, NEW, HttpRequest, check_chunk
from ._limits import DEFAULT_LIMITS, Limits
from ._log import logger
from ._request import BaseRequest, Settings
from ._response import OCTETS, Response, guess_text_type, render, resolve
from ._websocket import CLOSED, CONNECTING, WebsocketRequest
from .errors import DisconnectedError, HTTPError, UsageError, status_phrase

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable
    from typing import Protocol

    from ._headers import RawHeaders
    from ._request import DoneCallback, ErrorRenderer, Receive, Scope, Send

    class AsgiApp(Protocol):
        """What `to_asgi` returns: an ASGI 3 application, and the handler it was made of."""

        __name__: str
        asgineer_handler: Callable[..., Any]
        asgineer_settings: Settings

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


__all__ = ["Handler", "response_of", "to_asgi"]

Handler: TypeAlias = "Callable[[HttpRequest], Awaitable[Response | None]]"
WebsocketHandler: TypeAlias = "Callable[[WebsocketRequest], Awaitable[Response | None]]"
AnyHandler: TypeAlias = "Handler | WebsocketHandler"

INTERNAL_ERROR = "Internal server error"


@overload
def to_asgi(handler: AnyHandler) -> AsgiApp: ...
@overload
def to_asgi(
    handler: None = None,
    *,
    error: ErrorRenderer | None = None,
    done: DoneCallback | None = None,
    debug: bool | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Callable[[AnyHandler], AsgiApp]: ...
@overload
def to_asgi(
    handler: AnyHandler,
    *,
    error: ErrorRenderer | None = None,
    done: DoneCallback | None = None,
    debug: bool | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> AsgiApp: ...
def to_asgi(
    handler: AnyHandler | None = None,
    *,
    error: ErrorRenderer | None = None,
    done: DoneCallback | None = None,
    debug: bool | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Any:
    """Make an ASGI application of `handler`, an `async def` function that takes a request.

    To be used as `@to_asgi`, as `@to_asgi(debug=True)`, or as `app = to_asgi(handler)`.

    Args:
        handler: a coroutine function, or an object with an `async def __call__`.
        error: `error(request, http_error) -> response` makes the response for every HTTPError
            and, as HTTPError 500 with the exception as its `__cause__`, for every other
            exception. The status stays the error's own.
        done: called once after the end of each request, in the event loop, as
            `done(request, status, bytes_sent, seconds, outcome)`; the outcome is "ok",
            "error" (of ours: a 500 or an aborted response) or "disconnect".
        debug: let clients see what went wrong; None asks ASGINEER_DEBUG=1 at each error.
        limits: what a request may bring.

    Raises:
        TypeError: `handler` isn't asynchronous.
    """
    settings = Settings(None, debug, done, error, limits)
    if handler is None:
        return lambda handler: _make_app(handler, settings)
    return _make_app(handler, settings)


def _make_app(handler: Any, settings: Settings) -> Any:
    if not inspect.iscoroutinefunction(handler) and not inspect.iscoroutinefunction(
        getattr(type(handler), "__call__", None)  # noqa: B004 (is it *async*, not: is it there)
    ):
        raise TypeError(f"to_asgi() needs a coroutine function (async def), not {_name_of(handler)}")
    settings.handler = handler
    if os.environ.get("ASGINEER_ACCESS_LOG") == "1":
        from ._access import log_access

        log_access(settings)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            request = HttpRequest(scope, receive, send)
            request._settings = settings
            if settings.done is None:
                await _serve_http(handler, request)
            else:
                await _report(request, _serve_http(handler, request), settings.done)
        elif kind == "websocket":
            websocket = WebsocketRequest(scope, receive, send)
            websocket._settings = settings
            serving = _serve_websocket(handler, websocket)
            await (serving if settings.done is None else _report(websocket, serving, settings.done))
        elif kind == "lifespan":
            await _serve_lifespan(receive, send)
        else:
            logger.warning("Unknown ASGI scope type %r is ignored", kind)

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        if hasattr(handler, name):
            setattr(app, name, getattr(handler, name))
    app.asgineer_handler = handler  # type: ignore[attr-defined]  # functions take attributes
    app.asgineer_settings = settings  # type: ignore[attr-defined]
    return app


def _name_of(handler: Any) -> str:
    if inspect.isfunction(handler):
        return f"the function {handler.__name__!r} without async"
    return f"{type(handler).__name__}"


async def _report(request: BaseRequest, serving: Awaitable[str], done: DoneCallback) -> None:
    """Serve, then tell `done` about it, whatever happened."""
    start = perf_counter()
    outcome = "error"
    try:
        outcome = await serving
    finally:
        try:
            done(request, request._status, request._bytes_sent, perf_counter() - start, outcome)
        except Exception as error:
            log_failure(request, error, "done function")


# HTTP


async def _serve_http(handler: Any, request: HttpRequest) -> str:
    """Serve one HTTP request; return the outcome."""
    try:
        result = await handler(request)
        if request._response_stage is NEW:
            await _respond(request, result)
        else:
            await _finish(request, result)
    except BaseException as error:
        return await _fail(request, error)
    finally:
        request._end()
    return "ok"


async def _respond(request: HttpRequest, result: Any) -> None:
    """Send the response that `result` says; nothing of it was sent when it is flawed."""
    status, headers, data = render(result, request.method == "HEAD")
    if request._too_large and status < 400:
        status, headers, data = render(HTTP_413)
    if type(data) is bytes:
        await _send_whole(request, status, headers, data)
    else:
        await _send_stream(request, status, headers, data)


HTTP_413 = 413, {}, "Request body too large"


async def _send_whole(request: HttpRequest, status: int, headers: RawHeaders, data: bytes) -> None:
    request._response_stage = ENDED
    request._status = status
    if request.method == "HEAD":
        data = b""
    request._bytes_sent = len(data)
    send = request._send
    try:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})
    except OSError as error:  # what ASGI 2.4 asks of a server whose client is gone
        raise DisconnectedError from error


async def _send_stream(request: HttpRequest, status: int, headers: RawHeaders, stream: Any) -> None:
    """Send what `stream` yields; its first chunk is pulled before the status goes out.

    So an early error is still a 500. The stream is closed on every way out.
    """
    request._doing = "sending chunked response"
    iterator = aiter(stream)
    try:
        if request.method == "HEAD":
            await request._start_response(status, headers)
            return await request._send_chunk(b"", False)
        first = await anext(iterator, b"")
        if not any(name == b"content-type" for name, _ in headers):
            headers.append((b"content-type", guess_text_type(first) if isinstance(first, str) else OCTETS))
        data = _check_stream_chunk(first)
        await request._start_response(status, headers)
        await request._send_chunk(data, True)
        async for chunk in iterator:
            await request._send_chunk(_check_stream_chunk(chunk), True)
    finally:
        if hasattr(iterator, "aclose"):
            await iterator.aclose()
    await _finish(request, None)


def _check_stream_chunk(chunk: Any) -> bytes:
    return check_chunk(chunk, "Response chunks must be bytes or str")


async def _finish(request: HttpRequest, result: Any) -> None:
    """End a response that was sent in pieces."""
    if result is not None:
        raise UsageError(_ANSWERED_TWICE[HttpRequest])
    if request._response_stage is ACCEPTED and not request._is_cut_short():
        await request._send_chunk(b"", False)
    if request._is_cut_short():
        raise ValueError(f"The response body ended before its content-length, {request._content_length}")


async def _fail(request: HttpRequest, error: BaseException) -> str:
    """Answer with what went wrong, or end the response so that it is seen to fail."""
    if isinstance(error, DisconnectedError):
        return "disconnect"
    if request._response_stage is NEW:
        return await _send_answer(request, error)
    error = deciding_error(error)
    if passes_through(error):
        if isinstance(error, DisconnectedError):
            return "disconnect"
        raise error
    log_failure(request, error, request._doing)
    if (request._response_stage is ACCEPTED or request._is_cut_short()) and not abort(request._send):
        raise ResponseAborted
    return "error"


class ResponseAborted(Exception):
    """Raised out of the app, past the server's own log of it: the story is in our log already."""

    def __init__(self) -> None:
        super().__init__("a response that had begun could not be completed")


async def _send_answer(request: HttpRequest, error: BaseException) -> str:
    answer = answer_to(request, error, request._doing)
    try:
        await _respond(request, answer)
    except DisconnectedError:
        return "disconnect"
    return "error" if request._status >= 500 else "ok"


async def response_of(
    request: BaseRequest, awaitable: Awaitable[Response | None]
) -> tuple[int, dict[str, str | list[str]], Any] | None:
    """Return the full response that a handler's result comes to, to put a concern around a part of an app.

        response = await response_of(request, site(request))
        if response is not None: response[1]["x-frame-options"] = "DENY"
        return response

    Returns:
        (status, headers, body): a fresh dict of lower-case names with the content type in it, and the
        body as bytes, or the stream that was returned. An HTTPError that was raised becomes the response
        it stands for, any other exception a 500 that is logged. None when the handler sent by itself.

    Raises:
        DisconnectedError, asyncio.CancelledError: they pass through, and so does any exception
            once the response has begun, since it can't become one then.
    """
    try:
        result = await awaitable
        if not _is_answered(request):
            # A websocket handler that returns nothing before accept denies; the app says so.
            return None if result is None and isinstance(request, WebsocketRequest) else resolve(result)
        if result is not None:
            raise UsageError(_ANSWERED_TWICE[type(request)])
    except Exception as error:
        if _is_answered(request):
            raise
        return resolve(answer_to(request, error, request._doing))
    return None


def _is_answered(request: BaseRequest) -> bool:
    if isinstance(request, WebsocketRequest):
        return request._stage is not CONNECTING
    return isinstance(request, HttpRequest) and request._response_stage is not NEW


_ANSWERED_TWICE: dict[type, str] = {
    HttpRequest: "Handlers that call request.accept() should return None",
    WebsocketRequest: "A websocket handler should return None after request.accept()",
}


# Websockets


async def _serve_websocket(handler: Any, request: WebsocketRequest) -> str:
    """Serve one websocket, closed when the handler returns; return the outcome."""
    try:
        result = await handler(request)
        if request._stage is CONNECTING:
            await _deny(request, (403, {}, "Forbidden") if result is None else result)
        elif result is not None:
            raise UsageError(_ANSWERED_TWICE[WebsocketRequest])
        await request.close()
    except BaseException as error:
        return await _fail_websocket(request, error)
    finally:
        request._end()
    return "ok"


async def _deny(request: WebsocketRequest, result: Any) -> None:
    """Answer the handshake with a response; with ASGI's 403 where the server can send no other."""
    status, headers, data = render(result)
    if "websocket.http.response" not in (request.scope.get("extensions") or {}):
        return await request._deny(403)
    await request._wait_for_connect()
    if type(data) is not bytes:
        data = b"".join([_check_stream_chunk(chunk) async for chunk in data])
    request._stage = CLOSED
    request._status = status
    await request._transmit({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await request._transmit({"type": "websocket.http.response.body", "body": data})
    request._bytes_sent = len(data)


async def _fail_websocket(request: WebsocketRequest, error: BaseException) -> str:
    """Deny the handshake, or close the websocket, with what went wrong."""
    error = deciding_error(error)
    try:
        if isinstance(error, DisconnectedError):
            return "disconnect"
        if request._stage is CONNECTING:
            await _deny(request, answer_to(request, error, request._doing))
            return "error" if request._status >= 500 else "ok"
        if passes_through(error):
            raise error
        if not isinstance(error, HTTPError):
            log_failure(request, error, request._doing)
        code, reason = _close_for(error)
        await request.close(code, reason)
    except DisconnectedError:
        return "disconnect"
    return "error" if code == 1011 else "ok"


def _close_for(error: BaseException) -> tuple[int, str]:
    """Return close code and reason for `error`: 1008 or its own for a client's mistake, 1011 for ours."""
    if isinstance(error, HTTPError) and error.status < 500:
        return error.close_code, status_phrase(error.status)
    return 1011, INTERNAL_ERROR


# Lifespan


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            logger.info("Server is starting up")
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            logger.info("Server is shutting down")
            await send({"type": "lifespan.shutdown.complete"})
            return
        else:
            logger.warning("Unknown lifespan message %r is ignored", message["type"])
