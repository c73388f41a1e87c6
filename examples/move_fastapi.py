"""An application in FastAPI moves over, path by path.

    python examples/move_fastapi.py [host:port]

`api` stands for what is there already. `main` stands in front: it answers the paths that have
moved, and forwards the others. Run it, and compare `/drinks/tea` with `/drinks/water`, or open
`/docs`, which FastAPI still makes. Needs `pip install fastapi`.
"""

from __future__ import annotations

import sys

from fastapi import FastAPI, WebSocket

import asgineer
from asgineer import HttpRequest, Response, WebsocketRequest

api = FastAPI(title="Drinks")
stock = {"tea": 3, "water": 100}


@api.get("/drinks/{name}")
async def drink(name: str) -> dict[str, str | int]:
    """Tell how many there are."""
    return {"name": name, "left": stock.get(name, 0), "by": "FastAPI"}


@api.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    """Send back what comes in."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


@asgineer.to_asgi
async def main(request: HttpRequest | WebsocketRequest) -> Response | None:
    """Answer what has moved; hand the rest to the application that is there."""
    match request.verb, *request.parts:
        case "GET", "drinks", "tea":
            return {"name": "tea", "left": stock["tea"], "by": "Asgineer"}
        case _:
            await request.forward(api)
            return None


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
