"""The app that judges and caches look at: one folder, served from memory and from its disk."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import asgineer
from asgineer.utils import make_asset_handler, send_file

if TYPE_CHECKING:
    from pathlib import Path

    from asgineer import HttpRequest

PROSE = "All work and no play makes Jack a dull boy. " * 200
PAGE = f"<!doctype html><html lang=en><title>Work</title><p>{PROSE}"
FILES = {
    "page.html": PAGE.encode(),
    "main.js": b"let x = 1;\n" * 1000,
    "photo.png": b"\x89PNG\r\n\x1a\n" + b"".join(hashlib.sha256(bytes([n])).digest() for n in range(256)),
    "large.bin": bytes(range(256)) * 4096,
}
LONG_AGO = 1_600_000_000


def make_app(folder: Path) -> Any:
    """Write the files to `folder`, and return the app that serves them."""
    for name, body in FILES.items():
        (folder / name).write_bytes(body)
        os.utime(folder / name, (LONG_AGO, LONG_AGO))
    assets = make_asset_handler(folder, max_age=60)

    async def main(request: HttpRequest) -> Any:
        match request.parts:
            case "assets", *name:
                return await assets(request, name)
            case "disk", *name:
                return await send_file(request, name, root=folder, max_age=60)
            case ("hashed", name):
                return assets.url(name)
        raise asgineer.HTTPError(404)

    return asgineer.to_asgi(main)
