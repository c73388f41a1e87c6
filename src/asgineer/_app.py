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

from ._abort import abort, denies_by_exception
from ._answer import ERRORS, answer_to, deciding_error, log_failure, passes_through
from ._http import ACCEPTED, ENDED, NEW, REFUSED, WHOLE, HttpRequest, check_chunk
from ._interrupt import Guard, close
from ._life import Life
from ._limits import DEFAULT_LIMITS, Limits
from ._log import logger
from ._request import BaseRequest, Settings
from ._response import OCTETS, Response, guess_text_type, render, resolve
from ._shutdown import chain_signals
from ._stats import DISCONNECTS, ENDED_REQUESTS, ENDED_WEBSOCKETS, REQUESTS, WEBSOCKETS, counts
from ._stream import EventStream
from ._websocket import CLOSED, CONNECTING, MAX_REASON, WebsocketRequest
from .errors import BodyTooLarge, DisconnectedError, HTTPError, ServerClosing, UsageError, status_phrase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Protocol

    from ._headers import RawHeaders
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
    _check_plain("error", error)
    _check_plain("done", done)
    settings = Settings(None, debug, done, error, limits, Life(lifespan))
    if handler is None:
        return lambda handler: _make_app(handler, settings)
    return _make_app(handler, settings)


def _make_app(handler: Any, settings: Settings) -> Any:
    _check_handler(handler)
    settings.handler = handler
    call = _after_start(handler, settings.life) if settings.life.is_wanted() else handler
    if os.environ.get("ASGINEER_ACCESS_LOG") == "1":
        from ._access import log_access

        log_access(settings)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request. Whatever is no HTTP takes the first turn off."""
        if scope["type"] != "http":
            return await _serve_other(call, settings, scope, receive, send)
        # HttpRequest(scope, receive, send), without the call of __init__: a tenth of our own time.
        request = _new(HttpRequest)
        request.scope, request._receive, request._send, request._settings = scope, receive, send, settings
        counts[REQUESTS] += 1
        done = settings.done
        start = 0.0 if done is None else perf_counter()
        outcome = "ok"
        try:
            result = await call(request)
            if request._response_stage is NEW:
                status, headers, data = render(result, scope["method"])
                if type(data) is bytes:
                    # As _send_whole does it; here, because one more coroutine would cost every
                    # request a tenth of what all of this does.
                    request._response_stage = WHOLE
                    await send({"type": "http.response.start", "status": status, "headers": headers})
                    await send({"type": "http.response.body", "body": data})
                    if done is not None:
                        request._status, request._bytes_sent = status, len(data)
                else:
                    await _send_stream(request, status, headers, data)
            else:
                await _finish(request, result)
        except BaseException as error:
            outcome = "error"  # also when what follows raises: an aborted response, a cancellation
            outcome = await _fail(request, error)
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


def _check_handler(handler: Any) -> None:
    """Refuse what is no handler, with a word on the likely mistake."""
    name = getattr(handler, "__name__", type(handler).__name__)
    if hasattr(handler, "asgineer_handler"):
        raise TypeError(f"{name} is an ASGI app already: to_asgi() is used twice")
    if not inspect.iscoroutinefunction(handler) and not inspect.iscoroutinefunction(
        getattr(type(handler), "__call__", None)  # noqa: B004 (is it *async*, not: is it there)
    ):
        raise TypeError(f"to_asgi() needs a coroutine function (async def), not {_name_of(handler)}")
    if not _takes_one(handler):
        raise TypeError(f"A handler takes one argument, the request: async def {name}(request)")


def _takes_one(handler: Any) -> bool:
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # an object that does not tell what it takes
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def _after_start(handler: Any, life: Life) -> Any:
    """Put the start of the app before its first request, for a server that has no lifespan."""

    async def started(request: Any) -> Any:
        await life.start_late()
        return await handler(request)

    return started


def _name_of(handler: Any) -> str:
    if inspect.isasyncgenfunction(handler):
        return f"the async generator {handler.__name__!r}: return one from a handler, as its body"
    if inspect.isfunction(handler):
        return f"the function {handler.__name__!r} without async"
    if inspect.iscoroutine(handler):
        handler.close()  # or Python warns about it as well
        return "a coroutine: give it the function, without ()"
    if inspect.isclass(handler):
        return f"the class {handler.__name__!r}: give it an object, {handler.__name__}()"
    return f"{type(handler).__name__}"


def _check_plain(name: str, function: Any) -> None:
    if function is not None and (not callable(function) or inspect.iscoroutinefunction(function)):
        raise TypeError(f"to_asgi({name}=…) takes a plain function (def, not async def)")


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
        await _serve_websocket(handler, settings, websocket)
    elif kind == "lifespan":
        await _serve_lifespan(settings, scope, receive, send)
    else:
        logger.warning("Unknown ASGI scope type %r is ignored", kind)


# HTTP


async def _send_whole(request: HttpRequest, status: int, headers: RawHeaders, data: bytes) -> None:
    request._response_stage = WHOLE
    request._status = status
    await request._send({"type": "http.response.start", "status": status, "headers": headers})
    await request._send({"type": "http.response.body", "body": data})
    request._bytes_sent = len(data)


async def _send_stream(request: HttpRequest, status: int, headers: RawHeaders, stream: Any) -> None:
    """Send what `stream` yields, and close it on every way out.

    When the client leaves while it waits, wherever that is, its wait is cancelled.
    """
    request._doing = "sending chunked response"
    if isinstance(stream, EventStream):
        await stream.serve(request, status, headers)
        return await _finish(request, None)
    iterator = aiter(stream)
    guard = Guard()
    try:
        if request.method == "HEAD":
            await request._start_response(status, headers)
        else:
            with request._watching(guard.tell):
                await _send_chunks(request, status, headers, iterator, guard)
    finally:
        await close(iterator)
    await _finish(request, None)


async def _send_chunks(
    request: HttpRequest, status: int, headers: RawHeaders, iterator: Any, guard: Guard
) -> None:
    """Send the chunks; the first is pulled before the status goes out: an early error is still a 500."""
    chunk = await guard.wait(lambda: anext(iterator, b""))
    if not any(name == b"content-type" for name, _ in headers):
        headers.append((b"content-type", guess_text_type(chunk) if isinstance(chunk, str) else OCTETS))
    data = _check_stream_chunk(chunk)
    await request._start_response(status, headers)
    try:
        while True:
            await request._send_chunk(data, True)
            data = _check_stream_chunk(await guard.wait(iterator.__anext__))
    except StopAsyncIteration:
        return


def _check_stream_chunk(chunk: Any) -> bytes:
    return check_chunk(chunk, "Response chunks must be bytes or str")


async def _finish(request: HttpRequest, result: Any) -> None:
    """End a response that was sent in pieces, or that can't be a success any more."""
    if request._response_stage is REFUSED:
        status, headers, data = render(result, request.method)
        if status < 400:
            raise BodyTooLarge
        return await (_send_whole if type(data) is bytes else _send_stream)(request, status, headers, data)
    if result is not None:
        raise UsageError(_ANSWERED_TWICE[HttpRequest])
    if request._response_stage is ACCEPTED and not request._is_cut_short():
        await request._send_chunk(b"", False)
    if request._is_cut_short():
        raise ValueError(f"The response body ended before its content-length, {request._content_length}")


async def _fail(request: HttpRequest, error: BaseException) -> str:
    """Answer with what went wrong, or end the response so that it is seen to fail; return the outcome."""
    stage = request._response_stage
    error = deciding_error(error)
    if isinstance(error, ServerClosing):
        return await _close(request)
    if isinstance(error, DisconnectedError) or (stage is WHOLE and isinstance(error, OSError)):
        return _note_disconnect()  # an OSError of send is what ASGI 2.4 asks of a server whose client is gone
    if stage is REFUSED and isinstance(error, HTTPError) and error.status < 400:
        error = BodyTooLarge()
    if stage is NEW or stage is REFUSED:
        return await _answer(request, error)
    if passes_through(error):
        raise error
    log_failure(request, error, request._doing)
    request._response_stage = ENDED
    if (stage is ACCEPTED or request._is_cut_short()) and not abort(request._send):
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
        await _send_whole(request, *render(answer, request.method))
    except OSError:  # the client left; a DisconnectedError is one of them
        return _note_disconnect()
    return "error" if request._status >= 500 else "ok"


def _note_disconnect() -> str:
    counts[DISCONNECTS] += 1
    return "disconnect"


class ResponseAborted(Exception):
    """Raised out of the app to make the server close the connection; our log has the story already."""

    def __init__(self) -> None:
        super().__init__("a response that had begun could not be completed")


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
    return isinstance(request, HttpRequest) and request._response_stage not in (NEW, REFUSED)


_ANSWERED_TWICE: dict[type, str] = {
    HttpRequest: "Handlers that call request.accept() should return None",
    WebsocketRequest: "A websocket handler should return None after request.accept()",
}


# Websockets


async def _serve_websocket(handler: Any, settings: Settings, request: WebsocketRequest) -> None:
    """Serve one websocket; it is closed when the handler returns."""
    counts[WEBSOCKETS] += 1
    start = perf_counter()
    outcome = "ok"
    try:
        result = await handler(request)
        if request._stage is CONNECTING:
            await _deny(request, (403, {}, "Forbidden") if result is None else result)
        elif result is not None:
            raise UsageError(_ANSWERED_TWICE[WebsocketRequest])
        await request.close()
    except BaseException as error:
        outcome = "error"
        outcome = await _fail_websocket(request, error)
    finally:
        counts[ENDED_WEBSOCKETS] += 1
        request._end()
        if settings.done is not None:
            _report(settings.done, request, start, outcome)


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
        if isinstance(error, ServerClosing):
            return await _close_websocket(request)
        if isinstance(error, DisconnectedError):
            return _note_disconnect()
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
        return _note_disconnect()
    return "error" if code == 1011 else "ok"


async def _close_websocket(request: WebsocketRequest) -> str:
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


# Lifespan


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
