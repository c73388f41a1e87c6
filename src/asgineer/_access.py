"""The access log of `run(access_log=True)`: one line per request, the same on every server.

    127.0.0.1 "GET /items/7 HTTP/1.1" 200 1234 0.8ms
    127.0.0.1 "WEBSOCKET /chat HTTP/1.1" 101 5120 60012.4ms disconnect

Client, request line, status, bytes of body (or of websocket messages) sent, duration, and how
it ended when that was not well. Websockets are logged when they end. The path is percent-encoded
and capped, so that a client can neither forge a line nor break one up; the query is left out,
as that is where tokens and searches stand. Lines go to the logger "asgineer.access" at level INFO.

For an app of ours it stands on the `done` of `to_asgi`; any other ASGI app is wrapped. Nothing
here knows requests or servers.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from . import _log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[..., Awaitable[None]]
    Done = Callable[[Any, int, int, float, str], None]

logger = logging.getLogger("asgineer.access")

MAX_PATH = 400  # characters of the path before it is percent-encoded
MAX_METHOD = 20  # characters; the longest registered one, BASELINE-CONTROL, has 16

# What may stand bare in a path (RFC 3986, section 3.3); the double quote, the space and controls may not.
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"


def access_line(scope: Scope, status: int, size: int, seconds: float, outcome: str = "ok") -> str:
    """Return the line for one request.

    Args:
        scope: the ASGI scope of the request or websocket.
        status: the status that was sent; 101 for an accepted websocket.
        size: bytes of body or of messages sent.
        seconds: from the first look at the request to its end.
        outcome: "ok" is not written, anything else is.
    """
    client = scope.get("client")
    # A socket for both kinds of addresses (daphne, granian) shows IPv4 clients this way.
    host = str(client[0]).removeprefix("::ffff:") if client and client[0] else "-"
    method = _log.escape(str(scope.get("method", "WEBSOCKET")), MAX_METHOD)
    path = str(scope["path"])
    shown = quote(path[:MAX_PATH], safe=_PATH_CHARACTERS, errors="backslashreplace")
    if len(path) > MAX_PATH:
        shown += "…"
    version = scope.get("http_version", "1.1")
    line = f'{host} "{method} {shown} HTTP/{version}" {status} {size} {seconds * 1000:.1f}ms'
    return line if outcome == "ok" else f"{line} {outcome}"


def log_request(request: Any, status: int, size: int, seconds: float, outcome: str) -> None:
    """Log one request of ours; it has the signature of a `done` function."""
    logger.info("%s", access_line(request.scope, status, size, seconds, outcome))


def log_access(settings: Any) -> None:
    """Put the access log before the `done` of an app of ours. Twice is the same as once."""
    if settings.done is None:
        settings.done = log_request
    elif settings.done is not log_request and not isinstance(settings.done, _Both):
        settings.done = _Both(settings.done)


def with_access_log(app: App) -> App:
    """Return an ASGI app that does what `app` does, and logs. Twice is the same as once."""
    settings = getattr(app, "asgineer_settings", None)
    if settings is None:
        return app if isinstance(app, AccessLog) else AccessLog(app)
    log_access(settings)
    return app


class _Both:
    """A `done` that logs, then calls the app's own: an error in that one costs no line."""

    def __init__(self, own: Done) -> None:
        self.own = own

    def __call__(self, request: Any, status: int, size: int, seconds: float, outcome: str) -> None:
        log_request(request, status, size, seconds, outcome)
        self.own(request, status, size, seconds, outcome)


class AccessLog:
    """An ASGI app that is not ours, with the access log around it."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app; log its end, also when it raised."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        sent = _Sent(send)
        started = time.perf_counter()
        outcome = "error"
        try:
            await self.app(scope, receive, sent)
            outcome = "ok"
        finally:
            seconds = time.perf_counter() - started
            logger.info("%s", access_line(scope, sent.status or 500, sent.size, seconds, outcome))
        return None


class _Sent:
    """A `send` that notes the status and counts the bytes."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.status = 0
        self.size = 0

    async def __call__(self, message: Message) -> None:
        await self.send(message)
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
        elif kind == "websocket.accept":
            self.status = 101
        elif kind == "websocket.close":
            self.status = self.status or 403  # before accept: every server denies with that
        else:
            body = message.get("body") or message.get("bytes") or (message.get("text") or "").encode()
            self.size += len(body)
