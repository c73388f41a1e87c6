"""Every exception of the package, by whose fault it is.

    AsgineerError
    ├── HTTPError              raise it anywhere below a handler: it is the answer
    │   ├── BadRequest            400  what the client sent can't be read
    │   ├── MethodNotAllowed      405  with the Allow header
    │   ├── RequestTimeout        408  the request body did not come in time
    │   ├── BodyTooLarge          413  also an OSError
    │   ├── UnsupportedMediaType  415  the body says it is something else than what is read
    │   ├── InvalidData           422  understood, but not what is asked for; says where
    │   └── HeadersTooLarge       431
    ├── DisconnectedError      the client left: no error at all, a handler may end by it; also an OSError
    │   └── ServerClosing         the server began to stop: a handler may say goodbye
    ├── UsageError             a call that is wrong in this state, the handler's mistake; also an OSError
    └── ChannelError           the engine of a bus is away, or refused; uncaught it is a 503 with Retry-After

A client's mistake is answered with a 4xx and a short fixed text. Any other exception that
leaves a handler is a 500, told in the log. A wrong *type* of data is a TypeError, a wrong
value a ValueError, as everywhere in Python. The three that are also an OSError are what
`except IOError` in applications for older releases catches.

Data stands in attributes, text in `str(error)`. Nothing here knows a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AsgineerError",
    "BadRequest",
    "BodyTooLarge",
    "ChannelError",
    "DisconnectedError",
    "HTTPError",
    "HeadersTooLarge",
    "InvalidData",
    "MethodNotAllowed",
    "RequestTimeout",
    "ServerClosing",
    "UnsupportedMediaType",
    "UsageError",
]


class AsgineerError(Exception):
    """The base of every exception that Asgineer defines."""


def status_phrase(status: int) -> str:
    """Return the reason phrase of `status`, such as "Not Found"; "" for one without a name."""
    from http import HTTPStatus  # on the way of errors only, so it stays out of the import

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


class HTTPError(AsgineerError):
    """Raise it anywhere below a handler to answer the request with it.

    Args:
        status: from 300 to 599; so `HTTPError(303, headers={"location": "/login"})` redirects.
        body: any body that a handler may return; an empty one becomes the status phrase.
        headers: sent as they are, like the headers that a handler returns.

    Raises:
        TypeError: the status is no int, or the headers are no mapping.
        ValueError: the status is not from 300 to 599.
    """

    status: int
    body: Any
    headers: dict[str, str | list[str]]
    close_code: int = 1008  # on a websocket that is open, for a status below 500 (RFC 6455 section 7.4.1)

    def __init__(
        self, status: int, body: Any = "", *, headers: Mapping[str, str | list[str]] | None = None
    ) -> None:
        if not isinstance(status, int) or isinstance(status, bool):
            raise TypeError(f"HTTPError status must be an int, not {status!r}")
        if not 300 <= status <= 599:
            raise ValueError(f"HTTPError status must be from 300 to 599, not {status!r}")
        phrase = status_phrase(status)
        empty = body is None or (isinstance(body, (str, bytes)) and not body)
        self.status = status
        self.body = phrase if empty else body
        self.headers = dict(headers or {})
        super().__init__(f"{status} {self.body if isinstance(self.body, str) else phrase}")


class BadRequest(HTTPError):
    """400: what the client sent can't be understood (RFC 9110 section 15.5.1)."""

    def __init__(self, body: Any = "") -> None:
        super().__init__(400, body)


class MethodNotAllowed(HTTPError):
    """405 with an Allow header that lists `methods`, as RFC 9110 section 15.5.6 asks.

    HEAD is listed beside GET: a handler that answers one answers the other.
    """

    def __init__(self, *methods: str) -> None:
        allowed = [name.upper() for name in methods]
        if "GET" in allowed and "HEAD" not in allowed:
            allowed.insert(allowed.index("GET") + 1, "HEAD")
        super().__init__(405, headers={"allow": ", ".join(allowed)})


class RequestTimeout(HTTPError):
    """408: no piece of the request body came for `Limits.body_idle` seconds (RFC 9110 section 15.5.9)."""

    def __init__(self, body: Any = "") -> None:
        super().__init__(408, body)


class BodyTooLarge(HTTPError, OSError):
    """413: the request body, or what the client declared of it, is over the limit.

    A handler that catches it can't turn it into a success: a response below 400 becomes 413.
    """

    def __init__(self, body: Any = "Request body too large") -> None:
        super().__init__(413, body)


class UnsupportedMediaType(HTTPError):
    """415: the request body says it is of another type, or encoded (RFC 9110 section 15.5.16)."""

    def __init__(self, body: Any = "") -> None:
        super().__init__(415, body)


class InvalidData(HTTPError):
    """422: what the client sent is well-formed, but not what is asked for (RFC 9110 section 15.5.21).

    Attributes:
        errors: what is wrong, by the name of the field; "" is the whole.
    """

    errors: dict[str, str]

    def __init__(self, errors: str | Mapping[str, str]) -> None:
        self.errors = {"": errors} if isinstance(errors, str) else dict(errors)
        texts = [f"{name}: {text}" if name else text for name, text in self.errors.items()]
        super().__init__(422, "\n".join(texts))


class HeadersTooLarge(HTTPError):
    """431: more header fields, or more bytes of them, than the limits allow (RFC 6585 section 5)."""

    def __init__(self, body: Any = "") -> None:
        super().__init__(431, body)


class DisconnectedError(AsgineerError, OSError):
    """The client left. Not an error: it is never logged as one, and a handler may simply end by it.

    Attributes:
        code: the close code of a websocket (RFC 6455 section 7.4), None for HTTP.
        reason: the text that came with it.
    """

    def __init__(
        self, text: str = "The client disconnected", *, code: int | None = None, reason: str = ""
    ) -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason


class ServerClosing(DisconnectedError):
    """The server began to stop, while a handler waited or before it did.

    The client is still there: a handler may catch it, say goodbye and return. Uncaught, a
    websocket is closed with 1012 ("service restart"), and a request that has no response yet
    gets 503 with Retry-After.
    """

    def __init__(self) -> None:
        super().__init__("The server is closing", code=1012)


class UsageError(AsgineerError, OSError):
    """A call that is wrong in the state the request is in, such as `send` before `accept`."""


class ChannelError(AsgineerError):
    """The engine of a bus can't be reached, or refused: what was asked may or may not have happened.

    Publish again with the same `key` to have the message once. Uncaught in a handler it is answered
    with 503 and Retry-After: the client did nothing wrong, and may try again.
    """
