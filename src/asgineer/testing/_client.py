"""AsyncTestClient and TestClient: httpx2's clients, with an app in this process as their server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2

from ._events import AsyncEvents, Events
from ._inprocess import InProcessServer
from ._loopthread import LoopThread
from ._scope import Place
from ._serve import as_asgi
from ._socket import TIMEOUT, AsyncWebsocket, Websocket
from ._transport import WEBSOCKET, AsyncTransport, SyncTransport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._wire import RaiseErrors

BASE_URL = "https://testserver"  # https, so that a cookie that is Secure comes back


class AsyncTestClient(httpx2.AsyncClient):
    """An `httpx2.AsyncClient` for an app in this process, in the caller's own event loop.

        async with AsyncTestClient(app) as client:
            response = await client.get("/")

    `async with` runs the app's lifespan; without it requests work as on a server that has none.
    All of httpx2 works: cookies, redirects, files, auth, JSON, `client.stream(…)`. A request is
    over when the response is whole and the app has ended. An app that sends faster than the
    test reads waits, and so does the test when the app doesn't read.

    Args:
        app: an ASGI app, or a handler.
        raise_errors: raise in the test what the handler raised; False shows what a client sees, and an
            exception class (or several in a tuple) raises only errors of that kind.
        base_url: where the app seems to be.
        root_path: where the app is mounted: stands before the path of each request, as a proxy has it.
        options: any of `httpx2.AsyncClient`'s, such as `headers`, `cookies`, `follow_redirects`.
    """

    __test__ = False  # for pytest: the name is no test's

    def __init__(
        self,
        app: Any,
        *,
        raise_errors: RaiseErrors = True,
        base_url: str = BASE_URL,
        root_path: str = "",
        **options: Any,
    ) -> None:
        self.app = as_asgi(app)
        self._server = InProcessServer(self.app, Place(root_path=root_path))
        self._connections = AsyncTransport(self._server, raise_errors)
        super().__init__(transport=self._connections, base_url=base_url, **options)

    def events(
        self, path: str, *, last_event_id: str = "", reconnect: bool = True, **options: Any
    ) -> AsyncEvents:
        """Return the server-sent events of `path`: an iterator, to be entered with `async with`.

        Args:
            path: of the stream.
            last_event_id: where to resume, as a browser sends it.
            reconnect: ask again, with the id of the last event, when the stream ends or breaks.
            options: of `build_request`, such as `params` or `headers`; `timeout` is for the silence
                between two events, the client's own if it isn't given.
        """

        async def connect(headers: dict[str, str]) -> httpx2.Response:
            return await self.send(self.build_request("GET", path, **_with(headers, options)), stream=True)

        return AsyncEvents(connect, last_event_id, reconnect)

    def websocket(  # type: ignore[override]  # httpx2's own opens a socket, and speaks in frames
        self,
        path: str,
        *,
        subprotocols: Iterable[str] = (),
        timeout: float | None = TIMEOUT,
        **options: Any,
    ) -> AsyncWebsocket:
        """Return the websocket at `path`, to be entered with `async with`.

        Args:
            path: with a query or without.
            subprotocols: what to offer.
            timeout: seconds to wait for the app at any one step, None without limit.
            options: of `build_request`, such as `params` or `headers`.

        Raises:
            WebsocketDenied: (on entering) the app did not accept; its `response` tells what it said.
        """

        async def connect() -> httpx2.Response:
            return await self.send(_handshake(self, path, subprotocols, timeout, options), stream=True)

        return AsyncWebsocket(connect, self._connections, timeout)

    def stall(self) -> None:
        """Take nothing more off any open connection, so that the app's next send waits."""
        self._connections.stall()

    def disconnect(self) -> None:
        """Drop every open connection at once, in the middle of whatever it does."""
        self._connections.disconnect()

    def shutdown(self) -> None:
        """Begin to stop the server: whoever waits in the app is told, as on a real one. It still serves."""
        self._server.begin_shutdown()


class TestClient(httpx2.Client):
    """An `httpx2.Client` for an app in this process: the same for synchronous code.

        with TestClient(app) as client:
            response = client.get("/")

    The app runs in an event loop in a thread of its own, which ends with the client. `with` runs
    the app's lifespan; without it requests work as on a server that has none. A request body
    that is an iterator is read in another thread than yours. The arguments are those of `AsyncTestClient`.
    """

    __test__ = False  # for pytest: the name is no test's

    def __init__(
        self,
        app: Any,
        *,
        raise_errors: RaiseErrors = True,
        base_url: str = BASE_URL,
        root_path: str = "",
        **options: Any,
    ) -> None:
        self.app = as_asgi(app)
        self._thread = LoopThread()
        self._server = InProcessServer(self.app, Place(root_path=root_path))
        self._connections = AsyncTransport(self._server, raise_errors)
        transport = SyncTransport(self._connections, self._thread)
        super().__init__(transport=transport, base_url=base_url, **options)

    def events(self, path: str, *, last_event_id: str = "", reconnect: bool = True, **options: Any) -> Events:
        """Return the server-sent events of `path`, to be entered with `with`; as `AsyncTestClient.events`."""

        def connect(headers: dict[str, str]) -> httpx2.Response:
            return self.send(self.build_request("GET", path, **_with(headers, options)), stream=True)

        return Events(connect, last_event_id, reconnect)

    def websocket(  # type: ignore[override]  # as in AsyncTestClient
        self,
        path: str,
        *,
        subprotocols: Iterable[str] = (),
        timeout: float | None = TIMEOUT,
        **options: Any,
    ) -> Websocket:
        """Return the websocket at `path`, to be entered with `with`; as `AsyncTestClient.websocket`."""

        def connect() -> httpx2.Response:
            return self.send(_handshake(self, path, subprotocols, timeout, options), stream=True)

        return Websocket(connect, self._connections, timeout, self._thread)

    def stall(self) -> None:
        """Take nothing more off any open connection, so that the app's next send waits."""
        self._thread.run(self._connections.stall)

    def disconnect(self) -> None:
        """Drop every open connection at once, in the middle of whatever it does."""
        self._thread.run(self._connections.disconnect)

    def shutdown(self) -> None:
        """Begin to stop the server: whoever waits in the app is told, as on a real one. It still serves."""
        self._thread.run(self._server.begin_shutdown)


def _with(headers: dict[str, str], options: dict[str, Any]) -> dict[str, Any]:
    """Return `options` with further headers, which go before those in them."""
    return {**options, "headers": {**dict(options.get("headers") or {}), **headers}}


def _handshake(
    client: httpx2.AsyncClient | httpx2.Client,
    path: str,
    subprotocols: Iterable[str],
    timeout: float | None,
    options: dict[str, Any],
) -> httpx2.Request:
    """Build the request for a websocket, in httpx2's words."""
    extensions: dict[str, Any] = {**(options.get("extensions") or {}), WEBSOCKET: list(subprotocols)}
    own: dict[str, Any] = {**options, "timeout": timeout, "extensions": extensions}
    return client.build_request("GET", path, **own)
