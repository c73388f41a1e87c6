"""One chat, three ways to take part in it: events at /, a websocket at /websocket, long polling at /polling.

    python examples/chat.py [host:port]

The chat is a channel: a log, and each client a place in it. It comes back with the id of the last
message that it saw and gets what it missed, or a reset where that can't be had any more. The log is
in this process; with a Redis, Valkey or NATS server it is there, for any number of workers:

    ASGINEER_BUS=redis://127.0.0.1:6379 asgineer run examples/chat.py:main --workers 2
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

import asgineer
from asgineer import Bus, EventStream, HTTPError, HttpRequest, Response, WebsocketRequest
from asgineer.security import check_origin
from asgineer.utils import make_asset_handler

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/chat.css">
<script src="/assets/live.js" defer></script>
<script src="/assets/chat.js" defer></script>
<h1>Chat</h1>
<nav>
  <a href="/">events</a> <a href="/websocket">websocket</a> <a href="/polling">long polling</a>
  <span id="state">connecting …</span>
</nav>
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

function show({ name, text }) {
  const author = document.createElement("b");
  author.textContent = name;
  const line = document.createElement("li");
  line.append(author, text);
  list.append(line);
  line.scrollIntoView();
}

// What a page shows are the messages that are retained. So to load the state anew is to begin anew with "".
const clear = () => list.replaceChildren();
const tell = (text) => { state.textContent = text; };

async function post(message) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch("/messages", { method: "POST", headers, body: JSON.stringify(message) });
  if (!answer.ok) throw new Error(answer.statusText);
}

function byEvents() {
  let source, since = "";
  const connect = () => {
    source = new EventSource(`/events?since=${encodeURIComponent(since)}`);
    source.onopen = () => tell("live");
    source.onmessage = (event) => { since = event.lastEventId; show(JSON.parse(event.data)); };
    source.addEventListener("reset", () => { clear(); source.close(); since = ""; connect(); });
    source.onerror = () => {
      tell("reconnecting …");  // which it does by itself, unless the server answered with an error
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 1000 + 2000 * Math.random());
    };
  };
  connect();
  return post;
}

function byWebsocket() {
  const reset = () => { clear(); connection.restart(""); };
  const connection = live("/socket", { message: show, reset, state: tell });
  return async (message) => connection.send(message);
}

function byPolling() {
  let since = "", wait = 0, pause = 250;
  const poll = async () => {
    const answer = await fetch(`/messages?since=${encodeURIComponent(since)}&wait=${wait}`);
    if (!answer.ok) throw new Error(answer.statusText);
    const batch = await answer.json();
    if (batch.reset) clear();
    batch.messages.forEach(({ data }) => show(data));
    since = batch.reset ? "" : batch.position;
    wait = batch.reset ? 0 : 25;
    pause = 250;
    tell("live");
  };
  (async () => {
    for (;;) {
      await poll().catch(async () => {
        tell("reconnecting …");
        wait = 0;  // the first one after it answers at once
        await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random())));
        pause = Math.min(pause * 2, 5000);
      });
    }
  })();
  return post;
}

const say = { "/websocket": byWebsocket, "/polling": byPolling }[location.pathname] || byEvents;
const send = say();
document.getElementById("say").onsubmit = (event) => {
  event.preventDefault();
  const { name, text } = event.target.elements;
  send({ name: name.value, text: text.value })
    .then(() => { text.value = ""; }, () => tell("not sent, try again"));
};
"""

MAX_WAIT = 25  # seconds; proxies end a request that is silent for longer
LIVE = Path(__file__).parent / "static" / "live.js"

assets = make_asset_handler(
    {"chat.css": STYLE, "chat.js": SCRIPT, "live.js": LIVE.read_text(encoding="utf-8")}
)
bus = Bus(os.environ.get("ASGINEER_BUS"))
room = bus.channel("chat", history=1000, ttl=24 * 3600)


@dataclass
class Said:
    """What a client sends."""

    name: Annotated[str, Meta(min_length=1, max_length=30)]
    text: Annotated[str, Meta(min_length=1, max_length=500)]


@dataclass
class Poll:
    """The query of a poll."""

    wait: Annotated[float, Meta(ge=0, le=MAX_WAIT)] = 0


@asynccontextmanager
async def lifespan() -> AsyncGenerator[None]:
    async with bus:  # a server that can't be reached is an error at start
        yield


@asgineer.to_asgi(lifespan=lifespan)
async def main(request: HttpRequest | WebsocketRequest) -> Response | None:
    if isinstance(request, WebsocketRequest):
        await talk(request)
        return None
    since = request.last_event_id or ""  # who never was here gets all that is retained
    match request.verb, *request.parts:
        case ("GET",) | ("GET", "websocket" | "polling"):
            return PAGE
        case "GET", "events":
            return EventStream(room.subscribe(since=since), retry=500)
        case "GET", "messages":
            return await room.read(since=since, wait=request.get_query(Poll).wait)
        case "POST", "messages":
            check_origin(request)
            await room.publish(await request.get_json(type=Said))
            return 204, {}, None
        case _, "assets", *name:
            return await assets(request, name)
        case _:
            raise HTTPError(404)


async def talk(request: WebsocketRequest) -> None:
    """Send what others say, while this one speaks; it ends by DisconnectedError, which is no mistake."""
    await request.accept()
    async with request.sending(room.subscribe(since=request.last_event_id or "")):
        while True:
            await room.publish(await request.receive_json(type=Said))


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
