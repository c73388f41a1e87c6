"""Text fields → a value of a type: lax conversion, lists, what is missing, what is told of mistakes."""

from __future__ import annotations

import collections.abc  # noqa: TC003 (the hints of Box are read at run time)
import dataclasses
import datetime
import enum
import typing
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required, TypedDict
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgineer._fields import check_fields, fields_of, parse_pairs


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Query:
    page: int
    q: str = "all"
    tags: list[str] = dataclasses.field(default_factory=list)
    exact: bool = False


class Struct(msgspec.Struct, rename="camel"):
    first_name: str
    age: Annotated[int, msgspec.Meta(ge=0, le=150)] = 0


class Typed(TypedDict):
    a: Required[int]
    b: NotRequired[str]


class Named(NamedTuple):
    a: int
    b: float | None = None


@dataclasses.dataclass
class Box:
    agreed: bool
    color: Color | None = None
    when: datetime.date | None = None
    numbers: tuple[int, ...] = ()
    unique: set[int] | None = None
    sizes: collections.abc.Sequence[Literal["s", "m"]] | None = None


@dataclasses.dataclass
class Upload:
    file: Any
    many: list[Any]


@dataclasses.dataclass
class Picky:
    a: int = 1
    b: int = 2

    def __post_init__(self) -> None:
        if self.a > self.b:
            raise ValueError("a must not be above b\n")


@pytest.mark.parametrize(
    ("values", "kind", "value"),
    [
        ({"page": ["3"]}, Query, Query(3)),
        ({"page": ["1", "3"], "q": ["x"], "other": ["y"]}, Query, Query(3, "x")),
        ({"page": ["3"], "tags": ["a", "b"]}, Query, Query(3, "all", ["a", "b"])),
        ({"page": ["3"], "tags": []}, Query, Query(3)),
        ({"page": ["3"], "q": [""]}, Query, Query(3, "")),
        ({"page": ["3"], "exact": ["on"]}, Query, Query(3, exact=True)),
        ({"page": ["3"], "exact": ["true"]}, Query, Query(3, exact=True)),
        ({"page": ["3"], "exact": ["0"]}, Query, Query(3, exact=False)),
        ({"firstName": ["Ada"], "age": ["36"]}, Struct, Struct("Ada", 36)),
        ({"firstName": ["Ada"], "age": [""]}, Struct, Struct("Ada", 0)),
        ({"a": ["1"]}, Typed, {"a": 1}),
        ({"a": ["1"], "b": ["x"]}, Typed, {"a": 1, "b": "x"}),
        ({"a": ["1"], "b": ["2.5"]}, Named, Named(1, 2.5)),
        ({"a": ["1"], "b": [""]}, Named, Named(1)),
        ({}, Box, Box(False)),
        ({"agreed": ["on"], "color": ["red"], "when": ["2026-11-22"]}, Box, None),
        ({"numbers": ["1", "2"], "unique": ["2", "2"], "sizes": ["m", "s"]}, Box, None),
        ({"a": ["1"]}, Picky, Picky()),
    ],
)
def test_value(values: Any, kind: Any, value: Any) -> None:
    if value is None and "color" in values:
        value = Box(True, Color.RED, datetime.date(2026, 11, 22))
    elif value is None:
        value = Box(False, numbers=(1, 2), unique={2}, sizes=["m", "s"])
    assert check_fields(values, kind) == (value, {})
    assert type(check_fields(values, kind)[0]) is type(value)


@pytest.mark.parametrize(
    ("values", "kind", "errors"),
    [
        ({}, Query, {"page": "Required"}),
        ({"page": []}, Query, {"page": "Required"}),
        ({"page": [""]}, Query, {"page": "Required"}),
        ({"page": ["x"]}, Query, {"page": "Expected `int`, got `str`"}),
        ({"page": ["1.5"]}, Query, {"page": "Expected `int`, got `str`"}),
        ({"page": ["3"], "exact": ["maybe"]}, Query, {"exact": "Expected `bool`, got `str`"}),
        ({}, Struct, {"firstName": "Required"}),
        ({"firstName": ["x"], "age": ["-1"]}, Struct, {"age": "Expected `int` >= 0"}),
        ({"age": ["200"]}, Struct, {"firstName": "Required", "age": "Expected `int` <= 150"}),
        ({"b": ["x"]}, Typed, {"a": "Required"}),
        ({"a": ["3"]}, Picky, {"": "a must not be above b\\n"}),
        ({"numbers": ["1", "x"]}, Box, {"numbers": "Expected `int`, got `str`"}),
        ({"color": ["blue"]}, Box, {"color": "Invalid enum value 'blue'"}),
    ],
)
def test_mistakes_are_told_by_field(values: Any, kind: Any, errors: dict[str, str]) -> None:
    assert check_fields(values, kind) == (None, errors)


def test_a_message_is_escaped_and_bounded() -> None:
    _, errors = check_fields({"color": ["\x1b" + "x" * 10_000]}, Box)
    assert len(errors["color"]) <= 201
    assert "\x1b" not in errors["color"]


def test_what_is_no_text_is_taken_as_it_is() -> None:
    file = object()
    assert check_fields({"file": [file], "many": [file, file]}, Upload) == (Upload(file, [file, file]), {})


class Plain(msgspec.Struct):
    """What a Struct makes of its fields at once."""

    a: int
    b: str = "none"
    c: float | None = None
    d: Annotated[str, msgspec.Meta(max_length=2)] = ""
    e: Literal["x", "1"] = "x"


@dataclasses.dataclass
class OneByOne:
    """The same, which each field is converted for."""

    a: int
    b: str = "none"
    c: float | None = None
    d: Annotated[str, msgspec.Meta(max_length=2)] = ""
    e: Literal["x", "1"] = "x"


TEXTS = st.lists(st.sampled_from(["", "1", "-2", "1.5", "x", "abc", "null", "nan", " 1"]), max_size=2)


@settings(deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.sampled_from("abcdef"), TEXTS))
def test_a_struct_that_is_made_at_once_is_no_other(values: dict[str, list[str]]) -> None:
    made, errors = check_fields(values, Plain)
    expected, expected_errors = check_fields(values, OneByOne)
    assert errors == expected_errors
    assert repr(made and msgspec.structs.asdict(made)) == repr(expected and dataclasses.asdict(expected))


class WithFile(msgspec.Struct):
    file: bytearray
    note: str


def test_a_struct_takes_what_is_no_text_as_it_is() -> None:
    file = bytearray(b"data")
    made, errors = check_fields({"file": [file], "note": ["x"]}, WithFile)
    assert (made, errors) == (WithFile(file, "x"), {})


@pytest.mark.parametrize("kind", [int, str, dict, list[int], dict[str, int], typing.Any])
def test_only_types_with_fields(kind: Any) -> None:
    with pytest.raises(TypeError, match="A dataclass, msgspec.Struct, TypedDict or NamedTuple is needed"):
        fields_of(kind)


@settings(deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.sampled_from([*(bytes([byte]) for byte in b"ab&=%+;25C3A9\xff\xc3\xa9\x00 "), b"%C3%A9", b"&&"])
    )
)
def test_pairs_are_those_of_the_standard_library(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert parse_pairs(data) == parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True)


def test_pairs_with_and_without_escapes() -> None:
    assert parse_pairs(b"a=1&b=x+y&&c") == [("a", "1"), ("b", "x y"), ("c", "")]
    assert parse_pairs(b"a%3D=%26&b=%ff%2B") == [("a=", "&"), ("b", "\ufffd+")]
    assert parse_pairs(b"") == []
