"""Text fields (of a query, of a form) → a value of a type, each field checked on its own.

A field of the type that is a list takes every value of that name, any other the last. Text
is converted by msgspec, laxly: "3" is an int. A form sends what a user left out as an empty
text, so an empty text is a missing value, but for a str; "on", a checked box, is true. Pure.
"""

from __future__ import annotations

import collections.abc
import types
import typing
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Union
from urllib.parse import unquote

from ._json import MAX_MESSAGE
from ._log import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MISSING = "Required"
MANY = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Set)


class Field(NamedTuple):
    """One field of a type: `name` in the type, `key` in the form."""

    name: str
    key: str
    type: Any
    required: bool
    many: bool
    is_text: bool
    is_bool: bool


def parse_pairs(data: bytes) -> list[tuple[str, str]]:
    """Return the pairs of a query or of an urlencoded form, in their order; there is no limit in here.

    As `urllib.parse.parse_qsl` has them with blank values kept, in half of its time: only `&`
    separates, `+` is a space, what is no UTF-8 becomes U+FFFD.
    """
    text = data.decode("utf-8", "replace").replace("+", " ")
    split = [pair.partition("=") for pair in text.split("&") if pair]
    if "%" not in text:
        return [(name, value) for name, _, value in split]
    return [(unquote(name), unquote(value)) for name, _, value in split]


@cache  # an import statement in a function costs as much as the conversion of a field, each time
def _msgspec() -> Any:
    import msgspec

    return msgspec


@lru_cache(maxsize=256)  # by types, which are the program's own
def fields_of(type: Any) -> tuple[Field, ...]:
    """Return the fields of a dataclass, Struct, TypedDict or NamedTuple class.

    Raises:
        TypeError: it is none of them.
    """
    import msgspec

    info = msgspec.inspect.type_info(type)
    if not hasattr(info, "fields"):
        raise TypeError(f"A dataclass, msgspec.Struct, TypedDict or NamedTuple is needed, not {type!r}")
    hints = typing.get_type_hints(type, include_extras=True)
    return tuple([_field(field, hints[field.name]) for field in info.fields])


def _field(field: Any, hint: Any) -> Field:
    choices = [_origin(choice) for choice in _choices(hint)]
    return Field(
        field.name,
        field.encode_name,
        _without_mark(hint),
        field.required,
        many=any(choice in MANY for choice in choices),
        is_text=str in choices,
        is_bool=bool in choices,
    )


def _choices(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the one type; without what Annotated adds to it."""
    origin = typing.get_origin(hint)
    if origin in (typing.Annotated, typing.Required, typing.NotRequired):
        return _choices(typing.get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return tuple([choice for arg in typing.get_args(hint) for choice in _choices(arg)])
    return (hint,)


def _without_mark(hint: Any) -> Any:
    """Return the type that a TypedDict marks as required or not."""
    marked = typing.get_origin(hint) in (typing.Required, typing.NotRequired)
    return typing.get_args(hint)[0] if marked else hint


def _origin(choice: Any) -> Any:
    return typing.get_origin(choice) or choice


def check_fields(values: Mapping[str, Sequence[Any]], type: Any) -> tuple[Any, dict[str, str]]:
    """Return a value of `type` made of `values`, and {field: message} for what is wrong with them.

    Args:
        values: what was sent, by name, each in its order. A value that is no str (an uploaded
            file) is taken as it is.
        type: a dataclass, Struct, TypedDict or NamedTuple class. Fields it doesn't have are ignored.

    Returns:
        The value and {}; or None and what is wrong, with "" for what concerns the whole.
    """
    msgspec = _msgspec()
    given: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for field in fields_of(type):
        sent = values.get(field.key, ())
        if field.type is str and sent and isinstance(sent[-1], str):
            given[field.name] = sent[-1]  # most fields: nothing to convert
            continue
        sent = [value for value in sent if value != "" or field.is_text]
        if not sent:
            if field.required and not field.is_bool:
                errors[field.key] = MISSING
            elif field.required:
                given[field.name] = False  # a box that isn't checked is not sent
            continue
        try:
            value = sent if field.many else sent[-1]
            is_checked = field.is_bool and value == "on"
            given[field.name] = is_checked or msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            errors[field.key] = _message(error)
    if errors:
        return None, errors
    try:
        return _make(type, given), {}
    except (ValueError, TypeError) as error:  # the type's own check, such as __post_init__
        return None, {"": escape(str(error), MAX_MESSAGE)}


def _message(error: Exception) -> str:
    """Return what msgspec says, without the place: the field is named already."""
    return escape(str(error).partition(" - at `$")[0], MAX_MESSAGE)


def _make(type: Any, given: dict[str, Any]) -> Any:
    return given if typing.is_typeddict(type) else type(**given)
