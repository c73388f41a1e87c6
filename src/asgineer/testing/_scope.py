"""The scopes that a server would make for a request, from what a client would send.

Pure: a target and header fields in, a dict out.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._wire import HeaderItems, RawHeaders, Scope

_client_ports = itertools.count(50_001)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the pretended server stands; `client=None` takes a new port for each connection."""

    scheme: str = "http"
    host: str = "testserver"
    port: int = 80
    root_path: str = ""
    http_version: str = "1.1"
    client: tuple[str, int] | None = None
    state: Mapping[str, Any] | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict[str, Any])


def http_scope(method: str, target: str, headers: HeaderItems = (), place: Place | None = None) -> Scope:
    """Return the scope of an HTTP request for `target` (a path with an optional query)."""
    place = place or Place()
    scope = _common_scope("http", target, headers, place)
    return scope | {"method": method.upper(), "scheme": place.scheme, "extensions": dict(place.extensions)}


def websocket_scope(
    target: str,
    headers: HeaderItems = (),
    subprotocols: Iterable[str] = (),
    place: Place | None = None,
) -> Scope:
    """Return the scope of a websocket handshake, with the header fields a client sends for one."""
    place = place or Place()
    offered = list(subprotocols)
    handshake = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        *([("sec-websocket-protocol", ", ".join(offered))] if offered else []),
    ]
    scope = _common_scope("websocket", target, [*handshake, *headers], place)
    return scope | {
        "scheme": "wss" if place.scheme in ("https", "wss") else "ws",
        "subprotocols": offered,
        "extensions": {"websocket.http.response": {}, **place.extensions},
    }


def _common_scope(kind: str, target: str, headers: HeaderItems, place: Place) -> Scope:
    target = target.partition("#")[0]
    path, _, query = target.partition("?")
    # What a client would escape is escaped; what is escaped already stays as it is.
    raw_path = quote(place.root_path + path, safe="/%:@!$&'()*+,;=~-._").encode("ascii")
    items = _raw_headers(headers)
    if not any(name == b"host" for name, _ in items):
        items.insert(0, (b"host", _host_header(place)))
    scope = {
        "type": kind,
        # As uvicorn says: from 2.4 on `send` would have to raise when the client is gone; no server does.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": place.http_version,
        "server": (place.host, place.port),
        "client": place.client or ("127.0.0.1", next(_client_ports)),
        "root_path": place.root_path,
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": quote(query, safe="/%:@!$&'()*+,;=~-._?").encode("ascii"),
        "headers": items,
    }
    # Each request has its own shallow copy of what the lifespan left behind.
    return scope if place.state is None else scope | {"state": dict(place.state)}


def _raw_headers(headers: HeaderItems) -> RawHeaders:
    return [(_latin1(name).lower(), _latin1(value)) for name, value in headers]


def _latin1(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def _host_header(place: Place) -> bytes:
    host = f"[{place.host}]" if ":" in place.host else place.host
    usual = {"http": 80, "ws": 80, "https": 443, "wss": 443}.get(place.scheme)
    return (host if place.port == usual else f"{host}:{place.port}").encode("ascii")
