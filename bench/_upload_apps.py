"""The two applications that `upload.py` compares, and the measuring of the server from inside.

`measured` answers `/begin` and `/end` itself: between them a task notes how late it wakes up,
and the kernel keeps the highest memory of the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import asgineer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    App = Callable[[Any, Any, Any], Awaitable[None]]

TICK = 0.002  # seconds between two looks at the event loop


def memory(key: str) -> int:
    """Return bytes of this process: `VmRSS` now, `VmHWM` at its highest."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{key}:")[2].split()[0]) * 1024


class Watch:
    """How late the event loop is, and how much memory was added, from its making to `end`."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the highest memory is that of now
        self._before = memory("VmRSS")
        self._lags: list[float] = []
        self._cpu = time.process_time()
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(TICK)
            self._lags.append(time.perf_counter() - start - TICK)

    def end(self) -> dict[str, float]:
        self._task.cancel()
        lags = sorted(self._lags)
        return {
            "memory": memory("VmHWM") - self._before,
            "p99": lags[int(len(lags) * 0.99)],
            "max": lags[-1],
            "cpu": time.process_time() - self._cpu,
        }


def measured(app: App) -> App:
    watches: list[Watch] = []

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path")
        if path not in ("/begin", "/end"):
            return await app(scope, receive, send)
        if path == "/begin":
            watches.append(Watch())
            body = b"{}"
        else:
            body = json.dumps(watches.pop().end()).encode()
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return outer


@asgineer.to_asgi
async def handler(request: asgineer.HttpRequest) -> asgineer.Response:
    if request.path == "/get_form":
        form = await request.get_form(limit=None)
        return {"size": form.file("file").size}
    size = 0
    async for part in request.iter_form(limit=None):
        if request.path == "/count":
            async for chunk in part:
                size += len(chunk)
        else:
            path = Path(tempfile.gettempdir(), f"upload-{os.getpid()}")
            await part.save(path)
            size = await asyncio.to_thread(remove, path)
    return {"size": size}


def remove(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size


async def form(request: Request) -> JSONResponse:
    async with request.form() as form:
        file: Any = form["file"]
        return JSONResponse({"size": file.size})


ours = measured(handler)
starlette = measured(Starlette(routes=[Route("/form", form, methods=["POST"])]))
