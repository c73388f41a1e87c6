"""The words of the in-process server: its types, its errors, and what a legal message is.

The checks are stricter than any one server's: what one of them refuses is refused here, with
`ProtocolViolation` raised at the call that did it. Pure; connections are `_exchange`'s and
`_session`'s work.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    import httpx2

    Message = dict[str, Any]
    Scope = dict[str, Any]
    ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
    HeaderItems = Iterable[tuple[str | bytes, str | bytes]]
    AfterBody = Literal["wait", "disconnect", "none"]
    RaiseErrors = bool | type[BaseException] | tuple[type[BaseException], ...]

RawHeaders = list[tuple[bytes, bytes]]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")  # section 5.5: no control character but HTAB
_CLOSE_CODES = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}  # RFC 6455 section 7.4
MAX_SHOWN = 200  # bytes of a denial's body that stand in the text of the error
MAX_CLOSE_REASON = 123  # bytes: a control frame has 125, two are the code


class ProtocolViolation(RuntimeError):
    """The app sent something that the ASGI or HTTP specification forbids."""


class IncompleteResponse(ConnectionError):
    """The connection ended before the response was whole."""


class ClientLeft(OSError):
    """Raised by `send` on a websocket whose client is gone, as ASGI asks of servers."""


class WebsocketClosed(ConnectionError):
    """The websocket is closed; `code` and `reason` say how (1006: without a close frame)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"websocket closed with {self.code} {self.reason}".rstrip()


class WebsocketDenied(ConnectionError):
    """The handshake was answered with an HTTP response instead of being accepted.

    Attributes:
        status, headers, body: the response, its header fields raw.
    """

    def __init__(
        self, status: int, headers: RawHeaders, body: bytes, response: httpx2.Response | None = None
    ) -> None:
        super().__init__(status, headers, body)
        self.status = status
        self.headers = headers
        self.body = body
        self._response = response

    @property
    def response(self) -> httpx2.Response:
        """The denial as an `httpx2.Response`."""
        if self._response is None:
            import httpx2

            self._response = httpx2.Response(self.status, headers=self.headers, content=self.body)
        return self._response

    def __str__(self) -> str:
        text = self.body[:MAX_SHOWN].decode("utf-8", "replace")
        return f"websocket handshake answered with {self.status} {text}".rstrip()


class Head(NamedTuple):
    """How a response begins."""

    status: int
    headers: RawHeaders


class Answer(NamedTuple):
    """One whole response."""

    status: int
    headers: RawHeaders
    body: bytes


def message_type(message: Message) -> str:
    kind = message.get("type") if hasattr(message, "get") else None
    if not isinstance(kind, str):
        raise ProtocolViolation(f"a message must be a dict with a 'type', not {message!r:.100}")
    return kind


def expect(kind: str, wanted: str, where: str) -> None:
    if kind != wanted:
        raise ProtocolViolation(f"expected {wanted!r}, got {kind!r} {where}")


def checked_head(message: Message) -> Head:
    status = message.get("status")
    if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
        raise ProtocolViolation(f"no final status: {status!r}")
    return Head(int(status), checked_headers(message))


def checked_headers(message: Message) -> RawHeaders:
    headers: RawHeaders = []
    for name, value in message.get("headers", ()):
        if not isinstance(name, bytes) or not _TOKEN.fullmatch(name):
            raise ProtocolViolation(f"no legal header name: {name!r}")
        if not isinstance(value, bytes) or not _VALUE.fullmatch(value):
            raise ProtocolViolation(f"no legal value for header {name!r}: {value!r}")
        headers.append((name, value))
    return headers


def checked_body(message: Message) -> bytes:
    body = message.get("body", b"")
    if not isinstance(body, bytes):
        raise ProtocolViolation(f"a body must be bytes, not {type(body).__name__}")
    return body


def content_length(headers: RawHeaders) -> int | None:
    lengths = {value for name, value in headers if name.lower() == b"content-length"}
    if not lengths:
        return None
    if len(lengths) > 1 or not re.fullmatch(rb"[0-9]+", max(lengths)):
        raise ProtocolViolation(f"no legal content-length: {sorted(lengths)!r}")
    return int(lengths.pop())


def checked_close(message: Message) -> tuple[int, str]:
    """Return code and reason of a `websocket.close`."""
    code, reason = message.get("code", 1000), message.get("reason") or ""
    if code not in _CLOSE_CODES:
        raise ProtocolViolation(f"no close code that may be sent: {code!r}")
    if len(reason.encode("utf-8")) > MAX_CLOSE_REASON:
        raise ProtocolViolation(f"a close reason of more than {MAX_CLOSE_REASON} bytes")
    return code, reason


def checked_payload(message: Message) -> str | bytes:
    """Return what a `websocket.send` carries."""
    text, data = message.get("text"), message.get("bytes")
    if (text is None) == (data is None):
        raise ProtocolViolation("'websocket.send' carries either 'text' or 'bytes'")
    if isinstance(text, str):
        return text
    if isinstance(data, bytes):
        return data
    raise ProtocolViolation("'websocket.send' carries a str as 'text' or bytes as 'bytes'")
