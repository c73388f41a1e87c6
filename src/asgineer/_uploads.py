"""Uploaded files, and all that touches a disk for a form: always in a thread, never in the event loop.

A task can be cancelled while a thread still works for it. So each thing that has a file open
(`TemporaryFile`, `FileAside`) has a lock and an end: what comes to it after its end is an
error, and a thread that opens a file does so before the end or not at all. Nothing is left
open, whatever the order is in which threads get their turn. No parsing in here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import IO, TYPE_CHECKING

from .errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    Progress = Callable[[int], Awaitable[object] | object]

__all__ = ["UploadFile"]

CHUNK = 64 * 1024  # bytes that iteration gives at least, but for the last
DISK_CHUNK = 256 * 1024  # bytes that go to or from a disk in one turn of a thread, which costs about 50 µs
CLOSED = "The file is closed: the handler has ended"


class TemporaryFile:
    """A file without a name, made by the first write; its methods are for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._ended = False

    def write(self, *chunks: bytes) -> None:
        with self._lock:
            file = self._open()
            for chunk in chunks:
                file.write(chunk)
            file.flush()  # a full disk shows here, not when the file is closed

    def read(self, start: int, size: int) -> bytes:
        with self._lock:
            file = self._open()
            file.seek(start)
            return file.read(size)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            if self._file is not None:
                self._file.close()

    def _open(self) -> IO[bytes]:
        if self._ended:
            raise UsageError(CLOSED)
        if self._file is None:
            import tempfile  # loads much that nobody else needs

            self._file = tempfile.TemporaryFile(prefix="asgineer-")  # noqa: SIM115 (end closes it)
        return self._file


class FileAside:
    """A file that is written beside its place and takes it when it is whole; its methods are for threads.

    It has the rights that any new file gets, not those of a temporary one. What was at its place
    before is replaced.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.abspath(path)
        self._aside = os.path.join(os.path.dirname(self._path), f".{os.urandom(8).hex()}.part")
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._ended = False

    def write(self, chunk: bytes) -> None:
        with self._lock:
            self._open().write(chunk)

    def finish(self) -> None:
        with self._lock:
            self._open().close()
            os.replace(self._aside, self._path)
            self._ended = True

    def discard(self) -> None:
        """Leave nothing; a file that took its place already stays."""
        with self._lock:
            if self._file is not None and not self._ended:
                with contextlib.suppress(OSError):  # a full disk, which is why we are here
                    self._file.close()
                with contextlib.suppress(OSError):
                    os.unlink(self._aside)
            self._ended = True

    def _open(self) -> IO[bytes]:
        if self._ended:
            raise UsageError("The file is not written any more")
        if self._file is None:
            self._file = open(self._aside, "xb")  # noqa: SIM115 (finish and discard close it)
        return self._file


async def save(chunks: AsyncIterator[bytes], path: str | os.PathLike[str], progress: Progress | None) -> None:
    """Write `chunks` aside, and rename the file when it is whole; remove it on any other way out."""
    aside = FileAside(path)
    written = 0
    try:
        async for chunk in chunks:
            await asyncio.to_thread(aside.write, chunk)
            written += len(chunk)
            if progress is not None:
                told = progress(written)
                if told is not None and hasattr(told, "__await__"):
                    await told
        await asyncio.to_thread(aside.finish)
    except BaseException:
        # Shielded: a task that is cancelled again stops waiting for it, but it is done.
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, aside.discard))
        raise


class UploadFile:
    """A file that came with a form. It ends with the handler: what is to stay is saved before.

    Attributes:
        filename: the last part of the path that the client named, without control characters, at
            most 255 bytes; "" where it named none. A text to show, not a path to open.
        content_type: the media type that the client named, in lower case, without parameters.
        size: bytes.
    """

    def __init__(self, filename: str, content_type: str, spool: int | None = None) -> None:
        self.filename = filename
        self.content_type = content_type
        self.size = 0
        self._most = spool  # bytes that are kept in memory before they are written; None: all of them
        self._kept = 0  # bytes of `_chunks`
        self._chunks: list[bytes] = []  # what is in memory, one piece once it is whole
        self._disk: TemporaryFile | None = None
        self._position = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<UploadFile {self.filename!r} {self.size} bytes>"

    async def read(self, n: int = -1) -> bytes:
        """Return the next `n` bytes, all that are left where `n` is negative, b"" at the end.

        Raises:
            UsageError: the handler has ended.
        """
        left = self.size - self._position
        data = await self._read(self._position, left if n < 0 else min(n, left))
        self._position += len(data)
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the whole file from its start, whatever was read before, in chunks of 256 KiB."""
        for start in range(0, self.size, DISK_CHUNK):
            yield await self._read(start, min(DISK_CHUNK, self.size - start))

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole file to `path`, whatever was read before; a file that is there is replaced.

        It is written aside in the same folder and renamed when it is whole, so nobody sees half
        of it. Make the path of what you know; of `filename` only if any name will do.

        Raises:
            UsageError: the handler has ended.
            OSError: the disk is full, the folder isn't there, …; nothing is left then.
        """
        await save(aiter(self), path, None)

    async def _read(self, start: int, size: int) -> bytes:
        if self._closed:
            raise UsageError(CLOSED)
        if self._disk is not None:
            return await asyncio.to_thread(self._disk.read, start, size)
        if len(self._chunks) != 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0][start : start + size]

    def _add(self, chunk: bytes) -> bool:
        """Add a chunk as it came, without a copy; say whether it is time to `_flush`."""
        self.size += len(chunk)
        self._kept += len(chunk)
        self._chunks.append(chunk)
        return self._most is not None and self._kept > self._most

    async def _flush(self) -> None:
        """Write what is in memory to a disk; from now on the rest goes there as well, in large pieces."""
        if self._disk is None:
            self._disk = TemporaryFile()
            self._most = DISK_CHUNK - 1
        chunks, self._chunks = self._chunks, []
        self._kept = 0
        await asyncio.to_thread(self._disk.write, *chunks)

    def _close(self) -> TemporaryFile | None:
        """Let go of what is in memory, and return what a thread is to end."""
        self._closed = True
        self._chunks = []
        return self._disk


def close_files(files: Iterable[UploadFile]) -> None:
    """Close `files`: at once what is in memory, in a thread what is on a disk, where it can take long."""
    on_disk = [disk for file in files if (disk := file._close()) is not None]
    if not on_disk:
        return
    try:
        asyncio.get_running_loop().run_in_executor(None, _end_all, on_disk)
    except RuntimeError:  # the event loop, or its threads, have ended
        _end_all(on_disk)


def _end_all(on_disk: Iterable[TemporaryFile]) -> None:
    for disk in on_disk:
        with contextlib.suppress(OSError):  # the others are ended as well
            disk.end()
