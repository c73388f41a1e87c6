"""Connections that keep each message the app sent, and whose client may lie about what it sends.

The server's part is that of `asgineer.testing`. What a client of HTTP would see is asked for by `asking`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import pytest

from asgineer.testing._connection import ERRORS, Connection
from asgineer.testing._exchange import HttpExchange
from asgineer.testing._pipe import Signal
from asgineer.testing._scope import Place, http_scope, websocket_scope
from asgineer.testing._session import WebsocketSession
from asgineer.testing._wire import ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence

    Message = MutableMapping[str, Any]
    App = Callable[..., Awaitable[Any]]
    Pairs = Iterable[tuple[str, str]] | dict[str, str]

ENDLESS = 2**60  # bytes that may be unread: back-pressure is for the tests of the client itself
PLACE = Place(host="127.0.0.1", port=8000, client=("127.0.0.1", 50_000))
NOT_OURS = (AssertionError, pytest.fail.Exception, ProtocolViolation)  # it fails the test, and not the app


def encode_pairs(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    items = pairs.items() if isinstance(pairs, dict) else pairs
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in items]


def check(message: Message) -> None:
    """Hold a message to what ASGI says, beyond HTTP: a status is an int itself, names are in lower case."""
    assert type(message.get("status", 200)) is int, message
    assert all(name == name.lower() for name, _ in message.get("headers") or ()), message


class Kept(Connection):
    """What both kinds have. `lost`: `send` raises OSError once the client left, as ASGI 2.4 asks."""

    def keep(self, lost: bool, scope: dict[str, Any]) -> None:
        self.scope.update(scope)
        self.scope["extensions"] = {**(self.scope["extensions"] or {}), ERRORS: []}
        self.sent: list[Message] = []
        self.received = 0  # messages handed over
        self.left, self._lost, self._moved = False, lost, Signal()

    @classmethod
    def begin(cls, *args: Any, **options: Any) -> Self:
        made = cls(*args, **options)
        made.start()
        return made

    async def receive(self) -> Any:
        message = await super().receive()  # type: ignore[safe-super]  # the class beside it has one
        self.received += 1
        self._moved.notify()
        return message

    async def send(self, message: Any) -> None:
        if self._lost and self.left:
            raise OSError("the client is gone")
        check(message)
        await super().send(message)
        self.sent.append(message)
        self._moved.notify()
        await asyncio.sleep(0)  # a server may be busy

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what the app sent or received makes `condition` true."""
        while not condition():
            await self._moved.wait()

    def _settle(self) -> None:
        """Leave what the app left: it is looked at as it is."""

    async def handed_over(self, count: int) -> None:
        """Wait until the app has taken `count` messages."""
        await self.until(lambda: self.received >= count)

    @property
    def task(self) -> asyncio.Task[None]:
        assert self._task is not None, "start() it first"
        return self._task

    async def finish(self) -> None:
        """Wait for the app to end; a test's own assertion that failed in a handler fails the test."""
        await self.task
        for error in (self.violation, *self.scope["extensions"][ERRORS]):
            if isinstance(error, NOT_OURS):
                raise error


class Http(Kept, HttpExchange):
    """One HTTP request. `rest`: more than `body` is to come, by `feed`."""

    def __init__(
        self,
        app: App,
        target: str = "/",
        method: str = "GET",
        headers: Pairs = (),
        body: bytes | Sequence[bytes] = b"",
        rest: bool = False,
        lost: bool = False,
        **scope: Any,
    ) -> None:
        framed = http_scope(method, target, [("transfer-encoding", "chunked")], PLACE)
        HttpExchange.__init__(self, app, framed, window=ENDLESS)
        self.keep(lost, {"headers": encode_pairs(headers), **scope})
        pieces = [body] if isinstance(body, bytes) else list(body)
        for number, piece in enumerate(pieces, 1):
            self.feed(piece, more=rest or number < len(pieces))

    def feed(self, piece: bytes, more: bool = True) -> None:
        """Let the client send one more piece of the body."""
        self._request.ended = not more
        self._request.push(piece, len(piece))

    def leave(self) -> None:
        self.left = True
        super().leave()

    @property
    def complete(self) -> bool:
        last = self.sent[-1] if self.sent else {"type": "nothing"}
        return last["type"] == "http.response.body" and not last.get("more_body")

    @property
    def status(self) -> int:
        assert self.sent, f"nothing was sent ({self.error!r})"
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response; none of them may be there twice."""
        pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.sent[0]["headers"]]
        assert len(dict(pairs)) == len(pairs), f"a header is there twice: {pairs}"
        return dict(pairs)

    @property
    def chunks(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        return self.body.decode()


async def converse(app: App, *args: Any, **options: Any) -> Http:
    """Run one request to its end."""
    exchange = Http.begin(app, *args, **options)
    await exchange.finish()
    return exchange


class Websocket(Kept, WebsocketSession):
    """One websocket, from its handshake on."""

    def __init__(
        self,
        app: App,
        target: str = "/",
        headers: Pairs = (),
        lost: bool = False,
        denial: bool = False,
        **scope: Any,
    ) -> None:
        WebsocketSession.__init__(self, app, websocket_scope(target, (), (), PLACE), window=ENDLESS)
        extensions: dict[str, Any] = {"websocket.http.response": {}} if denial else {}
        self.keep(lost, {"headers": encode_pairs(headers), "extensions": extensions, **scope})

    def text(self, text: str) -> None:
        """Let the client send a text message; as servers do, with both keys."""
        self.feed({"type": "websocket.receive", "text": text, "bytes": None})

    def binary(self, data: bytes) -> None:
        self.feed({"type": "websocket.receive", "bytes": data})

    def feed(self, message: dict[str, Any]) -> None:
        """Let the server hand over this message."""
        self._incoming.push(message, 0)

    def leave(self, code: int = 1001, reason: str = "") -> None:
        """Let the client close; the app hears of it when it asks."""
        self.left = True
        self.feed({"type": "websocket.disconnect", "code": code, "reason": reason})

    @property
    def accepted(self) -> bool:
        return bool(self.sent) and self.sent[0]["type"] == "websocket.accept"

    @property
    def messages(self) -> list[str | bytes]:
        sends = [message for message in self.sent if message["type"] == "websocket.send"]
        return [m["bytes"] if m.get("text") is None else m["text"] for m in sends]

    @property
    def close_code(self) -> int | None:
        last = self.sent[-1] if self.sent else {}
        return last.get("code", 1000) if last.get("type") == "websocket.close" else None

    @property
    def denial(self) -> tuple[int, bytes]:
        """Status and body of a denied handshake: by the extension, or by a close, which is a 403."""
        assert self.sent, f"nothing was sent ({self.error!r})"
        assert not self.accepted, "it was accepted"
        if self.sent[0]["type"] == "websocket.close":
            return 403, b""
        return self.sent[0]["status"], b"".join(message["body"] for message in self.sent[1:])


async def converse_ws(app: App, *args: Any, **options: Any) -> Websocket:
    socket = Websocket.begin(app, *args, **options)
    await socket.finish()
    return socket
