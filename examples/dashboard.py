"""A live page about the server itself: what is open, how much it does, how long that takes.

    python examples/dashboard.py [host:port]

Open it, then load `/work` a few times, in other tabs or with `curl`. The figures are those of one
process: of several workers, each page shows the one that it is connected to, and says which.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asgineer
from asgineer import Bus, EventStream, HTTPError, HttpRequest, Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asgineer import BaseRequest

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Server</title>
<link rel="icon" href="data:,">
<style>
  body { font-family: system-ui, sans-serif; margin: 2em auto; max-width: 44em; padding: 0 1em; color: #223 }
  main { display: grid; grid-template-columns: repeat(auto-fill, minmax(13em, 1fr)); gap: 1em }
  figure { margin: 0; background: #f1f4f8; border-radius: .5em; padding: .8em 1em }
  figcaption { color: #567 } b { font-size: 1.8em; font-variant-numeric: tabular-nums }
  svg { display: block; width: 100%; height: 3em; overflow: visible }
  polyline { fill: none; stroke: #2a7; stroke-width: 1.5; vector-effect: non-scaling-stroke }
  .away main { opacity: .4 }
</style>
<h1>Server <small id="state">connecting …</small></h1>
<main></main>
<p>Process <span id="process"></span>, and no other: each worker has figures of its own.</p>
<script>
  const KEPT = 60;
  const SHOWN = {
    rate: "requests/s", latency: "slowest tenth, ms",
    open_requests: "open requests", open_streams: "open streams",
    open_websockets: "open websockets", subscribers: "subscribers", tasks: "background tasks",
    disconnects: "clients that left", send_timeouts: "clients too slow",
  };
  const main = document.querySelector("main"), series = {};
  for (const [key, label] of Object.entries(SHOWN)) {
    series[key] = [];
    const figure = document.createElement("figure");
    figure.id = key;
    figure.innerHTML = "<figcaption></figcaption><b>–</b>" +
      "<svg viewBox='0 0 59 1' preserveAspectRatio='none'><polyline/></svg>";
    figure.firstChild.textContent = label;
    main.append(figure);
  }
  const draw = (key, value) => {
    const values = series[key], figure = document.getElementById(key);
    values.push(value);
    if (values.length > KEPT) values.shift();
    const most = Math.max(...values) || 1, start = KEPT - values.length;
    figure.querySelector("b").textContent = Number.isInteger(value) ? value : value.toFixed(1);
    const points = values.map((value, i) => `${start + i},${1 - value / most}`);
    figure.querySelector("polyline").setAttribute("points", points.join(" "));
  };
  const show = (state) => {
    document.getElementById("state").textContent = state;
    document.body.className = state === "live" ? "" : "away";
  };
  const clear = () => Object.values(series).forEach((values) => { values.length = 0; });
  function follow() {
    clear();  // the first that comes is the minute before
    const source = new EventSource("/figures");
    source.onopen = () => show("live");
    source.onerror = () => {
      show("reconnecting …");  // which it does by itself, unless it was answered with an error
      if (source.readyState === EventSource.CLOSED) setTimeout(follow, 1000 + 2000 * Math.random());
    };
    source.addEventListener("reset", clear);  // another process answers now
    source.onmessage = (event) => {
      const figures = JSON.parse(event.data);
      document.getElementById("process").textContent = figures.process;
      for (const key of Object.keys(SHOWN)) draw(key, figures[key]);
    };
  }
  follow();
</script>
</html>
"""

bus = Bus(None, local=True)  # figures of this process are for its own visitors
figures = bus.channel(
    "figures", history=60, ttl=300
)  # a minute of them, so that a new page starts with full plots
times: list[float] = []  # seconds that the requests of the last second took


@asynccontextmanager
async def lifespan() -> AsyncGenerator[None]:
    asgineer.spawn(measure(), name="figures")
    yield
    await bus.close()


def note(request: BaseRequest, status: int, size: int, seconds: float, outcome: str) -> None:
    """Keep how long a request took; a live page isn't slow, it stays."""
    if request.label != "figures":
        times.append(seconds)


@asgineer.to_asgi(lifespan=lifespan, done=note)
async def main(request: HttpRequest) -> Response:
    match request.verb, *request.parts:
        case ("GET",):
            return PAGE
        case "GET", "figures":
            request.label = "figures"
            return EventStream(figures.subscribe(since=request.last_event_id or ""))  # "": all there is
        case "GET", "work":
            return {"sum": sum(range(100_000))}
        case _:
            raise HTTPError(404)


async def measure() -> None:
    """Publish what this process did in each second, until the server stops."""
    before = time.monotonic()
    while True:
        await asgineer.sleep(1)
        now = time.monotonic()
        slowest = sorted(times)[len(times) * 9 // 10] if times else 0.0
        told = {"process": os.getpid(), "rate": len(times) / (now - before), "latency": slowest * 1000}
        told |= asgineer.stats()._asdict() | {"subscribers": bus.status.subscribers}
        times.clear()
        before = now
        await figures.publish(told)


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
