"""What went wrong → a response, and the record of it in the log.

A client's mistake (an HTTPError) is answered and not logged. A disconnect is no error: it
passes through, as a cancellation does. Anything else is ours: one record tells the story,
the client reads a fixed text, or with `debug` what went wrong (`_debug`). Nothing is sent from here.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from ._hints import hint_for
from ._log import describe, escape, log_error, logger
from ._response import normalize_response, render
from .errors import ChannelError, DisconnectedError, HTTPError

if TYPE_CHECKING:
    from ._request import BaseRequest

ERRORS = "asgineer.errors"  # the extension of a test client: a list of what went wrong
RETRY_AFTER = "5"  # seconds, for what can't be had now
PACKAGE = os.path.dirname(__file__)


def answer_to(request: BaseRequest, error: BaseException, doing: str = "request handler") -> Any:
    """Return the response for `error`, which left the handler of `request`; log it where it is ours.

    A disconnect, and a cancellation of the task, are raised again.
    """
    error = deciding_error(error)
    if passes_through(error):
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a circle, which would keep the request
    if isinstance(error, ChannelError):
        error = _unavailable(request, error)
    if not isinstance(error, HTTPError):
        story = log_failure(request, error, doing)
        shown: Any = "Internal server error"
        if request._settings.is_debug():
            from ._debug import explain  # where something failed, in debug mode only

            shown = explain(request, error, story, _where(request, error))
            if not isinstance(shown, str):
                return shown
        cause, error = error, HTTPError(500, shown)
        error.__cause__ = cause
    return _render_error(request, error)


def _unavailable(request: BaseRequest, error: ChannelError) -> HTTPError:
    """Return 503 for a bus whose engine is away; one line in the log, as it may be many requests."""
    about = f"{request.method} {escape(request.path, 200)}, request {request.id}"
    logger.warning("ChannelError in %s: %s (%s)", request._doing, describe(error), about)
    answer = HTTPError(503, headers={"retry-after": RETRY_AFTER})
    answer.__cause__ = error
    return answer


def deciding_error(error: BaseException) -> BaseException:
    """Return the exception that decides the outcome: `error`, or for a group one of those in it.

    A group of only HTTPErrors and DisconnectedErrors counts as its first; others win.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [deciding_error(inner) for inner in error.exceptions]
    harmless = all(isinstance(leaf, (HTTPError, DisconnectedError)) for leaf in leaves)
    return leaves[0] if harmless else error


def passes_through(error: BaseException) -> bool:
    """Say whether `error` is nobody's mistake: a disconnect, or the end of the task.

    A CancelledError in a task that nobody cancelled is the handler's own (it awaited something
    that was cancelled), and would leave the client without an answer.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, (DisconnectedError, GeneratorExit))


def log_failure(request: BaseRequest, error: BaseException, doing: str) -> str:
    """Log the one record about `error`; return its text without what only the operator may know."""
    story = f"{type(error).__name__} in {doing}: {describe(error)}"
    if hint := hint_for(request, error):
        story += f"; {hint}"
        error.add_note(hint)  # for the traceback, and for a test that the error is raised in
    told = (request.scope.get("extensions") or {}).get(ERRORS)
    if told is not None:  # a test client, which raises it in the test
        told.append(error)
    about = f"{request.method} {escape(request.path, 200)}, request {request.id}"
    log_error(f"{story} ({about}, {_where(request, error)})", error)
    return story


def _where(request: BaseRequest, error: BaseException) -> str:
    """Return file and line of the last frame that is the application's, else of its handler."""
    found = None
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if os.path.dirname(code.co_filename) != PACKAGE:
            found = f"{os.path.basename(code.co_filename)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    if found is not None:
        return found
    handler: Any = request._settings.handler
    start = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return f"{os.path.basename(start.co_filename)}:{start.co_firstlineno}" if start else repr(type(handler))


def _render_error(request: BaseRequest, error: HTTPError) -> Any:
    """Return the response for `error`, by the app's `error` function if there is one; it can be sent."""
    renderer = request._settings.error
    if renderer is not None and error.status != 304:
        try:
            _, headers, body = normalize_response(renderer(request, error))
            own = {name.lower(): value for name, value in error.headers.items()}
            return _sendable((error.status, own | headers, body))
        except Exception as failure:
            log_failure(request, failure, "error renderer")
    try:
        return _sendable((error.status, error.headers, None if error.status == 304 else error.body))
    except Exception as failure:
        log_failure(request, failure, request._doing)
        return 500, {}, "Internal server error"


def _sendable(response: Any) -> Any:
    if not isinstance(render(response)[2], bytes):
        raise TypeError("The body of an error can't be a stream")
    return response
