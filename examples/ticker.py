"""A live page: prices that move, and their plots, fed by one background task over a channel.

    python examples/ticker.py [host:port]

A page gets the last minute at once and then what comes, twice a second. When the connection breaks, the
browser comes back with the id of the last prices that it drew, and gets what it missed: no gap
in the plots. After a restart of the server it is told by a reset, and begins anew.
"""

from __future__ import annotations

import os
import random
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asgineer
from asgineer import Bus, ChannelError, EventStream, HTTPError, HttpRequest, Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Ticker</title>
<link rel="icon" href="data:,">
<style>
  body { font-family: system-ui, sans-serif; margin: 2em auto; max-width: 40em; padding: 0 1em; color: #223 }
  #state { color: #667; font-size: 1rem; font-weight: normal; margin-left: .5em }
  table { width: 100%; border-collapse: collapse }
  th { text-align: left } td { text-align: right; font-variant-numeric: tabular-nums; width: 6em }
  th, td { padding: .6em .4em; border-bottom: 1px solid #dde3ea }
  td.plot { width: 60%; padding: .4em 1em }
  svg { display: block; width: 100%; height: 3em; overflow: visible }
  polyline { fill: none; stroke: #678; stroke-width: 1.5; vector-effect: non-scaling-stroke }
  .up { color: #17783a } .down { color: #b3261e }
  .up polyline { stroke: #17783a } .down polyline { stroke: #b3261e }
  .away { opacity: .4 }
</style>
<h1>Ticker <span id="state">connecting …</span></h1>
<table></table>
<script>
  const KEPT = 120;  // points of a plot
  const table = document.querySelector("table"), series = new Map();

  function rowOf(name) {
    if (!series.has(name)) {
      const row = table.insertRow();
      row.innerHTML = "<th></th><td class='plot'><svg viewBox='0 0 119 1' preserveAspectRatio='none'>" +
        "<polyline/></svg></td><td class='price'></td><td class='change'></td>";
      row.firstChild.textContent = row.id = name;
      series.set(name, { row, prices: [] });
    }
    return series.get(name);
  }

  function draw(name, price) {
    const { row, prices } = rowOf(name);
    prices.push(price);
    if (prices.length > KEPT) prices.shift();
    const low = Math.min(...prices), high = Math.max(...prices), change = price / prices[0] - 1;
    const points = prices.map((p, i) => `${KEPT - prices.length + i},${(high - p) / (high - low || 1)}`);
    row.querySelector("polyline").setAttribute("points", points.join(" "));
    row.querySelector(".price").textContent = price.toFixed(2);
    row.querySelector(".change").textContent = (change < 0 ? "" : "+") + (100 * change).toFixed(2) + " %";
    row.className = change < 0 ? "down" : "up";
  }

  function tell(text) {
    document.getElementById("state").textContent = text;
    table.className = text === "live" ? "" : "away";
  }

  // "" asks for all that is retained. After a reset that is where to begin anew, too.
  function follow(since) {
    const source = new EventSource(`/prices?since=${encodeURIComponent(since)}`);
    source.onopen = () => tell("live");
    source.onmessage = (event) => {
      since = event.lastEventId;
      for (const [name, price] of Object.entries(JSON.parse(event.data))) draw(name, price);
    };
    source.addEventListener("reset", () => {
      source.close();
      for (const { prices } of series.values()) prices.length = 0;
      follow("");
    });
    source.onerror = () => {
      tell("reconnecting …");  // which it does by itself, unless it was answered with an error
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 1000 + 2000 * Math.random(), since);
    };
  }
  follow("");
</script>
</html>
"""

INTERVAL = 0.5  # seconds
START = {"APL": 187.4, "BRN": 42.1, "CRT": 310.0, "DTE": 9.85}

bus = Bus(os.environ.get("ASGINEER_BUS"), local=True)  # without a server, each worker has prices of its own
prices = bus.channel("prices", history=120, ttl=60)


@asynccontextmanager
async def lifespan() -> AsyncGenerator[None]:
    async with bus:
        asgineer.spawn(make_prices(), name="prices")
        yield


@asgineer.to_asgi(lifespan=lifespan)
async def main(request: HttpRequest) -> Response:
    match request.verb, *request.parts:
        case ("GET",):
            return PAGE
        case "GET", "prices":
            return EventStream(prices.subscribe(since=request.last_event_id or ""), retry=500)
        case _:
            raise HTTPError(404)


async def make_prices() -> None:
    """Publish new prices for as long as the app runs, also through a failure of the bus."""
    now = dict(START)
    while True:
        now = {name: round(price * random.gauss(1, 0.004), 2) for name, price in now.items()}
        with suppress(ChannelError):  # the next prices will do
            await prices.publish(now)
        await asgineer.sleep(INTERVAL)


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
