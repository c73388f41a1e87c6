"""A folder on disk → what is in it, for an asset set; read at start, whole, by whoever waits for it.

Hidden files and folders are left out, and so is what is no regular file. A symbolic link is
followed inside the folder and is an error when it leads out of it: what lies elsewhere is
published by nobody's mistake. What becomes of the bytes is `_assets`' work.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Found(NamedTuple):
    """A file of a folder: what tells one state of it from another, without reading it."""

    path: str
    size: int
    mtime_ns: int
    inode: int


def scan_folder(folder: str) -> dict[str, Found]:
    """Return the files below `folder` by their names, with "/" between the parts, in their order.

    Raises:
        OSError: it is no folder, or can't be read.
        ValueError: a symbolic link leads out of it, or in a circle.
    """
    root = os.path.realpath(folder)
    return dict(sorted(_scan(root, root, "", (root,))))


def _scan(root: str, folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, Found]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = _real_path(root, entry.path) if entry.is_symlink() else entry.path
            try:
                status = os.stat(path)
            except FileNotFoundError:  # a link to nothing, or deleted meanwhile
                continue
            name = prefix + entry.name
            if stat.S_ISREG(status.st_mode):
                yield name, Found(path, status.st_size, status.st_mtime_ns, status.st_ino)
            elif stat.S_ISDIR(status.st_mode):
                if path in above:
                    raise ValueError(f"The link {entry.path!r} leads to a folder that it is in")
                yield from _scan(root, path, name + "/", (*above, path))


def _real_path(root: str, link: str) -> str:
    path = os.path.realpath(link)
    if os.path.commonpath((root, path)) != root:
        raise ValueError(f"The link {link!r} leads out of the folder {root!r}")
    return path


def read_file(found: Found) -> bytes:
    """Return the bytes of a file that a scan found."""
    with open(found.path, "rb") as file:
        return file.read()
