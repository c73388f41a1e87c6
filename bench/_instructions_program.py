"""What `instructions.py` runs under callgrind: requests of each row in its arguments, `text=100 json=600 …`.

The application is the one of `compare.py`, called in this process with a `send` that does nothing.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from _compare_apps.asgineer_app import app
from _compare_rows import ROWS

if TYPE_CHECKING:
    from _compare_rows import Row


def scope_of(row: Row) -> dict[str, Any]:
    path, _, query = row.path.partition("?")
    headers = [
        (b"host", b"127.0.0.1:8080"),
        *((name.encode(), value.encode()) for name, value in row.headers),
    ]
    if row.body:
        headers.append((b"content-length", b"%d" % len(row.body)))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST" if row.body else "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }


async def send_requests(row: Row, count: int) -> None:
    scope = scope_of(row)
    message = {"type": "http.request", "body": row.body, "more_body": False}
    statuses = set()

    async def receive() -> dict[str, Any]:
        return message

    async def send(message: Any) -> None:
        if "status" in message:
            statuses.add(message["status"])

    for _ in range(count):
        await app(scope, receive, send)
    assert statuses == {200}, statuses


async def main(arguments: list[str]) -> None:
    by_key = {row.key: row for row in ROWS}
    for argument in arguments:
        key, _, count = argument.partition("=")
        await send_requests(by_key[key], int(count))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
