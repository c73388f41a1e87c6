"""AsyncTestClient and TestClient: httpx2's clients, with an app in this process as their server."""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING, Any, Self

import httpx2

from ._events import AsyncEvents, Events
from ._inprocess import InProcessServer
from ._loopthread import LoopThread
from ._serve import as_asgi
from ._socket import TIMEOUT, AsyncWebsocket, Websocket
from ._transport import AsyncTransport, SyncTransport, place_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BASE_URL = "https://testserver"  # https, so that a cookie that is Secure comes back


class AsyncTestClient(httpx2.AsyncClient):
    """An `httpx2.AsyncClient` for an app in this process, in the caller's own event loop.

        async with AsyncTestClient(app) as client:
            response = await client.get("/")

    `async with` runs the app's lifespan. All of httpx2 works: cookies, redirects, files, auth,
    JSON, `client.stream(…)`. An app that sends faster than the test reads waits, and so does
    the test when the app doesn't read.

    Args:
        app: an ASGI app, or a handler.
        raise_errors: raise in the test what the handler raised; False shows what a client sees.
        base_url: where the app seems to be.
        options: any of `httpx2.AsyncClient`'s, such as `headers`, `cookies`, `follow_redirects`.
    """

    __test__ = False  # for pytest: the name is no test's

    def __init__(
        self, app: Any, *, raise_errors: bool = True, base_url: str = BASE_URL, **options: Any
    ) -> None:
        self.app = as_asgi(app)
        self._server = InProcessServer(self.app)
        self._connections = AsyncTransport(self._server, raise_errors)
        super().__init__(transport=self._connections, base_url=base_url, **options)

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        await super().__aenter__()
        return self

    async def __aexit__(self, *args: Any) -> None:
        await super().__aexit__(*args)
        await self._server.__aexit__()

    def events(
        self, path: str, *, last_event_id: str = "", reconnect: bool = True, **options: Any
    ) -> AsyncEvents:
        """Return the server-sent events of `path`: an iterator, to be entered with `async with`.

        Args:
            path: of the stream.
            last_event_id: where to resume, as a browser sends it.
            reconnect: ask again, with the id of the last event, when the stream ends or breaks.
            options: of `build_request`, such as `params` or `headers`.
        """

        async def connect(headers: dict[str, str]) -> httpx2.Response:
            return await self.send(_event_request(self, path, headers, options), stream=True)

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
            timeout: seconds to wait for a message, None without limit.
            options: of `build_request`, such as `params` or `headers`.

        Raises:
            WebsocketDenied: (on entering) the app did not accept; its `response` tells what it said.
        """
        request = self.build_request("GET", path, **options)
        return _websocket(self._server, self._connections, request, subprotocols, timeout)

    def stall(self) -> None:
        """Take nothing more off any open connection, so that the app's next send waits."""
        for connection in self._connections.open:
            connection.stall()

    def shutdown(self) -> None:
        """Begin to stop the server: whoever waits in the app is told, as on a real one. It still serves."""
        self._server.begin_shutdown()

    def disconnect(self) -> None:
        """Drop every open connection at once, in the middle of whatever it does."""
        for connection in list(self._connections.open):
            connection.leave()


class TestClient(httpx2.Client):
    """An `httpx2.Client` for an app in this process: the same for synchronous code.

        with TestClient(app) as client:
            response = client.get("/")

    The app runs in an event loop in a thread of its own. `with` runs the app's lifespan;
    without it requests work, the lifespan doesn't run.

    Args:
        app, raise_errors, base_url, options: as for `AsyncTestClient`.
    """

    __test__ = False  # for pytest: the name is no test's

    def __init__(
        self, app: Any, *, raise_errors: bool = True, base_url: str = BASE_URL, **options: Any
    ) -> None:
        self.app = as_asgi(app)
        self._thread = LoopThread()
        self._stop = weakref.finalize(self, self._thread.stop)
        self._server = InProcessServer(self.app)
        self._connections = AsyncTransport(self._server, raise_errors)
        super().__init__(
            transport=SyncTransport(self._connections, self._thread), base_url=base_url, **options
        )

    def __enter__(self) -> Self:
        try:
            self._thread.call(self._server.__aenter__())
        except BaseException:
            self._stop()
            raise
        super().__enter__()
        return self

    def __exit__(self, *args: Any) -> None:
        try:
            self._thread.call(self._server.__aexit__())
        finally:
            super().__exit__(*args)
            self._stop()

    def close(self) -> None:
        """Close the client and end the thread of the app."""
        super().close()
        self._stop()

    def events(self, path: str, *, last_event_id: str = "", reconnect: bool = True, **options: Any) -> Events:
        """Return the server-sent events of `path`, to be entered with `with`; as `AsyncTestClient.events`."""

        async def connect(headers: dict[str, str]) -> httpx2.Response:
            request = _event_request(self, path, headers, options)
            response = await self._connections.handle_async_request(request)
            response.request = request
            return response

        return Events(self._thread, AsyncEvents(connect, last_event_id, reconnect))

    def websocket(  # type: ignore[override]  # as in AsyncTestClient
        self,
        path: str,
        *,
        subprotocols: Iterable[str] = (),
        timeout: float | None = TIMEOUT,
        **options: Any,
    ) -> Websocket:
        """Return the websocket at `path`, to be entered with `with`; as `AsyncTestClient.websocket`."""
        request = self.build_request("GET", path, **options)
        make = functools.partial(_websocket, self._server, self._connections, request, subprotocols, timeout)
        return Websocket(self._thread, make())

    def stall(self) -> None:
        """Take nothing more off any open connection, so that the app's next send waits."""
        self._thread.run(lambda: [connection.stall() for connection in self._connections.open])

    def shutdown(self) -> None:
        """Begin to stop the server: whoever waits in the app is told, as on a real one. It still serves."""
        self._thread.run(self._server.begin_shutdown)

    def disconnect(self) -> None:
        """Drop every open connection at once, in the middle of whatever it does."""
        self._thread.run(lambda: [connection.leave() for connection in list(self._connections.open)])


def _event_request(
    client: httpx2.AsyncClient | httpx2.Client, path: str, headers: dict[str, str], options: Mapping[str, Any]
) -> httpx2.Request:
    """Build a request for an event stream: what the caller says, under what EventSource itself says."""
    own = {"timeout": None, **options}
    own["headers"] = {**dict(options.get("headers") or {}), **headers}
    return client.build_request("GET", path, **own)


def _websocket(
    server: InProcessServer,
    transport: AsyncTransport,
    request: httpx2.Request,
    subprotocols: Iterable[str],
    timeout: float | None,
) -> AsyncWebsocket:
    errors: list[BaseException] = []
    there = server.at(place_of(request.url, server.place, errors))
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in _NOT_IN_HANDSHAKE]
    session = there.websocket(request.url.raw_path.decode("ascii"), headers, subprotocols)
    return AsyncWebsocket(transport, session, errors, timeout)


_NOT_IN_HANDSHAKE = (b"connection", b"accept", b"accept-encoding")  # httpx2's own, of an ordinary request
