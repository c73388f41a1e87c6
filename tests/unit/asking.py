"""What a client sees of one request: the test client's answer, in an event loop of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgineer.testing import AsyncTestClient

from .asgi import check, converse_ws, encode_pairs
from .turns import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import httpx2

    from .asgi import App, Message, Pairs, Websocket

OWN = (AssertionError, pytest.fail.Exception)  # a handler's that fails is the test's


async def fetch(
    app: App,
    target: str = "/",
    method: str = "GET",
    *,
    headers: Pairs = (),
    body: bytes | Sequence[bytes] = b"",
    **scope: Any,
) -> httpx2.Response:
    """Make one request, with these header fields and the client's `host` alone; it ends when the app has.

    Args:
        body: whole, or the pieces it comes in.
        scope: what the server says of the request in another way.
    """

    async def placed(given: dict[str, Any], receive: Any, send: Any) -> None:
        async def checked(message: Message) -> None:
            check(message)
            await send(message)

        await app({**given, **scope}, receive, checked)

    client = AsyncTestClient(placed, raise_errors=OWN, base_url="http://127.0.0.1:8000")
    client.headers.clear()
    content: Any = body if isinstance(body, bytes) else _piece_by_piece(body)
    return await client.request(method, target, headers=encode_pairs(headers), content=content)


async def _piece_by_piece(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def ask(app: App, *args: Any, **options: Any) -> httpx2.Response:
    """Run `fetch` in a loop of its own, where no task is left behind."""
    return run(fetch(app, *args, **options))


def ask_ws(app: App, *args: Any, **options: Any) -> Websocket:
    """Run a websocket whose handler ends by itself."""
    socket = run(converse_ws(app, *args, **options))
    if socket.error is not None:
        raise socket.error
    return socket
