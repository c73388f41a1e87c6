"""Hand a request to another ASGI app: the scope that it gets, and how its call ends.

The other app speaks with the server itself: every message goes through as it is, both ways.
The request only takes note of what went by (`_pass_on` in `_http` and `_websocket`), so that
it knows its own state afterwards. Nothing is read or answered here. The registry of
`running` apps stands here too, as a forwarded request brings what their lifespan left.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ._request import without_prefix
from .errors import DisconnectedError, HTTPError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._request import BaseRequest, Receive, Scope, Send

    ASGIApp = Callable[[Scope, Receive, Send], Awaitable[Any]]

UNFINISHED = "The app that the request was forwarded to returned without a whole response"

_running: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[tuple[ASGIApp, dict[str, Any]]]] = (
    weakref.WeakKeyDictionary()
)


def running_apps() -> list[tuple[ASGIApp, dict[str, Any]]]:
    """Return the apps that `running` runs in this event loop, each with what its lifespan left."""
    return _running.setdefault(asyncio.get_running_loop(), [])


def state_of(app: ASGIApp) -> dict[str, Any] | None:
    """Return what the lifespan of `app` left, None when it isn't run by `running`.

    A list and `==`, and no dict: an app need not be hashable, a bound method is a new object each time.
    """
    return next((state for known, state in running_apps() if known is app or known == app), None)


def scope_for(request: BaseRequest, app: ASGIApp, prefix: str) -> Scope:
    """Return a scope for `app`: that of `request`, mounted at `prefix` inside ours.

    Raises:
        ValueError: the prefix is no path.
        HTTPError: 404, the path of the request isn't under the prefix.
    """
    if prefix and not prefix.startswith("/"):
        raise ValueError(f"The prefix must be a path such as '/admin', not {prefix!r:.100}")
    prefix = prefix.rstrip("/")
    segments = prefix.split("/")[1:]
    # By segments of the raw path: "/admin%2Fx" is no page under "/admin", "/%61dmin/x" is one.
    if list(request.parts[: len(segments)]) != segments:
        raise HTTPError(404)
    mount = request.root_path + prefix
    # ASGI has the root path in front of the path; not every server does.
    scope = {**request.scope, "root_path": mount, "path": request.root_path + request.path}
    if "raw_path" in scope and not _is_under(request.raw_path, quote(mount)):
        inner = request._raw_inner_path().split("/")[len(segments) + 1 :]
        scope["raw_path"] = "/".join([quote(mount), *inner]).encode()
    scope["state"] = request.state | (state_of(app) or {})
    return scope


def _is_under(raw_path: bytes, mount: str) -> bool:
    path = raw_path.decode("latin-1")
    return not mount or without_prefix(path, mount) != path


async def call(
    request: BaseRequest,
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    is_answered: Callable[[], bool],
) -> None:
    """Call `app`, and see that it answered.

    Raises:
        DisconnectedError: the app was told that the client left, and returned without an answer, or
            ended by an exception of its own that says so. Any other exception of it passes.
        RuntimeError: it returned without an answer.
    """
    doing, request._doing = request._doing, "forwarded app"
    try:
        await app(scope, receive, send)
    except Exception as error:
        if request._gone and _tells_disconnect(error):
            raise _left(request) from error
        raise
    if not is_answered():
        raise _left(request) if request._gone else RuntimeError(UNFINISHED)
    request._doing = doing


def _left(request: BaseRequest) -> DisconnectedError:
    return request._gone if isinstance(request._gone, DisconnectedError) else DisconnectedError()


def _tells_disconnect(error: Exception) -> bool:
    """Say whether `error` is how a framework has its code learn that the client left.

    ASGI's own is an OSError; Starlette has ClientDisconnect and WebSocketDisconnect. By name, so
    that none of them is imported.
    """
    return isinstance(error, OSError) or "Disconnect" in type(error).__name__
