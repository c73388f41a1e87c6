"""The parts of a multipart form as they come in, without anything being kept.

The glue between the pieces of a request body, the decoder of `_multipart` and the files of
`_uploads`. It is given the headers, an iterator over the body that has a limit of its own, and
`refuse`, which raises BodyTooLarge so that no handler can turn it into a success. What a
whole form is belongs to `_forms`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._limits import UNSET, Unset
from ._uploads import CHUNK, DISK_CHUNK, save
from .errors import BadRequest, UnsupportedMediaType, UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
    from typing import NoReturn, TypeAlias

    from ._headers import Headers
    from ._limits import Limits
    from ._multipart import MultipartDecoder, PartHead
    from ._uploads import Progress

    Refuse: TypeAlias = Callable[[str], NoReturn]

__all__ = ["Part"]

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
FIELD_TOO_LARGE = "Form field too large"


class Part:
    """A part of a form that is read as it comes in, once.

    Attributes:
        name: of the field.
        filename: None for a field; else as `UploadFile.filename` has it.
        content_type: the media type that the client named, in lower case, without parameters.
    """

    def __init__(self, parts: Parts, head: PartHead) -> None:
        self.name = head.name
        self.filename = head.filename
        self.content_type = head.content_type
        self._parts = parts
        self._consumed = False

    def __repr__(self) -> str:
        return f"<Part {self.name!r}{'' if self.filename is None else f' file {self.filename!r}'}>"

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the data in chunks of 64 KiB or more; only the last may be smaller.

        Raises:
            UsageError: it was read already, or skipped.
            BadRequest, BodyTooLarge, RequestTimeout, DisconnectedError: see `iter_form`.
        """
        return self._read_chunks(CHUNK)

    async def read(self, limit: int | None | Unset = UNSET) -> bytes:
        """Return all of the data.

        Args:
            limit: bytes, None for no limit; left out, it is `Limits.form_field` (1 MiB).

        Raises:
            BodyTooLarge: over the limit.
            UsageError, BadRequest, RequestTimeout, DisconnectedError: as for iteration.
        """
        if isinstance(limit, Unset):
            limit = self._parts.limits.form_field
        chunks = []
        size = 0
        async for chunk in self._read_chunks(1):
            size += len(chunk)
            if limit is not None and size > limit:
                self._parts.refuse(FIELD_TOO_LARGE if self.filename is None else "File too large")
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def save(self, path: str | os.PathLike[str], on_progress: Progress | None = None) -> None:
        """Write the data to `path`; a file that is there is replaced.

        It is written aside in the same folder, by a thread, and renamed when it is whole. If the
        client leaves, or anything goes wrong, nothing is left of it.

        Args:
            path: made of what you know; of `filename` only if any name will do.
            on_progress: called with the bytes that are written, after every 256 KiB or so; may be
                a coroutine function.

        Raises:
            OSError: the disk is full, the folder isn't there, …
            UsageError, BadRequest, RequestTimeout, DisconnectedError: as for iteration.
        """
        await save(self._read_chunks(DISK_CHUNK), path, on_progress)

    async def _read_chunks(self, least: int) -> AsyncIterator[bytes]:
        """Iterate in chunks of at least that many bytes; each byte is copied at most once."""
        if self._consumed:
            raise UsageError("This part was already read")
        self._consumed = True
        chunks = []
        size = 0
        while (chunk := await self._parts.next_chunk(self)) is not None:
            chunks.append(chunk)
            size += len(chunk)
            if size >= least:
                yield chunks[0] if len(chunks) == 1 else b"".join(chunks)
                chunks = []
                size = 0
        if chunks:
            yield b"".join(chunks)


class Parts:
    """The parts of a multipart body in their order; what `iter_form` returns."""

    def __init__(
        self, decoder: MultipartDecoder, body: AsyncGenerator[bytes], limits: Limits, refuse: Refuse
    ) -> None:
        self.limits = limits
        self.refuse = refuse
        self._decoder = decoder
        self._body = body
        self._events: Iterator[PartHead | bytes | None] = iter(())
        self._part: Part | None = None  # the one whose end did not come yet
        self._error: Exception | None = None
        self._ended = False

    def __aiter__(self) -> Parts:
        return self

    async def __anext__(self) -> Part:
        """Return the next part; what is left of the one before is skipped."""
        while self._part is not None:
            await self.next_chunk(self._part)
        head = None if self._ended else await self._next_event()
        if head is None or isinstance(head, bytes):  # never bytes: they come after a head
            self._ended = True
            raise StopAsyncIteration
        self._part = Part(self, head)
        return self._part

    async def next_chunk(self, part: Part) -> bytes | None:
        """Return the next piece of the data of `part`, None at its end."""
        if self._part is not part:
            raise UsageError("This part was skipped: the next one was asked for")
        event = await self._next_event()
        if isinstance(event, bytes):
            return event
        self._part = None
        return None

    async def _next_event(self) -> PartHead | bytes | None:
        """Return what comes next; None is the end of a part, or of the form.

        An error stays: who catches it and goes on must not find a form that ends well.
        """
        if self._error is not None:
            raise self._error
        try:
            while True:
                for event in self._events:
                    return event
                chunk = await anext(self._body, None)
                if chunk is None:
                    self._decoder.finish()
                    return None
                self._events = self._decoder.feed(chunk)
        except BaseException as error:
            interrupted = UsageError("Reading this form was interrupted")  # the body can't go on either
            self._error = error if isinstance(error, Exception) else interrupted
            raise


def open_parts(headers: Headers, body: AsyncGenerator[bytes], limits: Limits, refuse: Refuse) -> Parts:
    """Return the parts of a multipart form, to be read as they come.

    Raises:
        UnsupportedMediaType: it is no such form.
        BadRequest: its boundary is flawed.
    """
    from ._multipart import BAD_BOUNDARY, MultipartDecoder, parse_boundary, parse_parameters

    if media_type_of(headers) != MULTIPART:
        raise UnsupportedMediaType("The body is not a form that is sent in parts (multipart/form-data)")
    _, parameters = parse_parameters(headers["content-type"], BAD_BOUNDARY)
    return Parts(MultipartDecoder(parse_boundary(parameters), limits, refuse), body, limits, refuse)


def media_type_of(headers: Headers) -> str:
    """Return which of the two kinds of form the body says it is."""
    if len(headers.getlist("content-type")) > 1:
        raise BadRequest("More than one Content-Type header")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Encoded request bodies are not supported")
    media_type = headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
    if media_type not in (URLENCODED, MULTIPART):
        raise UnsupportedMediaType("The body is not a form")
    return media_type
