"""The application that `shutdown.py` ends: streams and websockets that wait, and short requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import asgineer
from asgineer import EventStream, WebsocketRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOMENT = 0.05  # seconds that a request takes, so that some are always on their way


async def silence() -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield ""


@contextlib.asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0.01)
    os.write(1, b"lifespan ended\n")


@asgineer.to_asgi(lifespan=lifespan)
async def main(request: Any) -> Any:
    if isinstance(request, WebsocketRequest):
        await request.accept()
        return await request.receive()
    if request.path == "/events":
        return EventStream(silence())
    await asyncio.sleep(MOMENT)
    return "answered"


if __name__ == "__main__":
    server, bind, seconds = sys.argv[1:]
    more: dict[str, Any] = {"backlog": 4096} if server in ("hypercorn", "granian") else {}
    asgineer.run(main, server, bind, shutdown_timeout=float(seconds), **more)
