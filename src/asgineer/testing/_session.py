"""One websocket, between an app and a client in the same event loop.

Messages, not frames: what the wire adds (masks, fragments, pings) is for real servers to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ._connection import Connection
from ._pipe import WINDOW, Pipe, Signal
from ._wire import (
    Answer,
    ClientLeft,
    ProtocolViolation,
    WebsocketClosed,
    WebsocketDenied,
    checked_body,
    checked_close,
    checked_head,
    checked_headers,
    checked_payload,
    expect,
    message_type,
)

if TYPE_CHECKING:
    from ._wire import ASGIApp, Message, RawHeaders, Scope


class WebsocketSession(Connection):
    """One websocket, from the handshake to the close.

    The client's side is `handshake`, `send_message`, `receive_message`, `close` and `leave`.
    `async with` starts the app, and leaves at the end.
    """

    def __init__(self, app: ASGIApp, scope: Scope, *, window: int = WINDOW) -> None:
        super().__init__(app, scope)
        self._incoming: Pipe[Message] = Pipe(window)
        self._outgoing: Pipe[str | bytes] = Pipe(window)
        self._changed = Signal()
        self._state: Literal["connecting", "denying", "open", "closed", "gone"] = "connecting"
        self._told_connect = False
        self._denial: Answer | None = None
        self._denial_whole = False
        self._closed: WebsocketClosed | None = None
        self._accepted: Message | None = None

    # The client's side

    async def handshake(self) -> str | None:
        """Wait until the app accepts; return the subprotocol that it chose, or None.

        Raises:
            WebsocketDenied: it did not accept.
        """
        while self._accepted is None:
            if self._denial_whole and self._denial is not None:
                raise WebsocketDenied(*self._denial)
            if self._closed is not None:
                raise self._closed
            await self._changed.wait()
        return self.subprotocol

    @property
    def subprotocol(self) -> str | None:
        """What the app chose of what the client offers."""
        return None if self._accepted is None else self._accepted.get("subprotocol")

    @property
    def accept_headers(self) -> RawHeaders:
        """The header fields that the app added to its acceptance."""
        return [] if self._accepted is None else list(self._accepted.get("headers") or ())

    async def send_message(self, data: str | bytes) -> None:
        """Send one message; wait while the app leaves too many unread.

        Raises:
            WebsocketClosed: the connection is closed.
        """
        if self._closed is not None:
            raise self._closed
        key = "text" if isinstance(data, str) else "bytes"
        await self._incoming.put({"type": "websocket.receive", key: data}, len(data))

    async def receive_message(self) -> str | bytes:
        """Return the next message.

        Raises:
            WebsocketClosed: there are no more.
        """
        await self._outgoing.ready()
        return self._outgoing.take()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection with a close frame. A second call does nothing."""
        self._leave(code, reason)

    def leave(self) -> None:
        """Drop the connection without a close frame, as a client does that lost its network."""
        self._leave(1006, "")

    def stall(self) -> None:
        """Take nothing more off the connection, as a client does that is stopped."""
        self._outgoing.stall()

    def _leave(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._end(code, reason)
            self._state = "gone"
        self._outgoing.abandon()

    @property
    def closed(self) -> WebsocketClosed | None:
        """How the connection was closed, by either side; None while it is open."""
        return self._closed

    # The server's side

    async def receive(self) -> Any:
        """Return the next message of the client's; the `receive` that the app sees."""
        if not self._told_connect:
            self._told_connect = True
            return {"type": "websocket.connect"}
        if await self._incoming.ready():
            return self._incoming.take()
        assert self._closed is not None  # or else `ready` would still wait
        return {"type": "websocket.disconnect", "code": self._closed.code, "reason": self._closed.reason}

    async def _accept_message(self, message: Message) -> None:
        kind = message_type(message)
        if self._state == "connecting":
            self._answer_handshake(kind, message)
        elif self._state == "denying":
            expect(kind, "websocket.http.response.body", "in a denial that was started")
            self._continue_denial(message)
        elif self._state == "open":
            await self._speak(kind, message)
        elif self._state == "closed":
            raise ProtocolViolation(f"{kind!r} after the app closed the websocket")
        else:
            raise ClientLeft("the client closed the websocket")

    def _answer_handshake(self, kind: str, message: Message) -> None:
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._deny(Answer(403, [], b""))
        elif kind == "websocket.http.response.start":
            self._denial = Answer(*checked_head(message), b"")
            self._state = "denying"
        else:
            raise ProtocolViolation(f"{kind!r} before the websocket was accepted")

    def _accept(self, message: Message) -> None:
        checked_headers(message)
        subprotocol = message.get("subprotocol")
        if subprotocol is not None and subprotocol not in self.scope["subprotocols"]:
            raise ProtocolViolation(f"the client did not offer the subprotocol {subprotocol!r}")
        self._accepted = message
        self._state = "open"
        self._changed.notify()

    def _continue_denial(self, message: Message) -> None:
        assert self._denial is not None  # the state says so
        self._denial = self._denial._replace(body=self._denial.body + checked_body(message))
        if not message.get("more_body", False):
            self._deny(self._denial)

    def _deny(self, answer: Answer) -> None:
        self._denial, self._denial_whole = answer, True
        self._end(1006, "")

    async def _speak(self, kind: str, message: Message) -> None:
        if kind == "websocket.close":
            self._end(*checked_close(message))
            self._incoming.abandon()  # the app reads no more
            return
        expect(kind, "websocket.send", "on an open websocket")
        piece = checked_payload(message)
        await self._outgoing.put(piece, len(piece))

    def _end(self, code: int, reason: str) -> None:
        """Close once: whoever comes first says how. The client still gets what was sent before."""
        if self._closed is not None:
            return
        self._closed = WebsocketClosed(code, reason)
        self._state = "closed"
        self._incoming.end()
        self._outgoing.fail(self._closed)
        self._changed.notify()

    def _settle(self) -> None:
        """End what the app left open: a 500 in the handshake, after it a connection that breaks."""
        if self._state in ("connecting", "denying"):
            self.error = self.error or ProtocolViolation("the app ended without an answer to the handshake")
            self._deny(Answer(500, [], b""))
        self._end(1006, "")
        self._incoming.abandon()
