"""Test servers under their older names: `MockTestServer` in this process, `ProcessTestServer` as a real one.

```python
with MockTestServer(main) as server:
    response = server.get("/items/3")
assert response.status == 200
assert "ERROR" not in server.out
```

Both take a handler or any ASGI app, and are used in the same way from plain functions. They
stand on `asgineer.testing`; nothing here drives an app or starts a process by itself.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from .testing import _serve
from .testing._capture import Output, captured, current_output
from .testing._inprocess import InProcessServer
from .testing._loopthread import LoopThread
from .testing._process import free_port
from .testing._runserver import RunningServer, start_server
from .testing._scope import Place
from .testing._wire import WebsocketClosed, WebsocketDenied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping
    from types import TracebackType

    from .testing._session import WebsocketSession
    from .testing._wire import AfterBody, Answer

    Data = bytes | str | None

__all__ = [
    "MockTestServer",
    "ProcessTestServer",
    "Response",
    "WebsocketClient",
    "WebsocketClosed",
    "WebsocketDenied",
]

T = TypeVar("T")

REQUEST_TIMEOUT = 30  # seconds for one answer of a server process


class Response(NamedTuple):
    """What a test server answered.

    `headers` has lower-case names; repeated ones are joined by ", ". `body` is as sent: not decompressed.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class WebsocketClient(ABC):
    """The client's end of a websocket, as `ws_communicate` hands it to your coroutine function."""

    @abstractmethod
    async def send(self, data: str | bytes) -> None:
        """Send a text or a binary message."""

    @abstractmethod
    async def receive(self) -> str | bytes:
        """Return the next message; raise WebsocketClosed when there are no more."""

    @abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection."""

    async def recv(self) -> str | bytes:
        """Do as `receive`, under the name that the websockets library has for it."""
        return await self.receive()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Iterate over the messages until the connection is closed."""
        with contextlib.suppress(WebsocketClosed):
            while True:
                yield await self.receive()


class _TestServer(ABC):
    """What both servers share: the way they are called."""

    __test__ = False  # pytest: no test class, in spite of the names of the others

    def __init__(self, app: Any, url: str) -> None:
        self._given = app
        #: The ASGI app that is served.
        self.app: Any = _serve.as_asgi(app)
        #: Where it is served, without a slash at the end.
        self.url = url

    @property
    def out(self) -> str:
        """What the app and its server printed and logged, as `filter_lines` leaves it."""
        return "\n".join(self.filter_lines(self._output_lines()))

    @abstractmethod
    def _output_lines(self) -> list[str]: ...

    def get(self, path: str, data: Data = None, headers: Mapping[str, str] | None = None) -> Response:
        """Make a GET request, as `request` does."""
        return self.request("GET", path, data, headers)

    def put(self, path: str, data: Data = None, headers: Mapping[str, str] | None = None) -> Response:
        """Make a PUT request, as `request` does."""
        return self.request("PUT", path, data, headers)

    def post(self, path: str, data: Data = None, headers: Mapping[str, str] | None = None) -> Response:
        """Make a POST request, as `request` does."""
        return self.request("POST", path, data, headers)

    def delete(self, path: str, data: Data = None, headers: Mapping[str, str] | None = None) -> Response:
        """Make a DELETE request, as `request` does."""
        return self.request("DELETE", path, data, headers)

    @abstractmethod
    def request(
        self, method: str, path: str, data: Data = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Make a request and return the whole response. Redirects are not followed.

        Args:
            method: GET, HEAD, and so on.
            path: with a query or without; a full URL works too.
            data: the body; a str goes out as UTF-8.
            headers: further header fields.
        """

    @abstractmethod
    def ws_communicate(
        self,
        path: str,
        client_co_func: Callable[[WebsocketClient], Awaitable[T]],
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Open a websocket, await `client_co_func(ws)`, close it, and return what that returned.

        Raises:
            WebsocketDenied: the handshake was not accepted; has `status`, `headers` and `body`.
        """

    def log(self, *messages: object) -> None:
        """Tell who runs the tests what the server does. Override it to be quiet."""
        print(*messages)

    def filter_lines(self, lines: list[str]) -> list[str]:
        """Return the lines of the output that shall stand in `out`. Override it to keep others.

        Empty lines are dropped, and what servers themselves say at level INFO.
        """
        return [line for line in lines if line.strip() and not _SERVER_INFO.match(line)]


# How uvicorn, granian, hypercorn and daphne begin a line at level INFO. Ours is "[INFO 2026-…".
_SERVER_INFO = re.compile(
    r"INFO:\s|\[INFO\] |\[\d{4}-\d\d-\d\d [^]]*\] \[\d+\] \[INFO\] |\d{4}-\d\d-\d\d \S+ INFO "
)


# ---- in this process -------------------------------------------------------------------------


class MockTestServer(_TestServer):
    """Serves an app in this process, without a socket.

    With `with` the app's lifespan runs; without it the server can be used at once, and the
    lifespan doesn't run. One process may have several. What the app may rely on in the
    messages is stricter than on a real server, and one thing is odd on purpose: a `receive()`
    after the whole body was read waits in a GET request, gets `http.disconnect` in a PUT, and
    None in a POST.

    Args:
        app: a handler or an ASGI app.
    """

    def __init__(self, app: Any) -> None:
        super().__init__(app, "http://testserver")
        self._output = Output()
        self._server = InProcessServer(self.app)
        self._thread = LoopThread()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.enter_context(captured())
            self._stack.callback(self._stop_thread)
            self._call(self._server.__aenter__())
            self._stack = self._stack.pop_all()  # all went well: it ends later
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            self._call(self._server.__aexit__())

    def request(
        self, method: str, path: str, data: Data = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Make a request, as the base class says; an app that breaks off raises IncompleteResponse."""
        server, target = self._server_for(path, _AFTER_BODY.get(method.upper(), "wait"))
        fetching = server.fetch(method, target, headers=(headers or {}).items(), body=_encode(data))
        with captured():
            return _response(self._call(fetching))

    def ws_communicate(
        self,
        path: str,
        client_co_func: Callable[[WebsocketClient], Awaitable[T]],
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Open a websocket, as the base class says; the coroutine runs in the loop of the app."""
        server, target = self._server_for(path)

        async def communicate() -> T:
            async with server.websocket(target, (headers or {}).items()) as session:
                await session.handshake()
                result = await client_co_func(_MockWebsocket(session))
                await session.close()
                return result

        with captured():
            return self._call(communicate())

    def _server_for(self, path: str, after_body: AfterBody = "wait") -> tuple[InProcessServer, str]:
        """Return a server at the place that `path` names, and the target of the request."""
        base, target = _split_url(self.url, path)
        parts = urlsplit(base)
        port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
        place = Place(
            scheme=parts.scheme, host=parts.hostname or "", port=port, state=self._server.place.state
        )
        return InProcessServer(self.app, place, after_body=after_body), target

    def _call(self, coro: Coroutine[Any, Any, T]) -> T:
        async def speak() -> T:
            current_output.set(self._output)
            return await coro

        return self._thread.call(speak())

    def _stop_thread(self) -> None:
        self._thread.stop()
        self._thread = LoopThread()  # it may be used again

    def _output_lines(self) -> list[str]:
        return self._output.text().splitlines()


_AFTER_BODY: dict[str, AfterBody] = {"PUT": "disconnect", "POST": "none"}


class _MockWebsocket(WebsocketClient):
    def __init__(self, session: WebsocketSession) -> None:
        self._session = session

    async def send(self, data: str | bytes) -> None:
        await self._session.send_message(data)

    async def receive(self) -> str | bytes:
        return await self._session.receive_message()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._session.close(code, reason)


# ---- in a process of its own -----------------------------------------------------------------


class ProcessTestServer(_TestServer):
    """Serves an app by a real server in a child process, over real sockets.

    An app or handler at the top of a module is imported in the child. One that was defined
    inside a function, or in a script, is served by a copy of this process (a fork). Needs the
    packages `requests` and `websockets`, and the server's own.

    Args:
        app: a handler or an ASGI app.
        server: "uvicorn", "hypercorn", "daphne" or "granian".
        options: further keyword arguments for `asgineer.run`.
    """

    def __init__(self, app: Any, server: str, **options: Any) -> None:
        self._requests = _import_client("requests")
        self._websockets = _import_client("websockets")
        port = free_port()
        super().__init__(app, f"http://127.0.0.1:{port}")
        self._server_name = server
        self._options = options
        self._bind = f"127.0.0.1:{port}"
        self._running: RunningServer | None = None

    def __enter__(self) -> Self:
        self.log(f"Starting {self._server_name} at {self.url}")
        self._running = start_server(self._given, self._server_name, self._bind, self._options)
        try:
            self._running.process.wait_until_ready()
        except BaseException:
            self._running.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            status = self._running.stop()
            self.log(f"Stopped {self._server_name}, status {status}")

    def request(
        self, method: str, path: str, data: Data = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Make a request over a new connection, as the base class says."""
        base, target = _split_url(self.url, path)
        # urllib3 would ask for compression otherwise; None leaves a header out.
        plain = {"accept-encoding": "identity", "connection": "close"}
        response = self._requests.request(
            method,
            base + target,
            data=_encode(data) or None,
            headers={**plain, **{name.lower(): value for name, value in (headers or {}).items()}},
            allow_redirects=False,
            stream=True,
            timeout=REQUEST_TIMEOUT,
            proxies={"http": "", "https": ""},
        )
        with response:
            body = response.raw.read(decode_content=False)
        fields = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status_code, fields, body)

    def ws_communicate(
        self,
        path: str,
        client_co_func: Callable[[WebsocketClient], Awaitable[T]],
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Open a websocket, as the base class says; the coroutine runs in a loop of its own."""
        base, target = _split_url(self.url, path)

        async def communicate() -> T:
            client = await self._connect("ws" + base.removeprefix("http") + target, headers or {})
            async with client:
                return await client_co_func(_ProcessWebsocket(client))

        thread = LoopThread()
        try:
            return thread.call(communicate())
        finally:
            thread.stop()

    async def _connect(self, url: str, headers: Mapping[str, str]) -> Any:
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus

        try:
            return await connect(url, additional_headers=headers, max_size=None, proxy=None)
        except InvalidStatus as error:
            answer = error.response
            fields = [
                (n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in answer.headers.raw_items()
            ]
            raise WebsocketDenied(answer.status_code, fields, bytes(answer.body or b"")) from None

    def _output_lines(self) -> list[str]:
        return [] if self._running is None else self._running.process.lines


class _ProcessWebsocket(WebsocketClient):
    def __init__(self, client: Any) -> None:
        self._client = client

    async def send(self, data: str | bytes) -> None:
        with _translated():
            await self._client.send(data)

    async def receive(self) -> str | bytes:
        with _translated():
            data: str | bytes = await self._client.recv()
            return data

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._client.close(code, reason)


@contextlib.contextmanager
def _translated() -> Generator[None]:
    from websockets.exceptions import ConnectionClosed

    try:
        yield
    except ConnectionClosed as error:
        closed = error.rcvd or error.sent
        raise WebsocketClosed(closed.code if closed else 1006, closed.reason if closed else "") from None


def _import_client(name: str) -> Any:
    """Import a package that only the process server needs."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"ProcessTestServer needs the package {name!r}; `pip install {name}`") from None


# ---- what both need --------------------------------------------------------------------------


def _encode(data: Data) -> bytes:
    return data.encode("utf-8") if isinstance(data, str) else data or b""


def _split_url(url: str, path: str) -> tuple[str, str]:
    """Return base and target: those of `path` if it is a full URL, else `url` and `path`."""
    if re.match(r"[a-z]+://", path):
        parts = urlsplit(path)
        base = f"{parts.scheme}://{parts.netloc}"
        return base, path.removeprefix(base) or "/"
    return url, path if path.startswith("/") else "/" + path


def _response(answer: Answer) -> Response:
    fields: dict[str, str] = {}
    for raw_name, raw_value in answer.headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return Response(answer.status, fields, answer.body)
