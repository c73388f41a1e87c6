"""multipart/form-data (RFC 7578): pieces of a body in, heads and data of its parts out. Pure.

The scan for boundaries is the `multipart` library's push parser, in its strict mode. Ours is
what it leaves open: the preamble, which it reads differently in other pieces, the epilogue,
which strict mode refuses, the head of a part, where two readings of one name are a way
around somebody's check, and the limits, which hold while parsing. Text is UTF-8, whatever a
charset says; `filename*` and `name*` are ignored, as RFC 7578 section 4.2 asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multipart import (  # type: ignore[import-untyped]  # it has annotations, but no py.typed
    MultipartError,
    PushMultipartParser,
    StrictParserError,
    content_disposition_unquote,
)

from .errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from ._limits import Limits

MAX_PART_HEADERS = 16  # RFC 7578 knows three
MAX_PART_HEADER_BYTES = 8192  # of all headers of a part, with ": " and the line end of each
MAX_FILENAME = 255  # bytes, what file systems allow

MALFORMED = "Malformed multipart body"
TRUNCATED = "Truncated multipart body"
BAD_BOUNDARY = "Bad multipart boundary"
BAD_HEAD = "Malformed header in a multipart body"

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")  # RFC 2046 section 5.1.1
_PARAMETER = re.compile(
    r";[ \t]*(?:(?P<name>[^\s=;\"]+)[ \t]*=[ \t]*"
    # A text in quotes; one that ends with a backslash, as browsers send a name like that; a token.
    r"(?:(?P<quoted>\"(?:[^\"\\]|\\.)*\")|(?P<verbatim>\"[^\"]*\")|(?P<token>[^\s;\"]*))[ \t]*)?"
)
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+\-]+/[a-z0-9!#$&^_.+\-]+")
# What makes a name show as another one: controls, line ends, marks that turn the direction of writing.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class PartHead:
    """What stands before the data of a part; `filename` is None for a field, "" for a file without a name."""

    name: str
    filename: str | None
    content_type: str


class MultipartDecoder:
    """The decoder of one body: `feed` it the pieces, then `finish`.

    An error ends it. What it keeps between two pieces is less than 8 KiB.

    Args:
        boundary: see `parse_boundary`.
        limits: how many fields and files there may be.
        refuse: called with a text when there are more; raises.
    """

    def __init__(self, boundary: bytes, limits: Limits, refuse: Callable[[str], NoReturn]) -> None:
        self._delimiter = b"\r\n--" + boundary
        # The preamble's end that could begin the delimiter; None after it. A line end stands before
        # the body, so to say: the first delimiter then looks like all others.
        self._preamble: bytes | None = b"\r\n"
        self._parser = PushMultipartParser(
            boundary, max_header_size=MAX_PART_HEADER_BYTES, max_header_count=MAX_PART_HEADERS, strict=True
        )
        self._complete = False
        self._fields_left = limits.form_fields
        self._files_left = limits.form_files
        self._refuse = refuse

    def feed(self, data: bytes) -> Iterator[PartHead | bytes | None]:
        """Yield what `data` brings: the head of a part, pieces of its data, None at its end.

        To be iterated to the end before the next call.

        Raises:
            BadRequest: it is no multipart/form-data.
        """
        if self._preamble is not None:
            data = self._skip_preamble(data)
        if self._complete or not data:
            return  # the epilogue is nobody's
        try:
            for event in self._parser.parse(data):
                yield event if event is None or isinstance(event, bytes) else self._head(event.headerlist)
        except StrictParserError:
            self._check_end(MALFORMED)
        except MultipartError:
            raise BadRequest(MALFORMED) from None

    def finish(self) -> None:
        """Check that the body was whole.

        Raises:
            BadRequest: the last boundary is missing.
        """
        self._check_end(TRUNCATED)

    def _skip_preamble(self, data: bytes) -> bytes:
        """Return `data` from the first delimiter on, b"" while there is none."""
        if self._preamble == b"\r\n" and data.startswith(self._delimiter[2:]):
            self._preamble = None
            return data  # nearly every form has none: no copy
        data = (self._preamble or b"") + data
        start = data.find(self._delimiter[2:])
        if start < 0:
            self._preamble = data[1 - len(self._delimiter) :]
            return b""
        if not data.startswith(self._delimiter, start - 2):  # or all parts up to the next would be lost
            raise BadRequest(MALFORMED)
        self._preamble = None
        return data[start:]

    def _check_end(self, text: str) -> None:
        """Raise BadRequest, unless the last boundary was there; closing the parser tells."""
        try:
            self._parser.close()
        except MultipartError:
            raise BadRequest(text) from None
        self._complete = True

    def _head(self, headers: list[tuple[str, str]]) -> PartHead:
        head = read_head(headers)
        if head.filename is None:
            if self._fields_left is not None:
                self._fields_left -= 1
                if self._fields_left < 0:
                    self._refuse("Too many form fields")
        elif self._files_left is not None:
            self._files_left -= 1
            if self._files_left < 0:
                self._refuse("Too many files")
        return head


def read_head(headers: list[tuple[str, str]]) -> PartHead:
    """Return what the headers of a part say.

    Raises:
        BadRequest: they are too large, one is there twice, or they don't say what the part is.
    """
    size = sum([len(name) + len(value.encode()) + 4 for name, value in headers])
    found = {name.lower(): value for name, value in headers}
    if size > MAX_PART_HEADER_BYTES or len(found) != len(headers):
        raise BadRequest(BAD_HEAD)
    if any("\r" in value or "\n" in value for value in found.values()):
        raise BadRequest(BAD_HEAD)
    disposition, parameters = parse_parameters(found.get("content-disposition", ""), BAD_HEAD)
    if disposition != "form-data" or "name" not in parameters:
        raise BadRequest(BAD_HEAD)
    filename = parameters.get("filename")
    content_type = found.get("content-type", "").partition(";")[0].strip(" \t").lower()
    if filename is None:
        if content_type.startswith("multipart/"):  # obsolete (RFC 7578 section 4.3), and a way to hide parts
            raise BadRequest("Nested multipart is not supported")
        default = "text/plain"
    else:
        filename = clean_filename(filename)
        default = "application/octet-stream"
    if not _MEDIA_TYPE.fullmatch(content_type):
        content_type = default
    return PartHead(parameters["name"], filename, content_type)


def parse_parameters(value: str, error: str) -> tuple[str, dict[str, str]]:
    """Return the first word of a header value, in lower case, and its parameters by name in lower case.

    Raises:
        BadRequest: with the text `error`, when they can't be read, or read in two ways.
    """
    end = value.find(";")
    word, place = (value, len(value)) if end < 0 else (value[:end], end)
    parameters: dict[str, str] = {}
    while place < len(value):
        match = _PARAMETER.match(value, place)
        if match is None or match["name"] and match["name"].lower() in parameters:
            raise BadRequest(error)
        if match["name"]:
            text: str = match["quoted"] or match["verbatim"] or match["token"]
            parameters[match["name"].lower()] = content_disposition_unquote(text)
        place = match.end()
    return word.strip(" \t").lower(), parameters


def parse_boundary(parameters: dict[str, str]) -> bytes:
    """Return the boundary that the parameters of a content type name.

    Raises:
        BadRequest: there is none, or none that RFC 2046 section 5.1.1 allows: 1 to 70 characters.
    """
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadRequest(BAD_BOUNDARY)
    return boundary.encode("ascii")


def clean_filename(filename: str) -> str:
    """Return the last part of a path of any system, as it can be shown; "" where nothing is left.

    Still a text of the client's: it may be the name of a file that is there already.
    """
    name = _UNSHOWN.sub("", filename.replace("\\", "/").rpartition("/")[2]).strip()
    if name in (".", ".."):
        return ""
    if len(name.encode()) <= MAX_FILENAME:
        return name
    stem, dot, extension = name.rpartition(".")
    ending = dot + extension if stem and len(extension.encode()) <= 16 else ""
    room = MAX_FILENAME - len(ending.encode())
    return (name.encode()[:room].decode("utf-8", "ignore") + ending).rstrip()
