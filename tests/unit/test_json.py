"""JSON both ways: what goes out as what, and what is refused coming in."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Annotated, Any

import msgspec
import pytest

from asgineer import BadRequest, InvalidData
from asgineer._json import decode, encode


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    why: Any = None


class Struct(msgspec.Struct):
    x: int


class Model:
    def model_dump_json(self) -> str:
        return '{"m": 1}'


class Safe(str):
    def __str__(self) -> str:
        raise AssertionError("not to be asked")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        ([], "[]"),
        ({"a": [1, 2.5, None, True, "é"]}, '{"a":[1,2.5,null,true,"é"]}'),
        ((1, 2), "[1,2]"),
        ({1}, "[1]"),
        ([2**64, 10**30], "[18446744073709551616,1000000000000000000000000000000]"),
        ({1: "int key"}, '{"1":"int key"}'),
        ({"x": float("nan"), "y": float("inf"), "z": -float("inf")}, '{"x":null,"y":null,"z":null}'),
        (b"\x00\xff", '"AP8="'),
        (datetime.date(2026, 11, 22), '"2026-11-22"'),
        (uuid.UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (Color.RED, '"red"'),
        (Point(1), '{"x":1,"why":null}'),
        ([Point(1, Struct(2))], '[{"x":1,"why":{"x":2}}]'),
        (Model(), '{"m": 1}'),
        ({"deep": [Model()]}, '{"deep":[{"m": 1}]}'),
        (Safe("<b>"), '"<b>"'),
        ({"a": Safe("<b>")}, '{"a":"<b>"}'),
    ],
)
def test_encode(value: Any, text: str) -> None:
    assert encode(value).decode() == text


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), TypeError),
        ({"a": object()}, TypeError),
        ({(1, 2): 3}, TypeError),
        ({None: 1}, TypeError),
        ({True: 1}, TypeError),
        (lambda: None, TypeError),
        (CYCLE, ValueError),
        (nested(1_000_000), ValueError),
        ({"a": "\ud800"}, ValueError),
        ([10**5000], ValueError),
    ],
)
def test_encode_what_has_no_form(value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="Could not JSON encode") as caught:
        encode(value)
    assert len(str(caught.value)) < 300


def test_an_error_of_the_objects_own_comes_through() -> None:
    class Broken:
        def model_dump_json(self) -> str:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        encode(Broken())


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"{}", {}),
        (b' [1, 2.5, null, true, "\xc3\xa9"] \n', [1, 2.5, None, True, "é"]),
        (b'"\\u00e9\\ud83d\\udc0d"', "é🐍"),
        (b"12345678901234567890123", 12345678901234567890123),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
def test_decode(data: bytes, value: Any) -> None:
    assert decode(data) == value


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "Empty body, expected JSON"),
        (b" ", "Body is not valid JSON"),
        (b"{", "Body is not valid JSON"),
        (b'{"a":', "Body is not valid JSON"),
        (b"{}{}", "Body is not valid JSON"),
        (b"{} x", "Body is not valid JSON"),
        (b"{'a': 1}", "Body is not valid JSON"),
        (b"[1,]", "Body is not valid JSON"),
        (b"NaN", "Body is not valid JSON"),
        (b"Infinity", "Body is not valid JSON"),
        (b"-Infinity", "Body is not valid JSON"),
        (b"1e999", "Body is not valid JSON"),
        (b"[-1e999]", "Body is not valid JSON"),
        (b"1" * 5000, "Body is not valid JSON"),
        (b"01", "Body is not valid JSON"),
        (b'"\\ud800"', "Body is not valid JSON"),
        (b'"\xed\xa0\x80"', "Body is not valid JSON"),
        (b'"\xff"', "Body is not valid JSON"),
        (b'"\n"', "Body is not valid JSON"),
        ('"é"'.encode("latin-1"), "Body is not valid JSON"),
        ("{}".encode("utf-16"), "Body is not valid JSON"),
        ("{}".encode("utf-8-sig"), "Body is not valid JSON"),
        (b"[" * 100_000, "JSON is nested too deep"),
        (b'{"a":' * 100_000, "JSON is nested too deep"),
        (b"[" * 100_000 + b"]" * 100_000, "JSON is nested too deep"),
    ],
)
def test_decode_what_is_none(data: bytes, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(data)
    assert (caught.value.status, caught.value.body) == (400, text)


@pytest.mark.parametrize(
    ("data", "kind", "value"),
    [
        (b'{"x": 1}', Point, Point(1)),
        (b'{"x": 1, "more": 2}', Struct, Struct(1)),
        (b"[1, 2]", list[int], [1, 2]),
        (b"3", int, 3),
        (b"null", type(None), None),
        (b'"red"', Color, Color.RED),
    ],
)
def test_decode_with_a_type(data: bytes, kind: Any, value: Any) -> None:
    assert decode(data, kind) == value


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b'{"x": "1"}', Point, "Expected `int`, got `str` - at `$.x`"),
        (b"{}", Struct, "Object missing required field `x`"),
        (b"[1, null]", list[int], "Expected `int`, got `null` - at `$[1]`"),
        (b'"blue"', Color, "Invalid enum value 'blue'"),
    ],
)
def test_decode_of_another_shape(data: bytes, kind: Any, text: str) -> None:
    with pytest.raises(InvalidData) as caught:
        decode(data, kind)
    assert (caught.value.status, caught.value.body, caught.value.errors) == (422, text, {"": text})


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", Point),
        (b'{"x":', Point),
        (b'{"x":1}{}', Point),
        (b"NaN", float),
        (b"1e999", float),
        (b"1" * 5000, int),
        (b"[" * 100_000, list[Any]),
        (b'["\xff"]', list[Any]),
    ],
)
def test_what_is_no_json_is_400_with_a_type_too(data: bytes, kind: Any) -> None:
    with pytest.raises(BadRequest):
        decode(data, kind)


def test_a_message_about_foreign_text_is_escaped_and_bounded() -> None:
    with pytest.raises(InvalidData) as caught:
        decode(b'"\\u001b[31m' + b"x" * 10_000 + b'"', Color)
    assert len(caught.value.body) <= 201
    assert "\x1b" not in caught.value.body


class ModelError(ValueError):
    def __init__(self, details: Any) -> None:
        self.details = details

    def errors(self) -> Any:
        return self.details


def model_that_raises(error: Exception) -> Any:
    class Model:
        @classmethod
        def model_validate_json(cls, data: bytes) -> Any:
            raise error

    return Model


def test_decode_with_a_model_of_another_library() -> None:
    class Model:
        @classmethod
        def model_validate_json(cls, data: bytes) -> Any:
            return "validated", data

    assert decode(b"{}", Model) == ("validated", b"{}")


@pytest.mark.parametrize(
    ("error", "errors"),
    [
        (ModelError([{"loc": ("a", 0, "b"), "msg": "no\n"}]), {"a.0.b": "no\\n"}),
        (ModelError([{"loc": (), "msg": "no"}]), {"": "no"}),
        (ModelError([{"unlike": "pydantic"}]), {"": "Invalid data"}),
        (ValueError("secret"), {"": "Invalid data"}),
        (ModelError([{"loc": (n,), "msg": "x" * 999} for n in range(99)]), None),
    ],
)
def test_what_a_model_says_is_told_by_field(error: Exception, errors: dict[str, str] | None) -> None:
    with pytest.raises(InvalidData) as caught:
        decode(b"{}", model_that_raises(error))
    if errors is None:
        assert len(caught.value.errors) == 20
        assert all(len(text) <= 201 for text in caught.value.errors.values())
    else:
        assert caught.value.errors == errors


def test_what_is_no_json_is_400_with_a_model_too() -> None:
    with pytest.raises(BadRequest, match="not valid JSON"):
        decode(b"{", model_that_raises(ModelError([])))


def test_an_error_of_a_model_that_is_no_verdict_comes_through() -> None:
    with pytest.raises(KeyError):
        decode(b"{}", model_that_raises(KeyError("x")))


@dataclasses.dataclass
class Leaf:
    n: int = 1


@dataclasses.dataclass
class Tree:
    name: str
    size: int = 5
    leaf: Leaf = dataclasses.field(default_factory=Leaf)
    kids: list[Tree] = dataclasses.field(default_factory=list)
    by_name: dict[str, Leaf] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Slotted:
    n: int = 3


@pytest.mark.parametrize(
    ("text", "type_", "again"),
    [
        (b'{"name":"a"}', Tree, b'{"name":"a","leaf":{"n":1},"kids":[],"by_name":{},"size":5}'),
        (b'[{"n":2},{}]', list[Leaf], b'[{"n":2},{"n":1}]'),
        (b'{"a":{}}', dict[str, Leaf], b'{"a":{"n":1}}'),
        (b"{}", Slotted, b'{"n":3}'),
        (b"[1]", list[int], b"[1]"),
        (b"3", Annotated[int, msgspec.Meta(examples=[1])], b"3"),
    ],
)
def test_defaults_of_dataclasses_go_out_again(text: bytes, type_: Any, again: bytes) -> None:
    assert decode(again, type_) == decode(text, type_)
    assert decode(encode(decode(text, type_))) == decode(again)
