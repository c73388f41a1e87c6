"""Forms: a request body → the fields and files of a form, all of it in memory or in temporary files.

Nothing here knows a request: see `_parts`, which brings the parts of a multipart form one by
one. What one form may hold is bounded twice: each field, and each file in memory, by its own
limit, and all of them together by `TOGETHER` times as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from ._fields import MISSING, check_fields, make_at_once
from ._parts import FIELD_TOO_LARGE, open_parts
from ._uploads import UploadFile, close_files
from .errors import BadRequest, InvalidData

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from typing import TypeAlias

    from ._headers import Headers
    from ._limits import Limits
    from ._parts import Parts, Refuse

    Values: TypeAlias = dict[str, list[str | UploadFile]]

__all__ = ["Form"]

T = TypeVar("T")

TOGETHER = 10  # all fields are at most that many times `Limits.form_field`, files in memory `Limits.spool`
LONG = 65_536  # bytes of an urlencoded form that are decoded in the event loop; more of them take a thread
TOO_MANY_FIELDS = "Too many form fields"
FIELDS_TOO_LARGE = "Form fields too large"


class MissingField(InvalidData, KeyError):
    """422, and what a mapping raises."""

    __str__ = Exception.__str__  # a KeyError shows the text as a repr


class Form(Mapping[str, "str | UploadFile"]):
    """The fields and files of a form by name; of a repeated name the last, as in `querydict`.

    A name that the client left out is its mistake, not yours: `form[name]`, `text` and `file`
    raise an InvalidData (422), which is a KeyError too. Its files end with the handler.
    """

    def __init__(self, values: Values | None = None, pairs: list[tuple[str, str]] | None = None) -> None:
        self._grouped = values
        self._pairs = pairs  # of an urlencoded form, until they are asked for by name

    @property
    def _values(self) -> Values:
        if self._grouped is None:
            self._grouped = {}
            for name, text in self._pairs or ():
                self._grouped.setdefault(name, []).append(text)
        return self._grouped

    def __getitem__(self, name: str) -> str | UploadFile:
        values = self._values.get(name)
        if not values:
            raise MissingField({name: MISSING})
        return values[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Form {', '.join(map(repr, self._values))}>"  # no values: they end up in logs

    def getlist(self, name: str) -> list[str | UploadFile]:
        """Return all that was sent under `name`, in its order; [] where nothing was."""
        return list(self._values.get(name, ()))

    def text(self, name: str, default: str | None = None) -> str:
        """Return the text of a field, `default` where it was not sent.

        Raises:
            InvalidData: 422, it was not sent and there is no default; or it is a file.
        """
        if default is not None and name not in self._values:
            return default
        value = self[name]
        if not isinstance(value, str):
            raise InvalidData({name: "Expected a text, got a file"})
        return value

    def file(self, name: str) -> UploadFile:
        """Return an uploaded file. A file field that was left empty is not sent.

        Raises:
            InvalidData: 422, it was not sent; or it is a text.
        """
        value = self[name]
        if isinstance(value, str):
            raise InvalidData({name: "Expected a file, got a text"})
        return value

    def check(self, type: type[T]) -> tuple[T | None, dict[str, str]]:
        """Make a value of `type`, each field on its own, to show a page again with what is wrong in it.

        Conversion is lax: "3" is an int, a repeated field a list, an empty one a missing one (but for
        a str), "on" is true. A field of type UploadFile takes a file.

        Args:
            type: a dataclass, Struct, TypedDict or NamedTuple class.

        Returns:
            The value and {}; or None and {field: message}, with "" for what concerns the whole.
        """
        if self._pairs is not None:
            made: T | None = make_at_once(dict(self._pairs), type)
            if made is not None:
                return made, {}
        value, errors = check_fields(self._values, type)
        return value, errors

    def close(self) -> None:
        """Close the files; done for you when the handler ends."""
        close_files(
            value for values in self._values.values() for value in values if isinstance(value, UploadFile)
        )


class FieldCount:
    """Counts the fields of an urlencoded form while it comes in, to refuse it once there are too many."""

    __slots__ = ("_limits", "_refuse", "_separators", "_size")

    def __init__(self, limits: Limits, refuse: Refuse) -> None:
        self._limits = limits
        self._refuse = refuse
        self._size = 0
        self._separators = 0

    def add(self, data: bytes) -> None:
        """Count one more piece.

        Raises:
            BodyTooLarge: there are too many fields, or they are too large together.
        """
        limits = self._limits
        self._size += len(data)
        self._separators += data.count(b"&")
        if limits.form_fields is not None and self._separators >= max(limits.form_fields, 1):
            self._refuse(TOO_MANY_FIELDS)
        if limits.form_field is not None and self._size > TOGETHER * limits.form_field:
            self._refuse(FIELDS_TOO_LARGE)


def check_urlencoded(data: bytes, limits: Limits, refuse: Refuse) -> None:
    """Hold a whole urlencoded body to the limits, before anything is made of it.

    Raises:
        BodyTooLarge: it is over one of them.
    """
    most = limits.form_fields
    if most is not None and data.count(b"&") >= most and (most or data.strip(b"&")):
        refuse(TOO_MANY_FIELDS)
    if limits.form_field is not None and len(data) > limits.form_field:
        _check_sizes(data, limits.form_field, refuse)


async def read_multipart(
    headers: Headers, body: AsyncGenerator[bytes], limits: Limits, refuse: Refuse
) -> Form:
    """Read a whole multipart form.

    Raises:
        UnsupportedMediaType: it is no form.
        BadRequest: it can't be read.
    """
    values: Values = {}
    form = Form(values)
    try:
        await _read_multipart(values, open_parts(headers, body, limits, refuse))
    except BaseException:
        form.close()
        raise
    finally:
        await body.aclose()
    return form


def _check_sizes(data: bytes, limit: int, refuse: Refuse) -> None:
    """Refuse a name or value that is too large, as it was sent: "%41" is three bytes."""
    if len(data) > TOGETHER * limit:
        refuse(FIELDS_TOO_LARGE)
    for pair in data.split(b"&"):
        name, _, value = pair.partition(b"=")
        if len(name) > limit or len(value) > limit:
            refuse(FIELD_TOO_LARGE)


async def _read_multipart(values: Values, parts: Parts) -> None:
    limits = parts.limits
    text_left = None if limits.form_field is None else TOGETHER * limits.form_field
    memory_left = None if limits.spool is None else TOGETHER * limits.spool
    async for part in parts:
        if part.filename is None:
            data = await part.read()
            if text_left is not None:
                text_left -= len(data)
                if text_left < 0:
                    parts.refuse(FIELDS_TOO_LARGE)
            values.setdefault(part.name, []).append(_decode(data))
            continue
        spool = None if limits.spool is None or memory_left is None else min(limits.spool, memory_left)
        file = UploadFile(part.filename, part.content_type, spool)
        values.setdefault(part.name, []).append(file)  # before it has anything that must be closed
        while (chunk := await parts.next_chunk(part)) is not None:
            if file._add(chunk):
                await file._flush()
        if file._disk is None:
            memory_left = None if memory_left is None else memory_left - file.size
        elif file._kept:
            await file._flush()
        if not file.filename and not file.size:  # what a browser sends for a file field that was left empty
            values[part.name].pop()
    for name in [name for name, sent in values.items() if not sent]:
        del values[name]


def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadRequest("Form field is not UTF-8") from None
