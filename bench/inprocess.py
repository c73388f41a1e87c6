"""What one request costs in our code alone: through `to_asgi`, against a hand-written ASGI callable.

Both are called with the same scope and the same `send` that does nothing, in one process, in
rounds that take turns, so that a slow moment of the machine meets both. The figure is CPU time.
The ratio of the lowest rounds is the one to compare: absolute times differ from run to run.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
from _report import parse_arguments, show

import asgineer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    App = Callable[..., Awaitable[None]]

ROUNDS = 41
REQUESTS = 5_000  # in one round: 5 to 20 ms, longer than the clock's grain and shorter than most disturbances
GOAL = 2.0  # times the raw callable, for plain text

SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [
        (b"host", b"127.0.0.1:8080"),
        (b"user-agent", b"bench"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, deflate"),
    ],
    "client": ("127.0.0.1", 50_000),
    "server": ("127.0.0.1", 8080),
}
VALUE = {"message": "Hello, world", "numbers": [1, 2, 3], "ok": True}


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: MutableMapping[str, Any]) -> None:
    pass


async def raw_text(scope: Any, receive: Any, send: Any) -> None:
    body = b"Hello, world"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def raw_json(scope: Any, receive: Any, send: Any) -> None:
    body = msgspec.json.encode(VALUE)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asgineer.to_asgi
async def our_text(request: asgineer.HttpRequest) -> str:
    return "Hello, world"


@asgineer.to_asgi
async def our_json(request: asgineer.HttpRequest) -> dict[str, Any]:
    return VALUE


async def messages_of(app: App) -> list[Any]:
    sent: list[Any] = []

    async def collect(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    await app(SCOPE, receive, collect)
    for message in sent:
        message.pop("more_body", None)
    return sent


async def time_round(app: App) -> float:
    """Return the microseconds of CPU for one request."""
    start = time.process_time()
    for _ in range(REQUESTS):
        await app(SCOPE, receive, send)
    return (time.process_time() - start) / REQUESTS * 1e6


async def compare(name: str, raw: App, ours: App) -> str:
    assert await messages_of(raw) == await messages_of(ours), "they don't do the same"
    rounds = [(await time_round(raw), await time_round(ours)) for _ in range(ROUNDS)]
    lowest_raw, lowest_ours = (min(times) for times in zip(*rounds, strict=True))
    median_raw, median_ours = (median(times) for times in zip(*rounds, strict=True))
    return (
        f"{name:12} {lowest_raw:8.2f} {lowest_ours:8.2f} {lowest_ours / lowest_raw:7.2f}"
        f" {median_raw:10.2f} {median_ours:8.2f} {median_ours / median_raw:7.2f}"
    )


async def measure() -> str:
    lines = [
        f"µs of CPU per request, {ROUNDS} rounds of {REQUESTS}; goal for text: lowest ratio ≤ {GOAL}",
        f"{'':12} {'lowest':^25} {'median':^27}",
        f"{'':12} {'raw':>8} {'ours':>8} {'ratio':>7} {'raw':>10} {'ours':>8} {'ratio':>7}",
    ]
    for name, raw, ours in [("plain text", raw_text, our_text), ("JSON", raw_json, our_json)]:
        await compare(name, raw, ours)  # warm up
        lines.append(await compare(name, raw, ours))
    return "\n".join(lines)


if __name__ == "__main__":
    assert __doc__
    arguments = parse_arguments(__doc__.partition("\n")[0])
    show("inprocess", __doc__.strip(), asyncio.run(measure()), record=arguments.record)
