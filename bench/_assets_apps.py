"""The applications that `assets.py` compares, one each: `ASSETS_APP` names it, `ASSETS_FOLDER` has the files.

All serve the same folder. The raw one sends what was rendered at its start, by the path alone: it
looks at no header, so it is what the server itself costs. Its file is read in the event loop.
"""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("ASSETS_FOLDER", "."))
PIECE = 256 * 1024  # bytes, as much as send_file reads at once


def make_raw() -> Any:
    responses = {}
    for path in FOLDER.glob("*.js"):
        body = path.read_bytes()
        common = [
            (b"content-type", b"text/javascript; charset=utf-8"),
            (b"cache-control", b"public, max-age=0, must-revalidate"),
            (b"last-modified", b"Sun, 13 Sep 2020 12:26:40 GMT"),
            (b"vary", b"Accept-Encoding"),
            (b"accept-ranges", b"bytes"),
            (b"etag", b'"0123456789abcdef0123456789abcdef"'),
        ]
        packed = gzip.compress(body, 9, mtime=0)
        for kind, status, data in (("", 200, body), ("?gzip", 200, packed), ("?304", 304, b"")):
            fields = common if status == 200 else [common[1], common[3], common[5]]
            length = [(b"content-length", b"%d" % len(data))] if status == 200 else []
            responses[f"/{path.name}{kind}"] = status, [*fields, *length], data

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path, query = scope["path"], scope["query_string"]
        if path.endswith(".bin"):
            return await send_file(scope, send)
        status, headers, body = responses[path + "?" + query.decode() if query else path]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def send_file(scope: Any, send: Any) -> None:
        path = FOLDER / scope["path"][1:]
        start, size = 0, path.stat().st_size
        for name, value in scope["headers"]:
            if name == b"range":
                first, _, last = value.removeprefix(b"bytes=").partition(b"-")
                start, size = int(first), int(last) + 1 - int(first)
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 206 if start else 200, "headers": headers})
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while size:
                data = file.read(min(PIECE, size))
                size -= len(data)
                await send({"type": "http.response.body", "body": data, "more_body": size > 0})

    return app


def make_asgineer(routed: bool = False) -> Any:
    import asgineer
    from asgineer.utils import make_asset_handler, send_file

    assets = make_asset_handler({path.name: path.read_bytes() for path in FOLDER.glob("*.js")})

    @asgineer.to_asgi
    async def by_parts(request: asgineer.HttpRequest) -> Any:
        match request.verb, *request.parts:
            case "GET", name if name.endswith(".bin"):
                return await send_file(request, name, root=FOLDER)
            case "GET", *names:
                return await assets(request, names)
        raise asgineer.HTTPError(404)

    return by_parts if routed else asgineer.to_asgi(assets)


def make_starlette() -> Any:
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.staticfiles import StaticFiles

    plain = StaticFiles(directory=FOLDER)
    packed = GZipMiddleware(plain)  # as its documentation has it; only asked where gzip is

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await (packed if scope["query_string"] == b"gzip" else plain)(scope, receive, send)

    return app


def make_servestatic() -> Any:
    from servestatic import ServeStaticASGI  # type: ignore[import-not-found]  # in its own environment

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError(scope["path"])

    return ServeStaticASGI(nothing, root=str(FOLDER), max_age=0)


MAKERS = {
    "raw": make_raw,
    "asgineer": make_asgineer,
    "by parts": lambda: make_asgineer(routed=True),
    "starlette": make_starlette,
    "servestatic": make_servestatic,
}


def serve_with_aiohttp(port: int) -> None:
    """Serve the folder by aiohttp's own server, which is no ASGI."""
    import uvloop
    from aiohttp import web  # type: ignore[import-not-found]  # in its own environment

    uvloop.install()
    app = web.Application()
    app.router.add_static("/", FOLDER)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    serve_with_aiohttp(int(sys.argv[1]))
elif "ASSETS_APP" in os.environ:
    app = MAKERS[os.environ["ASSETS_APP"]]()
