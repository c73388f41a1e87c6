"""BaseRequest: what the two kinds of request know of the scope. No await in here.

Everything is made on first use: a handler that asks for nothing pays for nothing. What the
client controls is bounded when it is read, by the app's limits, and a mistake in it is an
HTTPError, so an application doesn't see half of it. The scope is handed through untouched.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import quote, unquote

from ._cookies import parse_cookies
from ._fields import check_fields, parse_pairs
from ._headers import Headers, decode_headers, parse_host
from ._life import Life
from ._limits import DEFAULT_LIMITS, Limits
from .errors import BadRequest, HTTPError, InvalidData

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from ._requestset import RequestSet

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ErrorRenderer = Callable[["BaseRequest", HTTPError], Any]
    DoneCallback = Callable[["BaseRequest", int, int, float, str], object]

__all__ = ["BaseRequest"]

T = TypeVar("T")

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Settings:
    """What `to_asgi` was told, for every request of the app: see there."""

    __slots__ = ("debug", "done", "error", "handler", "life", "limits")

    def __init__(
        self,
        handler: Callable[..., Any] | None = None,
        debug: bool | None = None,
        done: DoneCallback | None = None,
        error: ErrorRenderer | None = None,
        limits: Limits = DEFAULT_LIMITS,
        life: Life | None = None,
    ) -> None:
        self.handler = handler
        self.life = Life(None) if life is None else life
        self.debug = debug
        self.done = done
        self.error = error
        self.limits = limits

    def is_debug(self) -> bool:
        """Say whether clients may see what went wrong; unset, the environment decides when it is asked."""
        return os.environ.get("ASGINEER_DEBUG") == "1" if self.debug is None else self.debug


class BaseRequest:
    """What HTTP and websocket requests have in common.

    Attributes:
        scope: the ASGI scope, as the server gave it.
        label: a name for metrics and logs, such as the route; yours to set.
    """

    # Defaults stand on the class: making a request writes three attributes and no more.
    label: str = ""
    _status: int = 0  # of the response, 0 until there is one; 101 for an open websocket
    _bytes_sent: int = 0  # of the response's body, or of the messages of a websocket
    _settings: Settings = Settings()
    _doing: str = "request handler"  # for the log, should it fail
    _default_scheme: ClassVar[str] = "http"
    _headers: Headers | None = None
    _cookies: dict[str, str] | None = None
    _parts: tuple[str, ...] | None = None
    _querylist: list[tuple[str, str]] | None = None
    _state: dict[str, Any] | None = None
    _id: str | None = None
    _proxied: bool = False  # what a proxy says of the client was read
    _request_sets: set[RequestSet[Any]] | None = None
    _held: bool = False  # something is to be let go at the end: a listener, a RequestSet
    _gone: Any = None  # the client left; how it did, for a websocket

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.path!r:.200}>"

    # What was asked for

    @property
    def method(self) -> str:
        """The method in capitals; for a websocket GET, as its handshake has it."""
        method: str = self.scope.get("method", "GET")
        return method

    @property
    def verb(self) -> str:
        """What to route by: the method, with GET for HEAD; WEBSOCKET for a websocket."""
        method: str = self.scope.get("method", "GET")
        return "GET" if method == "HEAD" else method

    @property
    def http_version(self) -> str:
        """The HTTP version that the client speaks with the server: "1.0", "1.1", "2"."""
        version: str = self.scope.get("http_version", "1.1")
        return version

    @property
    def headers(self) -> Headers:
        """The header fields: a dict with lower-case names, the same object each time, yours to change.

        Repeated ones are joined with a comma (RFC 9110 section 5.3); `headers.getlist(name)` gives each.

        Raises:
            HeadersTooLarge: over `Limits.headers` or `Limits.header_count`.
        """
        if self._headers is None:
            self._headers = decode_headers(self.scope["headers"], self._settings.limits)
        return self._headers

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that the client sent: the same dict each time; of a repeated name the first.

        Values are as they came, never decoded or un-quoted; a cookie without a name is left out.

        Raises:
            HeadersTooLarge: over `Limits.cookies` bytes (16 KiB) or `Limits.cookie_pairs` (100).
        """
        if self._cookies is None:
            self._cookies = parse_cookies(self.headers.get("cookie", ""), self._settings.limits)
        return self._cookies

    # Where it was sent to

    @property
    def scheme(self) -> str:
        """The scheme that the server saw: "http" or "https", "ws" or "wss"."""
        scheme: str = self.scope.get("scheme") or self._default_scheme
        return scheme

    @property
    def host(self) -> str:
        """The host that the client asked for, in lower case, without port or brackets.

        From the Host header; the server's own address where there is none (HTTP/1.0).

        Raises:
            BadRequest: the header is no valid host, or is there twice, or isn't there in HTTP/1.1.
        """
        return self._host_and_port()[0]

    @property
    def port(self) -> int | None:
        """The port that the client asked for; the scheme's default where it named none, None where unknown.

        Raises:
            BadRequest: as for `host`.
        """
        return self._host_and_port()[1]

    def _host_and_port(self) -> tuple[str, int | None]:
        default = DEFAULT_PORTS.get(self.scheme)
        value = self.headers.get("host")
        if value is not None:
            host, port = parse_host(value)
            return host, default if port is None else port
        if self.scope.get("http_version") == "1.1":  # which has to have one, RFC 9112 section 3.2
            raise BadRequest("No Host header")
        server = self.scope.get("server")
        if server and server[1] is not None:  # None is a unix socket
            return server[0], server[1]
        return "localhost", default

    @property
    def url(self) -> str:
        """The whole URL with path and query, built from parts; a port that the scheme implies is left out.

        Raises:
            BadRequest: as for `host`.
        """
        host, port = self._host_and_port()
        netloc = f"[{host}]" if ":" in host else host
        if port is not None and port != DEFAULT_PORTS.get(self.scheme):
            netloc += f":{port}"
        query = self.scope.get("query_string", b"").decode("utf-8", "replace")
        path = quote(self.root_path) + ("" if self.path == "*" else self._raw_inner_path())
        return f"{self.scheme}://{netloc}{path}{'?' + query if query else ''}"

    @property
    def root_path(self) -> str:
        """Where the app is mounted: what comes before `path` in the URL; "" at the top."""
        root: str = self.scope.get("root_path", "")
        return root.rstrip("/")

    @property
    def path(self) -> str:
        """The path inside the app, percent-decoded, without query and without `root_path`.

        It begins with a slash, whatever the client sent, but for `*` (of `OPTIONS *`).
        """
        path: str = self.scope["path"]
        if path[:1] != "/":
            path = origin_form(path)
        return without_prefix(path, self.root_path)

    @property
    def raw_path(self) -> bytes:
        """The path as it came over the wire, percent-encoded, without the query.

        What the server gives, else `path` encoded again. May have the root path in front.
        """
        raw: bytes | None = self.scope.get("raw_path")
        return quote(self.scope["path"]).encode() if raw is None else raw.partition(b"?")[0]

    def _raw_inner_path(self) -> str:
        """The path inside the app, still percent-encoded."""
        raw = self.scope.get("raw_path")
        if raw is None:
            return quote(self.path)
        path = origin_form(self.raw_path.decode("utf-8", "replace"))
        return without_prefix(path, self.root_path, quote(self.root_path))

    @property
    def parts(self) -> tuple[str, ...]:
        """The segments of the path, each percent-decoded by itself: `/a%2Fb/c` is `("a/b", "c")`.

        One leading slash is dropped; empty segments stay, so `/` is `()`, `/a/` is `("a", "")` and `//`
        is `("", "")`: other paths than `/a`. Bytes that are no UTF-8 become U+FFFD.
        """
        if self._parts is None:
            scope = self.scope
            raw: bytes | None = scope.get("raw_path")
            if raw and raw.isascii() and not scope.get("root_path"):
                # Nearly every path: the same as what follows, in a sixth of the time. No escape, no query
                # (some servers leave it in); in a str, where that is looked up in a fifth of the time.
                text = raw.decode()
                if "%" not in text and "?" not in text and text[0] == "/":
                    self._parts = tuple(text[1:].split("/")) if len(text) > 1 else ()
                    return self._parts
            path = self._raw_inner_path().removeprefix("/")
            self._parts = tuple([unquote(part) for part in path.split("/")]) if path else ()
        return self._parts

    # The query

    @property
    def querylist(self) -> list[tuple[str, str]]:
        """The fields of the query in their order, blank values kept; only `&` separates them.

        Escapes that are no UTF-8 become U+FFFD.

        Raises:
            HTTPError: 414, over `Limits.query` bytes; 400, over `Limits.query_fields`.
        """
        if self._querylist is None:
            self._querylist = self._parse_query()
        return self._querylist

    @property
    def querydict(self) -> dict[str, str]:
        """The query as a new dict; of a repeated field the last one. Raises as `querylist` does."""
        return dict(self.querylist)

    def get_query(self, type: type[T]) -> T:
        """Return the query as a value of `type`: a dataclass, Struct, TypedDict or NamedTuple class.

        Conversion is lax: "3" is an int, a repeated field a list, a missing one its default.

        Raises:
            InvalidData: 422, some field is not what the type asks for; `errors` says which.
            HTTPError: as for `querylist`.
        """
        values: dict[str, list[str]] = {}
        for name, text in self.querylist:
            values.setdefault(name, []).append(text)
        value, errors = check_fields(values, type)
        if errors:
            raise InvalidData(errors)
        made: T = value
        return made

    def _parse_query(self) -> list[tuple[str, str]]:
        query: bytes = self.scope.get("query_string", b"")
        limits = self._settings.limits
        if limits.query is not None and len(query) > limits.query:
            raise HTTPError(414, "Query string too long")
        if limits.query_fields is not None and query.count(b"&") >= limits.query_fields:
            raise BadRequest("Too many query fields")
        return parse_pairs(query)

    # Who asks

    @property
    def client(self) -> tuple[str, int]:
        """The address and port of the peer, a proxy perhaps; `("", 0)` on a unix socket."""
        client = self.scope.get("client")
        return (client[0], int(client[1] or 0)) if client else ("", 0)  # granian has the port as a str

    @property
    def state(self) -> dict[str, Any]:
        """What the lifespan yielded, above what is in `scope["state"]`: this request's own shallow copy."""
        if self._state is None:
            self._state = {**(self.scope.get("state") or {}), **self._settings.life.state}
        return self._state

    @property
    def id(self) -> str:
        """16 random hex digits, made on first use: names this request in logs."""
        if self._id is None:
            self._id = os.urandom(8).hex()
        return self._id

    @property
    def last_event_id(self) -> str | None:
        """Where a stream is to be resumed: the Last-Event-ID header, else the query field `since`.

        An empty one counts as None. It is the client's word: nothing that is stored is found by it.
        """
        return self.headers.get("last-event-id") or self.querydict.get("since") or None

    def _leave_request_sets(self) -> None:
        for request_set in self._request_sets or ():
            request_set.discard(self)


def origin_form(path: str) -> str:
    """Return the path of a request target in a form that some servers hand through as it came.

    Of a whole URL (RFC 9112 section 3.2.2) its path; `*` stays. Anything else that is no path gets a
    slash in front: `@evil.example` must not become the host of a URL that is built with it.
    """
    if path.startswith("/") or path in ("", "*"):
        return path
    scheme, mark, rest = path.partition("://")
    if mark and scheme.lower() in ("http", "https"):
        _, slash, inner = rest.partition("/")
        return slash + inner
    return "/" + path


def without_prefix(path: str, *prefixes: str) -> str:
    """Return `path` without the first of `prefixes` that ends at a segment boundary in it.

    uvicorn puts the root path in front, as ASGI asks, hypercorn leaves the path as it came.
    """
    for prefix in prefixes:
        if prefix and path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
            return path[len(prefix) :]
    return path
