"""Pages of the app that bad input is sent to: assets from memory, and files on a disk.

The folder that they serve is made in the server's own folder for temporary files. It has
what is for clients, what isn't, and ways out of it.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgineer.utils import make_asset_handler, send_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgineer import HttpRequest
    from asgineer.utils import AssetHandler

DIGITS = b"0123456789"
PROSE = b"All work and no play. " * 100
OLD, NEW = b"old " * 300_000, b"new " * 300_000  # more than is read at once
LONG_AGO = 1_600_000_000  # Sun, 13 Sep 2020 12:26:40 GMT


@functools.cache
def folder() -> Path:
    """Return the folder that is served; `secret` and `static-secret` lie beside it."""
    outside = Path(tempfile.mkdtemp(prefix="files-"))
    root = outside / "static"
    for name, body in {
        "static/digits.txt": DIGITS,
        "static/page.html": PROSE,
        "static/empty.txt": b"",
        "static/sub/index.html": PROSE,
        "static/.env": b"secret",
        "static/.git/config": b"secret",
        "static-secret/key": b"secret",
        "secret": b"secret",
    }.items():
        path = outside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, (LONG_AGO, LONG_AGO))
    return root


@functools.cache
def assets() -> AssetHandler:
    handler = make_asset_handler(folder())  # before there are links out of it, which it refuses
    root = folder()
    (root / "out").symlink_to("../secret")
    (root / "outside").symlink_to("../static-secret")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "device").symlink_to("/dev/zero")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    return handler


def prepare() -> None:
    """Make all of it, before anybody looks at what a request leaves behind."""
    assets()
    folder()


async def site(request: HttpRequest) -> Any:
    return await assets()(request, request.parts[1:])


async def whole_site(request: HttpRequest) -> Any:
    """The same by a path as it is, slashes and all."""
    return await assets()(request, request.path.removeprefix("/whole-site/"))


async def disk(request: HttpRequest) -> Any:
    return await send_file(request, request.parts[1:], root=folder())


async def whole_disk(request: HttpRequest) -> Any:
    return await send_file(request, request.path.removeprefix("/whole-disk/"), root=folder())


def truncate(path: Path) -> None:
    os.truncate(path, len(OLD) // 2)


def overwrite(path: Path) -> None:
    path.write_bytes(NEW)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(NEW)


def replace(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(NEW)
    new.replace(path)


def delete(path: Path) -> None:
    path.unlink()


def remove_folder(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()


CHANGES: dict[str, Callable[[Path], None]] = {
    change.__name__: change for change in (truncate, overwrite, grow, replace, delete, remove_folder)
}


async def changing(request: HttpRequest) -> Any:
    """Answer with a file that changes once the answer is made (`…/now`), or with the next one (`…/next`)."""
    _, how, which = request.parts
    path = folder() / f"changing-{request.id}" / "file.bin"
    await asyncio.to_thread(_write_old, path)
    try:
        response = await send_file(request, path)
        await asyncio.to_thread(CHANGES[how], path)
        if which == "now":
            return response
        _, before, stream = response
        await stream.aclose()
        status, headers, body = await send_file(request, path)
        return status, {**headers, "x-tag-before": before["etag"]}, body
    finally:
        await asyncio.to_thread(_remove, path)


def _write_old(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(OLD)
    os.utime(path, (LONG_AGO, LONG_AGO))


def _remove(path: Path) -> None:
    """Remove what is left, which an open file outlives."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        path.parent.rmdir()
