"""Test an application: clients that speak with it in this process, and real servers in child processes.

    from asgineer.testing import TestClient

    def test_page():
        with TestClient(main) as client:
            assert client.get("/").status_code == 200

`AsyncTestClient` and `TestClient` are httpx2's clients, so they need that package; it is
imported when one of the names is first asked for. `_inprocess` plays the server inside this
process, `_transport` is the bridge to it, `_process` runs a real one, `_loopthread` lets plain
functions drive an event loop.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._client import AsyncTestClient, TestClient
    from ._events import AsyncEvents, Events
    from ._runserver import RunningServer, run_server
    from ._socket import AsyncWebsocket, Websocket
    from ._wire import WebsocketClosed, WebsocketDenied

__all__ = [
    "AsyncEvents",
    "AsyncTestClient",
    "AsyncWebsocket",
    "Events",
    "RunningServer",
    "TestClient",
    "Websocket",
    "WebsocketClosed",
    "WebsocketDenied",
    "run_server",
]

_HOMES = {
    "AsyncEvents": "_events",
    "AsyncTestClient": "_client",
    "AsyncWebsocket": "_socket",
    "Events": "_events",
    "RunningServer": "_runserver",
    "TestClient": "_client",
    "Websocket": "_socket",
    "WebsocketClosed": "_wire",
    "WebsocketDenied": "_wire",
    "run_server": "_runserver",
}


if not TYPE_CHECKING:  # pragma: no branch  # for a type checker, the names above are all

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
        except ModuleNotFoundError as error:
            if error.name != "httpx2":
                raise
            from .._extras import install_command

            told = f"asgineer.testing needs httpx2. Try: {install_command('testing', 'httpx2')}"
            raise ModuleNotFoundError(told, name="httpx2") from None
        return getattr(module, name)
