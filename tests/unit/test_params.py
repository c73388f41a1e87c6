"""param: text from a URL to a value, or 404."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from typing import Any, Literal

import pytest

from asgineer import HTTPError, param


class Color(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("-3", int, -3),
        ("9" * 30, int, int("9" * 30)),
        ("1.5", float, 1.5),
        ("true", bool, True),
        ("0", bool, False),
        ("x", str, "x"),
        ("", str, ""),
        ("1.10", decimal.Decimal, decimal.Decimal("1.10")),
        ("2026-11-22", datetime.date, datetime.date(2026, 11, 22)),
        ("00000000-0000-0000-0000-000000000001", uuid.UUID, uuid.UUID(int=1)),
        ("red", Color, Color.RED),
        ("a", Literal["a", "b"], "a"),
    ],
)
def test_value(text: str, kind: Any, value: Any) -> None:
    found = param(text, kind)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, int) for text in ("", "x", "+1", "1_0", " 1", "1 ", "0x1", "\u0661", "1.5", "1" * 5000)),
        *((text, float) for text in ("nan", "inf", "-Infinity", "1e400", "x")),
        *((text, decimal.Decimal) for text in ("NaN", "sNaN", "-sNaN", "Infinity", "x")),
        ("yes", bool),
        ("2026-13-01", datetime.date),
        ("blue", Color),
        ("c", Literal["a", "b"]),
        ("x", uuid.UUID),
    ],
)
def test_no_such_value_is_no_such_page(text: str, kind: Any) -> None:
    with pytest.raises(HTTPError) as caught:
        param(text, kind)
    assert (caught.value.status, caught.value.body) == (404, "Not Found")
