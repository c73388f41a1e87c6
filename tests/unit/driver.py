"""A small recording ASGI driver: one connection in, everything that the app sent out.

It is strict: a message that no server would take is an AssertionError in the app's `send`.
`receive` behaves like uvicorn's: the pieces of the body, then it waits, and tells of a
disconnect when the response is complete or when the test says that the client leaves.
No thread, no socket, no time passes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

import pytest

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        MutableMapping,
        Sequence,
    )

    from asgineer.testing._fakeclock import FakeClock

    Message = MutableMapping[str, Any]
    App = Callable[..., Awaitable[Any]]
    Pairs = Iterable[tuple[str, str]]

T = TypeVar("T")

TURNS = 30  # of the event loop: plenty for anything that waits for nothing from outside


def run(coroutine: Coroutine[Any, Any, T], seconds: float = 5.0) -> T:
    """Run one coroutine in a loop of its own; it leaves no task behind, and ends in time."""

    async def main() -> T:
        async with asyncio.timeout(seconds):
            result = await coroutine
        await settle()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        return result

    return asyncio.run(main())


async def settle() -> None:
    """Let every task go on as far as it can."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


def encode_pairs(pairs: Pairs | dict[str, str]) -> list[tuple[bytes, bytes]]:
    items = pairs.items() if isinstance(pairs, dict) else pairs
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in items]


class _Connection:
    """What both kinds have: a scope, a task that runs the app, and what it left by."""

    def __init__(self, app: App, scope: dict[str, Any]) -> None:
        self.app = app
        # What went wrong in the handler is told here, as to a test client: see `finish`.
        self.told: list[BaseException] = []
        extensions = {**(scope.get("extensions") or {}), "asgineer.errors": self.told}
        self.scope = {**scope, "extensions": extensions}
        self.sent: list[Message] = []
        self.error: BaseException | None = None
        self.task: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    async def receive(self) -> Message:
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Let the app run, up to the next time that this task waits."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.error = error

    async def finish(self) -> None:
        """Wait for the app to end. A test's own assertion that failed in a handler fails the test."""
        assert self.task is not None
        await self.task
        for error in self.told:
            if isinstance(error, (AssertionError, pytest.fail.Exception)):
                raise error

    def note(self, message: Message) -> None:
        self.sent.append(message)
        self._moved.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what the app sent makes `condition` true."""
        while not condition():
            self._moved.clear()
            await self._moved.wait()


class Http(_Connection):
    """One HTTP request.

    Args:
        body: the pieces of the request body, as the server hands them over.
        rest: more of the body is to come, by `feed`.
        lost: `send` raises OSError once the client left, as ASGI 2.4 asks of servers.
    """

    def __init__(
        self,
        app: App,
        target: str = "/",
        method: str = "GET",
        headers: Pairs | dict[str, str] = (),
        body: bytes | Sequence[bytes] = b"",
        rest: bool = False,
        lost: bool = False,
        **scope: Any,
    ) -> None:
        path, _, query = target.partition("?")
        super().__init__(
            app,
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "server": ("127.0.0.1", 8000),
                "client": ("127.0.0.1", 50_000),
                "scheme": "http",
                "method": method,
                "root_path": "",
                "path": unquote(path),
                "raw_path": path.encode(),
                "query_string": query.encode("latin-1"),
                "headers": encode_pairs(headers),
                **scope,
            },
        )
        self._lost = lost
        self.received = 0  # messages handed over
        self.gone = False
        self._incoming: deque[Message] = deque()
        self._arrived = asyncio.Event()
        pieces = [body] if isinstance(body, bytes) else list(body)
        for number, piece in enumerate(pieces, 1):
            self.feed(piece, more=rest or number < len(pieces))

    def feed(self, piece: bytes, more: bool = True) -> None:
        """Let the client send one more piece of the body."""
        self._incoming.append({"type": "http.request", "body": piece, "more_body": more})
        self._arrived.set()

    def leave(self) -> None:
        """Let the client close the connection."""
        self.gone = True
        self._arrived.set()

    async def receive(self) -> Message:
        while not self._incoming and not self.gone:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._incoming:
            return {"type": "http.disconnect"}
        self.received += 1
        return self._incoming.popleft()

    async def send(self, message: Message) -> None:
        assert not self.complete, f"sent after the end: {message}"
        if self._lost and self.gone:
            raise OSError("the client is gone")
        if message["type"] == "http.response.start":
            assert not self.sent, f"a second start: {message}"
            _check_start(message)
        else:
            assert message["type"] == "http.response.body", message
            assert self.sent, f"a body before the start: {message}"
            assert isinstance(message.get("body", b""), bytes), message
        self.note(message)
        if self.complete:
            self.leave()  # as uvicorn tells it to who still listens
        await asyncio.sleep(0)  # a server may be busy

    @property
    def complete(self) -> bool:
        return (
            bool(self.sent) and self.sent[-1]["type"].endswith("body") and not self.sent[-1].get("more_body")
        )

    @property
    def status(self) -> int:
        assert self.sent, f"nothing was sent ({self.error!r})"
        status: int = self.sent[0]["status"]
        return status

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.sent[0]["headers"]]

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response; none of them may be there twice."""
        pairs = self.pairs
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


def _check_start(message: Message) -> None:
    status, headers = message["status"], message["headers"]
    assert type(status) is int, message
    assert 200 <= status <= 599, message
    for name, value in headers:
        assert type(name) is bytes, message
        assert type(value) is bytes, message
        assert name == name.lower(), message
        assert not set(value) & {0, 10, 13}, message


async def converse(app: App, *args: Any, **options: Any) -> Http:
    """Run one request to its end."""
    exchange = Http(app, *args, **options)
    exchange.start()
    await exchange.finish()
    return exchange


def ask(app: App, *args: Any, **options: Any) -> Http:
    """Run one request in a loop of its own, and return what came of it: see `Http`."""
    exchange = run(converse(app, *args, **options))
    if exchange.error is not None:
        raise exchange.error
    return exchange


class Websocket(_Connection):
    """One websocket, from its handshake on."""

    def __init__(
        self,
        app: App,
        target: str = "/",
        headers: Pairs | dict[str, str] = (),
        lost: bool = False,
        denial: bool = False,
        **scope: Any,
    ) -> None:
        path, _, query = target.partition("?")
        super().__init__(
            app,
            {
                "type": "websocket",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "server": ("127.0.0.1", 8000),
                "client": ("127.0.0.1", 50_000),
                "scheme": "ws",
                "root_path": "",
                "path": unquote(path),
                "raw_path": path.encode(),
                "query_string": query.encode("latin-1"),
                "headers": encode_pairs(headers),
                "subprotocols": [],
                "extensions": {"websocket.http.response": {}} if denial else {},
                **scope,
            },
        )
        self._lost = lost
        self.left = False
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})

    def text(self, text: str) -> None:
        """Let the client send a text message; as servers do, with both keys."""
        self._incoming.put_nowait({"type": "websocket.receive", "text": text, "bytes": None})

    def binary(self, data: bytes) -> None:
        """Let the client send a binary message."""
        self._incoming.put_nowait({"type": "websocket.receive", "bytes": data})

    def leave(self, code: int = 1001, reason: str = "") -> None:
        """Let the client close."""
        self.left = True
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def receive(self) -> Message:
        return await self._incoming.get()

    async def send(self, message: Message) -> None:
        if self._lost and self.left:
            raise OSError("the client is gone")
        kinds = [sent["type"] for sent in self.sent]
        kind = message["type"].removeprefix("websocket.")
        assert "websocket.close" not in kinds, f"sent after close: {message}"
        if kind == "accept":
            assert not kinds, f"accept after {kinds}"
        elif kind == "send":
            assert "websocket.accept" in kinds, "send before accept"
            assert (message.get("text") is None) != (message.get("bytes") is None), message
        elif kind == "http.response.start":
            assert not kinds, f"a denial after {kinds}"
            _check_start(message)
        elif kind == "http.response.body":
            assert kinds, "a denial without a start"
        else:
            assert kind == "close", message
            assert "websocket.http.response.start" not in kinds, "close after a denial"
        self.note(message)
        if kind == "close":
            self._incoming.put_nowait({"type": "websocket.disconnect", "code": message.get("code", 1000)})
        await asyncio.sleep(0)

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
    socket = Websocket(app, *args, **options)
    socket.start()
    await socket.finish()
    return socket


def ask_ws(app: App, *args: Any, **options: Any) -> Websocket:
    """Run a websocket whose handler ends by itself."""
    socket = run(converse_ws(app, *args, **options))
    if socket.error is not None:
        raise socket.error
    return socket


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the texts of the error records; each has its traceback."""
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert all(record.name == "asgineer" for record in records), records
    assert all(record.exc_text for record in records), "an error without its traceback"
    return [record.getMessage() for record in records]


async def drain(stream: AsyncIterator[T]) -> list[T]:
    return [item async for item in stream]


async def advance(clock: FakeClock, seconds: float) -> None:
    """Let `seconds` pass on the fake clock, and every task go on before and after."""
    await settle()
    clock.advance(seconds)
    await settle()
