"""One HTTP request and its response, between an app and a client in the same event loop.

The server's side is `receive` and `send`, which the app sees. The client's feeds the request
(`write`, `end`, `leave`) and reads the response (`head`, `read`) whenever it likes, or not at
all: `send` waits while more than a window of bytes is unread, as on a socket. What depends on
a client library (redirects, cookies, decoding) may not live here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from ._connection import Connection
from ._pipe import WINDOW, Pipe, Signal
from ._scope import http_scope
from ._wire import (
    Answer,
    Head,
    IncompleteResponse,
    ProtocolViolation,
    checked_body,
    checked_head,
    content_length,
    expect,
    message_type,
)

if TYPE_CHECKING:
    from ._scope import Place
    from ._wire import AfterBody, ASGIApp, HeaderItems, Message, RawHeaders, Scope

_NO_BODY = {204, 304}


class HttpExchange(Connection):
    """One HTTP request and its response.

    Feed the request with `write` and `end`, read the response with `head` and `read`, and go
    away in the middle with `leave`. `async with` starts the app, and leaves at the end.

    Args:
        after_body: what `receive()` does once the body was read: "wait" until the client leaves
            or the response is whole, as real servers do; "disconnect" and "none" answer at once
            with `http.disconnect` and with None.
    """

    def __init__(
        self, app: ASGIApp, scope: Scope, *, window: int = WINDOW, after_body: AfterBody = "wait"
    ) -> None:
        super().__init__(app, scope)
        self._request: Pipe[bytes] = Pipe(window)
        self._response: Pipe[bytes] = Pipe(window)
        self._after_body = after_body
        self._body_read = False
        self._changed = Signal()
        self._state: Literal["start", "body", "done"] = "start"
        self._gone = False
        self._head: Head | None = None
        self._announced = _announced(scope["headers"])  # bytes of the request body still to come
        self._expected: int | None = None  # bytes of the response body that content-length still promises
        self._bodiless = False
        #: Whether the response is what came of an error in the app.
        self.tells_failure = False
        if self._announced == 0:
            self._request.end()

    # The client's side

    async def write(self, data: bytes, more: bool = True) -> None:
        """Send a piece of the request's body; wait while the app leaves too much of it unread.

        The body is whole when the request's content-length says so, or with `more=False`.

        Raises:
            ValueError: it is more than the content-length.
        """
        if self._announced is not None:
            self._announced -= len(data)
            if self._announced < 0:
                raise ValueError("the request's body is longer than its content-length")
            more = more and self._announced > 0
        if not more:
            self._request.ended = True  # before the piece is seen, so that it is told as the last
        if data:
            await self._request.put(data, len(data))
        if not more:
            self._request.end()

    def end(self) -> None:
        """Say that the request body is whole.

        Raises:
            ValueError: it is less than the content-length; the connection is closed.
        """
        if self._announced:
            self.leave()
            raise ValueError(f"the request's body is {self._announced} bytes shorter than its content-length")
        self._request.end()

    def leave(self) -> None:
        """Close the connection as a client does that gave up, at any time."""
        self._gone = True
        self._request.abandon()
        if not self._response.ended:
            self._response.fail(IncompleteResponse("the client left before the response was whole"))
        self._response.abandon()
        self._changed.notify()

    def stall(self) -> None:
        """Take nothing more off the connection, as a client does that is stopped."""
        self._response.stall()

    async def head(self) -> Head:
        """Wait for the response to begin, and return its status and raw header fields."""
        while self._head is None:
            if self._gone:
                raise IncompleteResponse("the client left before the response began")
            await self._changed.wait()
        return self._head

    async def read(self) -> bytes:
        """Return the next piece of the response's body, b"" at its end.

        Raises:
            IncompleteResponse: the server cut it off.
        """
        return self._response.take() if await self._response.ready() else b""

    async def answer(self) -> Answer:
        """Read the whole response."""
        status, headers = await self.head()
        pieces: list[bytes] = []
        while piece := await self.read():
            pieces.append(piece)
        return Answer(status, headers, b"".join(pieces))

    # The server's side

    async def receive(self) -> Any:
        """Return the next message of the client's; the `receive` that the app sees."""
        if not self._body_read and not self.over:
            more_than_nothing = await self._request.ready()
            if not self.over:
                return self._body_message(self._request.take() if more_than_nothing else b"")
        if not self.over and self._after_body == "none":
            return None
        while not self.over and self._after_body == "wait":
            await self._changed.wait()
        return {"type": "http.disconnect"}

    @property
    def over(self) -> bool:
        """Whether the client left, or the response is complete: the app reads no more of the request."""
        return self._gone or self._state == "done"

    def _body_message(self, piece: bytes) -> Message:
        self._body_read = self._request.ended and self._request.empty
        return {"type": "http.request", "body": piece, "more_body": not self._body_read}

    async def _accept_message(self, message: Message) -> None:
        kind = message_type(message)
        if self._gone:
            return  # as the four servers do: only `receive` tells that the client left
        if self._state == "start":
            expect(kind, "http.response.start", "before the response was started")
            self._begin(message)
        elif self._state == "body":
            expect(kind, "http.response.body", "in a response that was started")
            await self._continue(message)
        else:
            raise ProtocolViolation(f"{kind!r} after the response was complete")

    def _begin(self, message: Message) -> None:
        self._head = head = checked_head(message)
        self._bodiless = head.status in _NO_BODY or self.scope["method"] == "HEAD"
        self._expected = None if self._bodiless else content_length(head.headers)
        self._state = "body"
        self.tells_failure = self.failed
        self._changed.notify()

    async def _continue(self, message: Message) -> None:
        body = checked_body(message)
        last = not message.get("more_body", False)
        self._count(len(body), last)
        if last:
            self._state = "done"
            self._changed.notify()
        if body and not self._bodiless:
            self._response.ended = last
            await self._response.put(body, len(body))
        if last:
            self._response.end()

    def _count(self, size: int, last: bool) -> None:
        if self._expected is None:
            return
        self._expected -= size
        if self._expected < 0:
            raise ProtocolViolation("the body is longer than its content-length")
        if last and self._expected:
            raise ProtocolViolation(f"the body is {self._expected} bytes shorter than its content-length")

    def _settle(self) -> None:
        """End what the app left unfinished, as a server does: a 500, or a broken connection."""
        if self._state == "start" and not self._gone:
            self.error = self.error or ProtocolViolation("the app ended without a response")
            self.tells_failure = True
            self._head = Head(500, [(b"content-type", b"text/plain; charset=utf-8")])
            self._response.end()
        elif self._state == "body" and not self._gone:
            self._response.fail(IncompleteResponse("the app ended before its response was whole"))
        self._state = "done"
        self._changed.notify()


def _announced(headers: RawHeaders) -> int | None:
    """Return the length of a request's body: 0 where nothing frames one (RFC 9112 section 6.3)."""
    fields = dict(headers)
    if b"transfer-encoding" in fields:
        return None
    return int(fields.get(b"content-length", b"0"))


async def fetch(
    app: ASGIApp,
    method: str,
    target: str,
    *,
    headers: HeaderItems = (),
    body: bytes = b"",
    place: Place | None = None,
    after_body: AfterBody = "wait",
) -> Answer:
    """Make one request and return the whole response, when the app has ended too.

    A body gets a `content-length`, unless `headers` says how it is framed.

    Raises:
        IncompleteResponse: the app broke off.
    """
    scope = http_scope(method, target, headers, place)
    framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
    if body and not framed:
        scope["headers"].append((b"content-length", str(len(body)).encode("ascii")))
    exchange = HttpExchange(app, scope, after_body=after_body)
    async with exchange:
        # A task, because an app may answer without reading the body that we still write.
        writing = asyncio.create_task(exchange.write(body, more=False))
        try:
            answer = await exchange.answer()
            await exchange.ended()
        finally:
            exchange.leave()
            await writing
    return answer
