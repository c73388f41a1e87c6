"""The guide's application in one program: a page, assets, an API, a stream and a websocket.

    python examples/guide.py [host:port]

It serves on localhost:8080 unless told otherwise, prints its address, and ends with Ctrl+C.
"""

from __future__ import annotations

import html
import sys
from typing import TYPE_CHECKING

import asgineer
from asgineer import HTTPError, HttpRequest, MethodNotAllowed, Response, WebsocketRequest, param
from asgineer.utils import make_asset_handler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Asgineer guide</title>
<link rel="stylesheet" href="/assets/guide.css">
<script src="/assets/guide.js" defer></script>
<h1>It works</h1>
<ul>
  <li><a href="/hello/you">A page that shows its path</a></li>
  <li><a href="/api/drinks">A list from the API</a>, and <a href="/api/drinks/2">one of it</a></li>
  <li><a href="/stream">A stream</a>: a line every half a second</li>
</ul>
<form id="talk">
  <label>Say something to the websocket: <input name="text" value="hello" autocomplete="off"></label>
  <button>Send</button>
</form>
<pre id="log"></pre>
</html>
"""

SCRIPT = """\
const log = document.getElementById("log");
const scheme = location.protocol === "https:" ? "wss" : "ws";
const socket = new WebSocket(`${scheme}://${location.host}/echo`);
const show = (text) => { log.textContent += text + "\\n"; };
socket.onmessage = (event) => show("< " + event.data);
socket.onclose = (event) => show(`closed, ${event.code}`);
document.getElementById("talk").onsubmit = (event) => {
  event.preventDefault();
  const text = event.target.elements.text.value;
  show("> " + text);
  socket.send(text);
};
"""

assets = make_asset_handler(
    {
        "guide.js": SCRIPT,
        "guide.css": "body { font-family: sans-serif; margin: 3em auto; max-width: 40em }\n",
    },
    max_age=60,
)

INTERVAL = 0.5  # seconds between two lines of the stream
DRINKS = {1: "tea", 2: "coffee", 3: "water"}


@asgineer.to_asgi
async def main(request: HttpRequest | WebsocketRequest) -> Response | None:
    if isinstance(request, WebsocketRequest):
        await echo(request)
        return None
    match request.verb, *request.parts:
        case ("GET",):
            return PAGE
        case "GET", "hello", _:
            return f"<html>You requested <b>{html.escape(request.path)}</b></html>"
        case "GET", "stream":
            return {"content-type": "text/plain; charset=utf-8"}, count(10)
        case _, "assets", *name:
            return await assets(request, name)
        case _, "api", *rest:
            return await api(request, rest)
        case _:
            raise HTTPError(404)


async def api(request: HttpRequest, rest: list[str]) -> Response:
    """Answer in JSON; a part of the app that knows no prefix."""
    match request.verb, *rest:
        case "GET", "drinks":
            return [{"number": number, "name": name} for number, name in DRINKS.items()]
        case "GET", "drinks", number:
            name = DRINKS.get(param(number, int))
            if name is None:
                raise HTTPError(404, "There is no such drink")
            return {"name": name}
        case "POST", "echo":
            return {"you_sent": await request.get_json()}
        case _, "drinks", *_:
            raise MethodNotAllowed("GET")
        case _:
            raise HTTPError(404)


async def count(lines: int) -> AsyncIterator[str]:
    for number in range(lines):
        yield f"line {number}\n"
        await asgineer.sleep(INTERVAL)


async def echo(request: WebsocketRequest) -> None:
    """Send each message back, with its length."""
    await request.accept()
    async for message in request.receive_iter():
        await request.send({"echo": str(message), "length": len(message)})


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
