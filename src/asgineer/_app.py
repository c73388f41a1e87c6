"""to_asgi: one ASGI callable. The way of one request, and no detour:

    the server calls `app(scope, receive, send)`
      → a request object is made                    (_http, _websocket)
      → the handler is called with it
      → its result becomes status, headers, body    (_response; _answer where it raised)
      → they are sent                               (here; what is no whole response, _serve_http)

What goes wrong goes to `fail`. A websocket goes through `_serve_websocket`, the start and the
end of the server through `_life`. Nothing here looks at a path, a header or a body.
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from . import _serve_http, _serve_websocket
from ._answer import ERRORS, answer_to, log_failure
from ._check import check_handler, check_plain
from ._http import NEW, REFUSED, WHOLE, HttpRequest
from ._json import encode as encode_json
from ._life import Life
from ._limits import DEFAULT_LIMITS, Limits
from ._log import logger
from ._request import BaseRequest, Settings
from ._response import (
    HTML_FIELD,
    JSON_FIELD,
    MAYBE_HTML,
    TEXT_FIELD,
    Response,
    render,
    resolve,
    starts_html,
)
from ._serve_http import fail, finish, send_stream
from ._serve_websocket import serve_websocket
from ._shutdown import chain_signals
from ._stats import ENDED_REQUESTS, REQUESTS, counts
from ._websocket import CONNECTING, WebsocketRequest
from .errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Protocol

    from ._life import Lifespan
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

_new = object.__new__


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
    lifespan: Lifespan | None = None,
) -> Callable[[AnyHandler], AsgiApp]: ...
@overload
def to_asgi(
    handler: AnyHandler,
    *,
    error: ErrorRenderer | None = None,
    done: DoneCallback | None = None,
    debug: bool | None = None,
    limits: Limits = DEFAULT_LIMITS,
    lifespan: Lifespan | None = None,
) -> AsgiApp: ...
def to_asgi(
    handler: AnyHandler | None = None,
    *,
    error: ErrorRenderer | None = None,
    done: DoneCallback | None = None,
    debug: bool | None = None,
    limits: Limits = DEFAULT_LIMITS,
    lifespan: Lifespan | None = None,
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
            "error" (of ours: a 500 or an aborted response), "disconnect" or "shutdown".
        debug: let clients see what went wrong; None asks ASGINEER_DEBUG=1 at each error.
        limits: what a request may bring.
        lifespan: an async context manager function without arguments; what it yields (a mapping, or
            nothing) is in each `request.state`. It is entered when the server starts, in each of its
            workers, and left at its end, after the last request. An error in it stops the server.
            On daphne, which tells neither, it is entered by the first request.

    Raises:
        TypeError: `handler` is no coroutine function that takes a request, or `error` or `done` is one.
    """
    check_plain("error", error)
    check_plain("done", done)
    settings = Settings(None, debug, done, error, limits, Life(lifespan))
    if handler is None:
        return lambda handler: _make_app(handler, settings)
    return _make_app(handler, settings)


def _make_app(handler: Any, settings: Settings) -> Any:
    check_handler(handler)
    settings.handler = handler
    call = _after_start(handler, settings.life) if settings.life.is_wanted() else handler
    if os.environ.get("ASGINEER_ACCESS_LOG") == "1":
        from ._access import log_access

        log_access(settings)

    # The type of a `send` without `respond`: to ask for what a type lacks is a seventh of our own time.
    stock: type | None = None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request. Whatever is no HTTP takes the first turn off."""
        nonlocal stock
        if scope["type"] != "http":
            return await _serve_other(call, settings, scope, receive, send)
        # HttpRequest(scope, receive, send), without the call of __init__: a tenth of our own time.
        request = _new(HttpRequest)
        request.scope = scope
        request._receive = receive
        request._send = send
        request._settings = settings
        # The defaults of the class, here as well: CPython has a fast way to what is the object's own only.
        request._response_stage = NEW
        request._held = False
        counts[REQUESTS] += 1
        done = settings.done
        start = 0.0 if done is None else perf_counter()
        outcome = "ok"
        try:
            result = await call(request)
            if request._response_stage is NEW:
                shape = type(result)
                if (shape is str or shape is dict) and scope["method"] != "HEAD":
                    # What render does with text and JSON, without the call: a tenth of our own time.
                    status = 200
                    if shape is dict:
                        data, field = encode_json(result), JSON_FIELD
                    else:
                        data, field = result.encode(), TEXT_FIELD
                        if result and result[0] in MAYBE_HTML and starts_html(result):
                            field = HTML_FIELD
                    headers = [field, (b"content-length", str(len(data)).encode())]
                else:
                    status, headers, data = render(result, scope["method"])
                if type(data) is bytes:
                    # As send_whole does it; here, because one more coroutine would cost every
                    # request a tenth of what all of this does.
                    request._response_stage = WHOLE
                    # Of the type, not the object: functools.wraps copies attributes to a middleware's `send`.
                    kind = type(send)
                    if kind is stock or (respond := getattr(kind, "respond", None)) is None:
                        stock = kind
                        await send({"type": "http.response.start", "status": status, "headers": headers})
                        await send({"type": "http.response.body", "body": data})
                    else:
                        respond(send, status, headers, data)
                    if done is not None:
                        request._status, request._bytes_sent = status, len(data)
                else:
                    await send_stream(request, status, headers, data)
            else:
                await finish(request, result)
        except BaseException as error:
            outcome = "error"  # also when what follows raises: an aborted response, a cancellation
            outcome = await fail(request, error)
        finally:
            counts[ENDED_REQUESTS] += 1
            if request._held:
                request._end()
            if done is not None:
                _report(done, request, start, outcome)

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        if hasattr(handler, name):
            setattr(app, name, getattr(handler, name))
    app.asgineer_handler = handler  # type: ignore[attr-defined]  # functions take attributes
    app.asgineer_settings = settings  # type: ignore[attr-defined]
    return app


def _after_start(handler: Any, life: Life) -> Any:
    """Put the start of the app before its first request, for a server that has no lifespan."""

    async def started(request: Any) -> Any:
        await life.start_late()
        return await handler(request)

    return started


def _report(done: DoneCallback, request: BaseRequest, start: float, outcome: str) -> None:
    """Tell the `done` function about a request that ended."""
    try:
        done(request, request._status, request._bytes_sent, perf_counter() - start, outcome)
    except Exception as error:
        log_failure(request, error, "done function")


async def _serve_other(handler: Any, settings: Settings, scope: Scope, receive: Receive, send: Send) -> None:
    kind = scope["type"]
    if kind == "websocket":
        websocket = WebsocketRequest(scope, receive, send)
        websocket._settings = settings
        await _serve_websocket_and_report(handler, settings, websocket)
    elif kind == "lifespan":
        await _serve_lifespan(settings, scope, receive, send)
    else:
        logger.warning("Unknown ASGI scope type %r is ignored", kind)


async def _serve_websocket_and_report(handler: Any, settings: Settings, request: WebsocketRequest) -> None:
    start = perf_counter()
    outcome = "error"
    try:
        outcome = await serve_websocket(handler, request)
    finally:
        if settings.done is not None:
            _report(settings.done, request, start, outcome)


async def _serve_lifespan(settings: Settings, scope: Scope, receive: Receive, send: Send) -> None:
    at_start: list[Callable[[], Callable[[], object]]] = []
    if ERRORS not in (scope.get("extensions") or {}):  # a test client gives the notice itself
        at_start.append(chain_signals)
    if settings.is_debug():
        at_start.append(_start_watchdog)
    await settings.life.serve(receive, send, at_start)


def _start_watchdog() -> Callable[[], object]:
    from ._watchdog import Watchdog  # in debug mode only

    watchdog = Watchdog()
    watchdog.start()
    return watchdog.stop


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
            if result is None and isinstance(request, WebsocketRequest):
                return None  # it denies by that, and the app says so
            return resolve(result, request.method)
        if result is not None:
            raise UsageError(_answered_twice(request))
    except Exception as error:
        if _is_answered(request):
            raise
        return resolve(answer_to(request, error, request._doing), request.method)
    return None


def _is_answered(request: BaseRequest) -> bool:
    if isinstance(request, WebsocketRequest):
        return request._stage is not CONNECTING
    return isinstance(request, HttpRequest) and request._response_stage not in (NEW, REFUSED)


def _answered_twice(request: BaseRequest) -> str:
    is_websocket = isinstance(request, WebsocketRequest)
    return _serve_websocket.ANSWERED_TWICE if is_websocket else _serve_http.ANSWERED_TWICE
