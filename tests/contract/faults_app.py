"""The app that is told that its server stops: what each handler hears, it prints.

Importable by its name, so that a server in another process can serve it.
"""

from __future__ import annotations

from typing import Any

import asgineer
from asgineer import HttpRequest, ServerClosing, WebsocketRequest


def tell(text: str) -> None:
    print(text, flush=True)


async def stream(request: HttpRequest) -> None:
    """Stream the low-level way; say goodbye."""
    await request.accept(200, {"content-type": "text/plain"})
    await request.send("hello ")
    tell("began stream")
    try:
        await request.sleep_while_connected(600)
    except ServerClosing:
        tell("told stream")
        await request.send("goodbye")


async def poll(request: HttpRequest) -> str:
    """Answer late; leave to the framework what a server that stops comes to."""
    tell("began poll")
    try:
        await request.sleep_while_connected(600)
    except ServerClosing:
        tell("told poll")
        raise
    return "something happened"


async def socket(request: WebsocketRequest) -> None:
    """Listen; say goodbye, and leave the close to the framework."""
    await request.accept()
    tell("began socket")
    try:
        async for _ in request.receive_iter():
            pass
    except ServerClosing:
        tell("told socket")
        await request.send("goodbye")
        raise


HANDLERS: dict[str, Any] = {"stream": stream, "poll": poll, "socket": socket}


@asgineer.to_asgi
async def main(request: HttpRequest | WebsocketRequest) -> Any:
    return await HANDLERS[request.parts[0]](request)
