"""A websocket that sends back each message as it came: text as text, bytes as bytes.

    python examples/echo.py [host:port]

It is what conformance suites speak with: see bench/conformance.py.
"""

from __future__ import annotations

import sys

import asgineer
from asgineer import HTTPError, HttpRequest, Limits, Response, WebsocketRequest

MAX_MESSAGE = 16 * 1024 * 1024  # bytes; the largest that conformance suites send


@asgineer.to_asgi(limits=Limits(message=MAX_MESSAGE))
async def main(request: HttpRequest | WebsocketRequest) -> Response | None:
    if not isinstance(request, WebsocketRequest):
        raise HTTPError(426, "Connect with a websocket", headers={"upgrade": "websocket"})
    await request.accept()
    async for message in request.receive_iter():
        await request.send(message)
    return None


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
