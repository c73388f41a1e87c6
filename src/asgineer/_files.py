"""send_file: a file on a disk as a response, whatever its size.

What may wait for the disk runs in threads. A small file is one turn of a thread, and its
response has all of it. Of a large one the kernel is asked for the next piece, if it has it in
memory (Linux, `RWF_NOWAIT`), since that costs a quarter of a turn; where it hasn't, a thread
reads it, and from then on one piece ahead. So two pieces are in memory.

What is sent is one state of the file: it stays open, so one that replaces it is for the next
request; one that is written into breaks off. What headers mean is the work of `_conditional`
and `_ranges`, where a path leads that of `_beneath`.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ._beneath import NotThere, check_segments, open_beneath, open_regular
from ._conditional import NOT_MODIFIED, PRECONDITION_FAILED, check_preconditions, format_http_date
from ._mediatypes import SVGZ, guess_media_type, with_charset
from ._ranges import Range, RangeNotSatisfiable, content_range, select_range
from .errors import HTTPError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._http import HttpRequest

    Opener = Callable[[], int]
    Path = str | os.PathLike[str]
    FileResponse = tuple[int, dict[str, str | list[str]], Any]

CHUNK = (
    256 * 1024
)  # bytes that a thread reads in one turn, which costs about 50 µs; and the largest small file
IN_304 = ("cache-control", "etag")
NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
TRIES = 3  # to read a file that is being written to, before its response has begun

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f/\\\ud800-\udfff]"
)  # and what separates folders, which a name has none of
_NOT_PLAIN = re.compile(
    r"[^ !#$&'()+,\-.0-9;=@A-Z\[\]^_`a-z{}~]"
)  # what some browser reads otherwise in quotes


async def send_file(
    request: HttpRequest,
    path: Path | Sequence[str],
    *,
    root: Path | None = None,
    content_type: str | None = None,
    attachment: str | None = None,
    max_age: int = 0,
) -> FileResponse:
    """Return a response with the file at `path`, to be returned from the handler.

        return await utils.send_file(request, name, root="/srv/uploads")

    For files of any size, which are read as fast as the client takes them; memory holds two
    pieces of 256 KiB. One range is a 206, several are the whole, one outside the file a 416;
    If-None-Match, If-Match, both dates and If-Range are kept to, with a strong ETag made of
    device, inode, time of change and size, so it differs from machine to machine. A file that is
    replaced by a rename is sent as it was; one that is written into while it is sent breaks the
    connection off, so that no client takes a mixture for the file. Changes within one tick
    of the file system's clock (1 to 4 ms on Linux) can't be told apart.

    Args:
        path: with `root`, what a client may have given: a path relative to it, or the segments of one, as
            `*name` of a `match` on `request.parts` gives them. Hidden files, links that lead out
            of it and whatever isn't a regular file are not there. Without `root` a path of your own.
        root: the folder that `path` can't leave.
        content_type: left out, it comes from the end of the name; text is taken for UTF-8.
        attachment: the name to save it under, in any language: browsers then offer to save it.
            Otherwise it is shown, with the rights of a page of this site if it is HTML or SVG: don't do
            that with what others have uploaded.
        max_age: seconds for which a cache may use it without asking again.

    Raises:
        HTTPError: 404, there is no such file or it can't be read; 412; 416.
        OSError: `root` isn't a folder, or the disk fails.
        RuntimeError: somebody keeps writing into the file.
        TypeError: segments without `root`, or something of another type.
    """
    if root is not None:
        opener = _opener_beneath(root, path)
    elif isinstance(path, (str, os.PathLike)):
        opener = partial(open_regular, os.fspath(path))
    else:
        raise TypeError(f"Segments of a path need a root=…, got {type(path).__name__} without it")
    headers = _headers_of(path, content_type, attachment, max_age)
    asked = request.headers if request.method in ("GET", "HEAD") else {}
    try:
        return await asyncio.to_thread(_respond, opener, request.method, asked, headers)
    except NotThere:
        raise HTTPError(404) from None


def _opener_beneath(root: Path, path: Path | Sequence[str]) -> Opener:
    try:
        return partial(open_beneath, os.fspath(root), check_segments(path))
    except NotThere:
        raise HTTPError(404) from None


def _headers_of(
    path: Path | Sequence[str], content_type: str | None, attachment: str | None, max_age: int
) -> dict[str, str]:
    """Return the headers that don't depend on the state of the file."""
    if not isinstance(max_age, int) or isinstance(max_age, bool) or max_age < 0:
        raise TypeError(f"max_age must be an int that is not negative, not {max_age!r}")
    last = path if isinstance(path, str) else os.fspath(path) if isinstance(path, os.PathLike) else path[-1]
    media_type = guess_media_type(last.rpartition("/")[2]) or "application/octet-stream"
    headers = {
        "content-type": content_type or with_charset(media_type, True),
        "cache-control": f"max-age={max_age}, must-revalidate" if max_age else "no-cache",
        "accept-ranges": "bytes",
    }
    if content_type is None and last.lower().endswith(SVGZ):
        headers["content-encoding"] = "gzip"
    if attachment is not None:
        headers["content-disposition"] = _offer_to_save(attachment)
    return headers


def _offer_to_save(name: str) -> str:
    """Return the Content-Disposition that saves a file as `name`: RFC 6266, beyond ASCII by RFC 8187.

    A plain stand-in is there too, for clients that don't know the second form.
    """
    if not isinstance(name, str):
        raise TypeError(f"attachment must be a str, not {type(name).__name__}")
    name = _CONTROL.sub("_", name)
    if not name:
        return "attachment"
    plain = _NOT_PLAIN.sub("_", name)
    value = f'attachment; filename="{plain}"'
    if plain != name:
        value += f"; filename*=UTF-8''{quote(name, safe='!#$&+-.^_`|~')}"
    return value


# In threads


class OpenFile:
    """A regular file that is open, in the one state that it is sent in; its methods are for any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._is_open = True
        status = os.fstat(descriptor)
        self._state = status.st_mtime_ns, status.st_size
        self.size = status.st_size
        # Never later than now, RFC 9110 section 8.8.2.1.
        self.modified = max(0, min(int(status.st_mtime), int(time.time())))
        import hashlib  # not with `import asgineer`, which costs milliseconds as it is

        state = f"{status.st_dev} {status.st_ino} {status.st_mtime_ns} {status.st_size}"
        self.etag = f'"{hashlib.sha256(state.encode()).hexdigest()[:32]}"'

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop`.

        Raises:
            FileChanged: somebody wrote into it since it was opened.
        """
        with self._lock:
            if not self._is_open:
                return b""
            data = os.pread(self._descriptor, stop - start, start)
            self._check(os.fstat(self._descriptor))
        return data

    def read_at_once(self, start: int, buffer: bytearray, size: int) -> bytes | None:
        """Return `size` bytes from `start` if the kernel has them in memory, else None, without any wait.

        Raises:
            FileChanged: as `read`.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            view = memoryview(buffer)[:size]
            if not self._is_open or os.preadv(self._descriptor, [view], start, NOWAIT) != size:
                return None
            self._check(os.fstat(self._descriptor))
            return bytes(view)
        except OSError:  # not in memory, or a file system that can't tell
            return None
        finally:
            self._lock.release()

    def _check(self, status: os.stat_result) -> None:
        if (status.st_mtime_ns, status.st_size) != self._state:
            raise FileChanged("The file changed while it was sent")

    def close(self) -> None:
        """Close it; waits for a thread that reads."""
        with self._lock:
            if self._is_open:
                self._is_open = False
                os.close(self._descriptor)

    def close_soon(self) -> None:
        """Close it, without waiting in the event loop for a thread that reads from a slow disk."""
        if self._lock.locked():
            try:
                asyncio.get_running_loop().run_in_executor(None, self.close)
                return
            except RuntimeError:  # the event loop, or its threads, have ended
                pass
        self.close()

    def __del__(self) -> None:
        if self._is_open:  # a response that nobody sent
            os.close(self._descriptor)


class FileChanged(RuntimeError):
    """Somebody writes into a file that is being sent."""


def _respond(
    opener: Opener, method: str, asked: Mapping[str, str], headers: dict[str, str], tries: int = TRIES
) -> FileResponse:
    """Return the response for the file as it is now; tried again when it changes meanwhile."""
    file = OpenFile(opener())
    try:
        status, more, part = _decide(file, method, asked)
        headers_now: dict[str, str | list[str]] = {**headers, **more}
        if part is not None:
            return status, headers_now, _body(file, method, *part)
        file.close()
        return status, {name: headers_now[name] for name in IN_304}, b""
    except BaseException as error:
        file.close()
        if not isinstance(error, FileChanged) or tries <= 1:
            raise
    return _respond(opener, method, asked, headers, tries - 1)


def _decide(
    file: OpenFile, method: str, asked: Mapping[str, str]
) -> tuple[int, dict[str, str], Range | None]:
    """Return the status, the headers of this state of the file, and which part is sent; None for a 304.

    Raises:
        HTTPError: 412 or 416.
    """
    now = time.time()
    outcome = check_preconditions(asked, file.etag, file.modified, now)
    if outcome == PRECONDITION_FAILED:
        raise HTTPError(412)
    headers = {"etag": file.etag, "last-modified": format_http_date(file.modified)}
    if outcome == NOT_MODIFIED:
        return 304, headers, None
    try:
        part = select_range(method, asked, file.size, file.etag, file.modified, now)
    except RangeNotSatisfiable as error:
        raise HTTPError(
            416, "Range Not Satisfiable", headers={"content-range": error.content_range}
        ) from None
    if part is None:
        return 200, headers | {"content-length": str(file.size)}, Range(0, file.size)
    headers["content-range"] = content_range(part, file.size)
    return 206, headers | {"content-length": str(part.stop - part.start)}, part


def _body(file: OpenFile, method: str, start: int, stop: int) -> bytes | FileStream:
    """Return the bytes themselves where they are few, else a stream whose first piece was read."""
    if method == "HEAD":
        file.close()
        return b""
    first = file.read(start, min(stop, start + CHUNK))
    if stop - start > CHUNK:
        return FileStream(file, first, start, stop)
    file.close()
    return first


# In the event loop


class FileStream:
    """Part of a file as a response body: an async iterator."""

    def __init__(self, file: OpenFile, first: bytes, start: int, stop: int) -> None:
        self._file = file
        self._first: bytes | None = first
        self._position = start + len(first)
        self._stop = stop
        self._buffer = bytearray(CHUNK)
        self._ahead: asyncio.Future[bytes] | None = None  # what a thread reads

    def __aiter__(self) -> FileStream:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            data, self._first = self._first, None
            return data
        if self._ahead is None:
            size = min(CHUNK, self._stop - self._position)
            if size == 0:
                raise StopAsyncIteration
            at_once = self._file.read_at_once(self._position, self._buffer, size) if NOWAIT else None
            if at_once is not None:
                self._position += size
                return at_once
            self._ahead = self._read_ahead()
        data = await self._ahead
        self._ahead = self._read_ahead() if self._position < self._stop else None
        return data

    def _read_ahead(self) -> asyncio.Future[bytes]:
        start = self._position
        self._position = min(self._stop, start + CHUNK)
        return asyncio.get_running_loop().run_in_executor(None, self._file.read, start, self._position)

    async def aclose(self) -> None:
        """Let go of the file, also when nothing was read."""
        if self._ahead is not None and not self._ahead.cancel() and not self._ahead.cancelled():
            self._ahead.exception()  # seen, if there was one
        self._ahead = self._first = None
        self._position = self._stop
        self._file.close_soon()
