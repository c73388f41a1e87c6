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
from urllib.parse import unquote, unquote_to_bytes

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

    As `urllib.parse.parse_qsl` has them with blank values kept, in two fifths of its time: only `&`
    separates, `+` is a space, what is no UTF-8 becomes U+FFFD.
    """
    pairs = []
    for pair in data.decode("utf-8", "replace").replace("+", " ").split("&"):
        if pair:
            name, _, value = pair.partition("=")
            pairs.append((_unquoted(name), _unquoted(value)) if "%" in pair else (name, value))
    return pairs


def _unquoted(text: str) -> str:
    """Return what `urllib.parse.unquote` does, in half of its time for what is ASCII."""
    if "%" not in text:
        return text
    return unquote_to_bytes(text).decode("utf-8", "replace") if text.isascii() else unquote(text)


@cache  # an import statement in a function costs as much as the conversion of a field, each time
def load_msgspec() -> Any:
    """Load msgspec, with the first field."""
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


def make_at_once(texts: dict[str, Any], type: Any) -> Any:
    """Return a Struct made of `texts`, the last of each name, in a fifth of the time of `check_fields`.

    None where that isn't enough: one of them is empty, or wrong (msgspec names the first mistake
    only), or the type has a list or a bool in it. A class of another kind has to be called, for its own
    `__init__` and for its defaults.
    """
    if not _is_plain(type) or "" in texts.values():
        return None
    msgspec = load_msgspec()
    try:
        return msgspec.convert(texts, type, strict=False)
    except msgspec.ValidationError:
        return None


@lru_cache(maxsize=256)
def _is_plain(type: Any) -> bool:
    return isinstance(type, load_msgspec().StructMeta) and not any(
        field.many or field.is_bool for field in fields_of(type)
    )


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
    made = make_at_once({name: found[-1] for name, found in values.items() if found}, type)
    if made is not None:
        return made, {}
    msgspec = load_msgspec()
    fields = fields_of(type)
    sent, errors = _sent(values, fields)
    given: dict[str, Any] = {}
    for field in fields:
        if field.key not in sent:
            continue
        value = given[field.name] = sent[field.key]
        if field.type is str and isinstance(value, str):
            continue  # most fields: nothing to convert
        try:
            given[field.name] = msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            errors[field.key] = _message(error)
    if errors:
        return None, {field.key: errors[field.key] for field in fields if field.key in errors}
    try:
        return _make(type, given), {}
    except (ValueError, TypeError) as error:  # the type's own check, such as __post_init__
        return None, {"": escape(str(error), MAX_MESSAGE)}


def _sent(
    values: Mapping[str, Sequence[Any]], fields: tuple[Field, ...]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what was sent for each field, by its key, not yet converted, and what should have been sent."""
    sent: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for _, key, _, required, many, is_text, is_bool in fields:
        found = values.get(key, ())
        if found and not many and found[-1] != "":
            value = found[-1]  # most fields
        else:
            found = [value for value in found if value != "" or is_text]
            if not found:
                if required and not is_bool:
                    missing[key] = MISSING
                elif required:
                    sent[key] = False  # a box that isn't checked is not sent
                continue
            value = found if many else found[-1]
        sent[key] = True if is_bool and value == "on" else value
    return sent, missing


def _message(error: Exception) -> str:
    """Return what msgspec says, without the place: the field is named already."""
    return escape(str(error).partition(" - at `$")[0], MAX_MESSAGE)


def _make(type: Any, given: dict[str, Any]) -> Any:
    return given if typing.is_typeddict(type) else type(**given)
