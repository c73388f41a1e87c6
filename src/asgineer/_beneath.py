"""A path that a client gave → an open file below a root, or nothing: rules R20 and R21.

A name is looked at before the disk is: what could mean another place on some system is
refused. Then each folder is opened inside the one before it, and no symbolic link is followed
by the system: where one leads is read, and walked from here in the same way. So nothing
outside the root is ever opened, not even asked for, whoever swaps folders meanwhile. For
threads; nothing here knows a request.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LINKS = 40  # on one way, as Linux has it
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_FILE = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
)  # opening a pipe would wait for its other end

# Controls; what separates folders or drives somewhere; what no UTF-8 stands for.
_BAD_SIGN = re.compile(r"[\x00-\x1f\x7f-\x9f/\\:\ud800-\udfff]")
_NOT_THERE = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
        *(errno.EACCES, errno.EPERM, errno.ENXIO, errno.ENODEV),
    }
)


class NotThere(Exception):
    """There is no such file, or none that may be read; which of them is nobody's business."""


def check_segments(path: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    """Return the segments of a path below a root.

    Raises:
        NotThere: it is absolute or empty, or some segment is empty, hidden (begins with a dot), or has
            a slash, backslash, colon or control character in it.
    """
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    segments = path.split("/") if isinstance(path, str) else list(path)
    if not segments or any(not name or name[0] == "." or _BAD_SIGN.search(name) for name in segments):
        raise NotThere
    return segments


def open_beneath(root: str, segments: Sequence[str]) -> int:
    """Return a descriptor of the regular file at `segments` below `root`.

    Links are followed as long as they stay below the root.

    Raises:
        NotThere: there is no such file, or it may not be read.
        OSError: the root isn't a folder, or the disk fails.
    """
    folders = [os.open(root, os.O_DIRECTORY | os.O_CLOEXEC | os.O_RDONLY)]
    try:
        return _walk(root, folders, list(segments))
    except OSError as error:
        raise _translated(error) from None
    finally:
        for folder in folders:
            os.close(folder)


def _walk(root: str, folders: list[int], ahead: list[str]) -> int:
    """Go `ahead` from the last one of the opened `folders`, the first of which is the root."""
    links = 0
    while ahead:
        name = ahead.pop(0)
        if name == "..":  # of a link; a path has none
            _leave(folders)
        elif (target := _read_link(name, folders[-1])) is not None:
            links += 1
            if links > MAX_LINKS:
                raise NotThere
            ahead[:0] = _resolve(root, target, folders)
        elif ahead:
            folders.append(os.open(name, _FOLDER, dir_fd=folders[-1]))
        else:
            return open_regular(name, folders[-1])
    raise NotThere  # a link to a folder


def _leave(folders: list[int]) -> None:
    if len(folders) == 1:
        raise NotThere
    os.close(folders.pop())


def _read_link(name: str, folder: int) -> str | None:
    """Return where the link `name` leads, None where it is no link."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def _resolve(root: str, target: str, folders: list[int]) -> list[str]:
    """Return the segments of a link's target; one that is absolute begins anew at the root, or is refused."""
    if target.startswith("/"):
        inside = os.path.realpath(root).rstrip("/") + "/"
        target += "/"
        if not target.startswith(inside):
            raise NotThere
        while len(folders) > 1:
            _leave(folders)
        target = target[len(inside) :]
    return [name for name in target.split("/") if name not in ("", ".")]


def open_regular(path: str, folder: int | None = None) -> int:
    """Return a descriptor of the regular file `path`, in `folder` where a link isn't followed.

    What is no file is never opened, since opening a device can do something.

    Raises:
        NotThere: there is no such file, or it may not be read.
        OSError: the disk fails, or there are no descriptors left.
    """
    try:
        _check_regular(os.stat(path, dir_fd=folder, follow_symlinks=folder is None))
        file = os.open(path, _FILE if folder is not None else _FILE & ~os.O_NOFOLLOW, dir_fd=folder)
        try:
            _check_regular(os.fstat(file))
        except BaseException:
            os.close(file)
            raise
    except OSError as error:
        raise _translated(error) from None
    return file


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotThere


def _translated(error: OSError) -> Exception:
    """Return NotThere for an error that tells of the file; one that tells of the system stays."""
    return NotThere() if error.errno in _NOT_THERE else error
