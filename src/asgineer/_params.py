"""Text from a URL → a typed value."""

from __future__ import annotations

import math
from typing import TypeVar

from ._fields import load_msgspec
from .errors import HTTPError

T = TypeVar("T")


def param(text: str, type: type[T]) -> T:
    """Return `text`, a segment of a path, as a value of `type`: "3" as int 3, "true" as bool True.

    Conversion is lax, by msgspec: int, float, bool, UUID, Decimal, date and time types, enums,
    Literal. Digits are ASCII digits; neither "+1" nor "1_0" nor " 1" is a number.

    Raises:
        HTTPError: 404, it is no such value: then there is no such page either.
    """
    msgspec = load_msgspec()
    try:
        value: T = msgspec.convert(text, type, strict=False)
    except msgspec.ValidationError:
        raise HTTPError(404) from None
    if type is int:  # most of them; to ask an int for what it lacks takes as long as to convert it
        return value
    if isinstance(value, float) and not math.isfinite(value):
        raise HTTPError(404)
    if hasattr(value, "is_finite") and not value.is_finite():  # a Decimal; to compare "sNaN" would raise
        raise HTTPError(404)
    return value
