"""A clock that the server drives, by server-sent events.

    python examples/clock.py [host:port]

The browser's EventSource reconnects by itself: stop the program, start it again, and watch.
"""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import asgineer
from asgineer import Event, EventStream, HTTPError, HttpRequest, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Clock</title>
<link rel="icon" href="data:,">
<style>
  body { font-family: system-ui, sans-serif; margin: 15vh auto; text-align: center; color: #223 }
  #time { font-size: 5em; font-variant-numeric: tabular-nums; margin: 0 }
  .away #time { opacity: .3 }
</style>
<h1>The server's clock</h1>
<p id="time">--:--:--</p>
<p id="state">connecting …</p>
<script>
  const show = (state) => {
    document.getElementById("state").textContent = state;
    document.body.className = state === "live" ? "" : "away";
  };
  const source = new EventSource("/ticks");
  source.onopen = () => show("live");
  source.onerror = () => show("reconnecting …");
  source.addEventListener("tick", (event) => {
    document.getElementById("time").textContent = event.data;
  });
</script>
</html>
"""


@asgineer.to_asgi
async def main(request: HttpRequest) -> Response:
    match request.verb, *request.parts:
        case ("GET",):
            return PAGE
        case "GET", "ticks":
            return EventStream(ticks(), retry=1000)
        case _:
            raise HTTPError(404)


async def ticks() -> AsyncIterator[Event]:
    """Tell the time at each full second; ended from outside, when the client leaves."""
    while True:
        yield Event(f"{datetime.now():%H:%M:%S}", event="tick")
        await asgineer.sleep(1.01 - datetime.now().microsecond / 1_000_000)  # never a moment too early


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
