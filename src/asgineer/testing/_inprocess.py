"""A server inside this process: any ASGI app, driven without a socket.

It gives an app the scope and the messages that a real server would, and is stricter than any
of them. This is where its parts come together: one place, one lifespan, and connections made
as a client asks for them. Everything happens in the caller's event loop. Nothing here, nor in
the parts, knows our own framework (but for the notice of a shutdown), or anything outside the
standard library.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from .. import _shutdown
from ._exchange import HttpExchange, fetch
from ._lifespan import Lifespan
from ._scope import Place, http_scope, websocket_scope
from ._session import WebsocketSession

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._wire import AfterBody, Answer, ASGIApp, HeaderItems


class InProcessServer:
    """Serves `app` at `place`; `async with` runs its lifespan, which is not needed for requests."""

    def __init__(self, app: ASGIApp, place: Place | None = None, *, after_body: AfterBody = "wait") -> None:
        self.app = app
        self.place = place or Place()
        self._after_body: AfterBody = after_body
        self._lifespan = Lifespan(app)

    async def __aenter__(self) -> InProcessServer:
        await self._lifespan.startup()
        self.place = dataclasses.replace(self.place, state=self._lifespan.state)
        return self

    async def __aexit__(self, *args: object) -> None:
        await self._lifespan.shutdown()
        _shutdown.forget()  # the loop may serve another test

    def begin_shutdown(self) -> None:
        """Tell the app that the server begins to stop, as a real one does by its signal."""
        _shutdown.notice().begin()

    def at(self, place: Place) -> InProcessServer:
        """Return the same server at another place."""
        return InProcessServer(self.app, place, after_body=self._after_body)

    def exchange(self, method: str, target: str, headers: HeaderItems = ()) -> HttpExchange:
        """Return a connection with one request on it, to be entered with `async with`."""
        scope = http_scope(method, target, headers, self.place)
        return HttpExchange(self.app, scope, after_body=self._after_body)

    async def fetch(
        self, method: str, target: str, *, headers: HeaderItems = (), body: bytes = b""
    ) -> Answer:
        """Make one request and return the whole response, when the app has ended too."""
        return await fetch(
            self.app,
            method,
            target,
            headers=headers,
            body=body,
            place=self.place,
            after_body=self._after_body,
        )

    def websocket(
        self, target: str, headers: HeaderItems = (), subprotocols: Iterable[str] = ()
    ) -> WebsocketSession:
        """Return a connection with one handshake on it, to be entered with `async with`."""
        return WebsocketSession(self.app, websocket_scope(target, headers, subprotocols, self.place))
