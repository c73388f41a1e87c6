"""One chat, two ways to take part in it: a websocket at /, long polling at /polling.

    python examples/chat.py [host:port]

The chat is a log, and each client a place in it: it comes back with the id of the last message
that it saw (`?since=`) and gets what it missed. Nobody has a queue, so nobody can be too slow for
one. The log is in this process; after a restart it is another one, which its ids tell.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

import asgineer
from asgineer import HTTPError, HttpRequest, RequestSet, Response, WebsocketRequest
from asgineer.security import check_origin
from asgineer.utils import make_asset_handler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/chat.css">
<script src="/assets/chat.js" defer></script>
<h1>Chat</h1>
<nav><a href="/">websocket</a> <a href="/polling">long polling</a> <span id="state">connecting …</span></nav>
<ol id="messages"></ol>
<form id="say">
  <input name="name" placeholder="Name" required maxlength="30" autocomplete="off">
  <input name="text" placeholder="Message" required maxlength="500" autocomplete="off">
  <button>Send</button>
</form>
</html>
"""

STYLE = """\
body { font-family: system-ui, sans-serif; margin: 2em auto; max-width: 40em; padding: 0 1em; color: #223 }
nav { display: flex; gap: 1em; align-items: baseline }
#state { margin-left: auto; color: #667 }
#messages { list-style: none; margin: 1em 0; padding: 1em; height: 50vh; overflow-y: auto;
  background: #eef1f5; border-radius: .5em }
#messages li { margin-bottom: .4em; overflow-wrap: anywhere }
#messages b { margin-right: .5em }
form { display: flex; gap: .5em }
input, button { font: inherit; padding: .4em .7em; min-width: 0 }
[name=name] { width: 8em }
[name=text] { flex: 1 }
"""

SCRIPT = """\
const state = document.getElementById("state");
const list = document.getElementById("messages");
let since = "";

function show(message) {
  if (message.reset) list.replaceChildren();  // another log: the server was started anew
  since = message.id;
  const name = document.createElement("b");
  name.textContent = message.name;
  const line = document.createElement("li");
  line.append(name, message.text);
  list.append(line);
  line.scrollIntoView();
}

// Each `connect` returns when the connection is lost; then it is tried again, later each time, and
// never by all clients at the same moment.
async function keep(connect) {
  for (let wait = 250; ; wait = Math.min(wait * 2, 5000)) {
    await connect(() => { wait = 250; state.textContent = "live"; }).catch(() => {});
    state.textContent = "reconnecting …";
    await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random())));
  }
}

const websocket = {
  connect: (live) => new Promise((resolve) => {
    const url = new URL(`/socket?since=${encodeURIComponent(since)}`, location);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = websocket.socket = new WebSocket(url);
    socket.onopen = live;
    socket.onmessage = (event) => show(JSON.parse(event.data));
    socket.onclose = resolve;
  }),
  say: async (message) => websocket.socket.send(JSON.stringify(message)),
};

const polling = {
  connect: async (live) => {
    for (let wait = 0; ; wait = 25) {  // the first answers at once
      const response = await fetch(`/messages?since=${encodeURIComponent(since)}&wait=${wait}`);
      if (!response.ok) return;
      live();
      (await response.json()).forEach(show);
    }
  },
  say: async (message) => {
    const headers = { "content-type": "application/json" };
    await fetch("/messages", { method: "POST", headers, body: JSON.stringify(message) });
  },
};

const transport = location.pathname === "/polling" ? polling : websocket;
document.getElementById("say").onsubmit = (event) => {
  event.preventDefault();
  const { name, text } = event.target.elements;
  transport.say({ name: name.value, text: text.value })
    .then(() => { text.value = ""; }, () => { state.textContent = "not sent, try again"; });
};
keep(transport.connect);
"""

MAX_WAIT = 25  # seconds; proxies end a request that is silent for longer
KEPT = 1000  # messages

assets = make_asset_handler({"chat.css": STYLE, "chat.js": SCRIPT})


@dataclass
class Said:
    """What a client sends."""

    name: Annotated[str, Meta(min_length=1, max_length=30)]
    text: Annotated[str, Meta(min_length=1, max_length=500)]


@dataclass
class Poll:
    """The query of a poll."""

    wait: Annotated[float, Meta(ge=0, le=MAX_WAIT)] = 0


class Chat:
    """The last messages, and who waits for the next. An id is `log.number`, counted from 1."""

    def __init__(self) -> None:
        self._log = secrets.token_hex(4)
        self._messages: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._count = 0
        self._more = asyncio.Event()  # set with the next message, which brings a new one
        self.waiting: RequestSet[HttpRequest] = RequestSet()

    def say(self, said: Said) -> None:
        self._count += 1
        self._messages.append({"id": f"{self._log}.{self._count}", "name": said.name, "text": said.text})
        self._more.set()
        self._more = asyncio.Event()
        for request in self.waiting:
            request.wakeup()

    def after(self, seen: str | None) -> list[dict[str, Any]]:
        """Return what came after the message with the id `seen`.

        Where that isn't known (any more), it is all there is, and the first of it says "reset".
        """
        log, _, number = (seen or "").partition(".")
        missed = -1
        if log == self._log and number.isdecimal() and len(number) < 16:
            missed = self._count - int(number)
        if 0 <= missed <= len(self._messages):
            return list(self._messages)[len(self._messages) - missed :]
        return [{**message, "reset": not index} for index, message in enumerate(self._messages)]

    async def follow(self, seen: str | None) -> AsyncIterator[dict[str, Any]]:
        """Yield what came after `seen`, and then what comes."""
        while True:
            more = self._more  # taken before the look, so that nothing is missed in between
            for message in self.after(seen):
                yield message
                seen = message["id"]
            await more.wait()


chat = Chat()


@asgineer.to_asgi
async def main(request: HttpRequest | WebsocketRequest) -> Response | None:
    if isinstance(request, WebsocketRequest):
        await talk(request)
        return None
    match request.verb, *request.parts:
        case ("GET",) | ("GET", "polling"):
            return PAGE
        case "GET", "messages":
            return await poll(request)
        case "POST", "messages":
            check_origin(request)
            chat.say(await request.get_json(type=Said))
            return 204, {}, None
        case _, "assets", *name:
            return await assets(request, name)
        case _:
            raise HTTPError(404)


async def talk(request: WebsocketRequest) -> None:
    """Send what others say, while this one speaks; it ends by DisconnectedError, which is no mistake."""
    await request.accept()
    async with request.sending(chat.follow(request.last_event_id)):
        while True:
            chat.say(await request.receive_json(type=Said))


async def poll(request: HttpRequest) -> Response:
    """Answer with what is new, at once or as soon as there is something."""
    wait = request.get_query(Poll).wait
    chat.waiting.add(request)
    messages = chat.after(request.last_event_id)
    if not messages and wait:
        await request.sleep_while_connected(wait)
        messages = chat.after(request.last_event_id)
    return messages


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
