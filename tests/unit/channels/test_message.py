"""Messages: their forms on the wire, each made once; and what is checked when they come in."""

from __future__ import annotations

import msgspec
import pytest

from asgineer import Batch, Event, Message
from asgineer.channels._engine import Entry
from asgineer.channels._message import check_entry, encode_data


def message(kind: str, raw: bytes, id: str = "e.1") -> Message:
    prefix, _, offset = id.partition(".")
    return Message("room", f"{prefix}.", int(offset), kind, raw)


RESET = Message("room", "e.", 9, "reset", b"")

FORMS = [
    (message("t", b"hi"), b"id: e.1\ndata: hi\n\n", '{"id":"e.1","data":"hi"}'),
    (message("t", b"a\nb\r\rc"), b"id: e.1\ndata: a\ndata: b\ndata: \ndata: c\n\n", None),
    (message("t", b""), b"id: e.1\ndata: \n\n", '{"id":"e.1","data":""}'),
    (message("j", b'{"a": 1}'), b'id: e.1\ndata: {"a": 1}\n\n', '{"id":"e.1","data":{"a": 1}}'),
    (message("j", b"[1,\n2]"), b"id: e.1\ndata: [1,\ndata: 2]\n\n", '{"id":"e.1","data":[1,\n2]}'),
    (message("b", b"\x00\xff"), b"id: e.1\ndata: AP8=\n\n", '{"id":"e.1","data":"AP8="}'),
    (RESET, b'id: e.9\nevent: reset\ndata: {"reset":true}\n\n', '{"id":"e.9","reset":true}'),
]


@pytest.mark.parametrize(("one", "wire", "text"), FORMS, ids=range(len(FORMS)))
def test_forms(one: Message, wire: bytes, text: str | None) -> None:
    assert one.wire == wire
    if text is not None:
        assert one.text == one.model_dump_json() == text
    msgspec.json.decode(one.text)


def test_forms_are_made_once_and_shared() -> None:
    one = message("t", b"hi")
    assert one.wire is one.wire
    assert one.text is one.text
    other = one.with_id("v.1~w.2")
    assert other.wire == b"id: v.1~w.2\ndata: hi\n\n"
    assert other.text == '{"id":"v.1~w.2","data":"hi"}'
    assert other.with_id("w.3").wire == b"id: w.3\ndata: hi\n\n"
    assert RESET.with_id("v.1").reset


def test_an_event_stream_looks_the_same_as_an_event() -> None:
    assert message("t", "ü\n☃".encode()).wire == Event("ü\n☃", id="e.1").wire


def test_data() -> None:
    assert message("t", "ü".encode()).data == "ü"
    assert message("b", b"\xff").data == b"\xff"
    assert message("j", b"[1]").data == "[1]"
    assert (RESET.data, RESET.reset, message("t", b"").reset) == ("", True, False)
    assert message("j", b"[1]").size == 3


def test_json() -> None:
    assert message("j", b"[1]").json() == [1]
    assert message("t", b"[1]").json(list[int]) == [1]
    with pytest.raises(ValueError, match=r"message e\.1 is not what was asked for"):
        message("j", b'["x"]').json(list[int])
    with pytest.raises(ValueError, match="not what was asked for"):
        RESET.json()


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="A message has no 'body'"):
        message("t", b"").body  # noqa: B018


def test_reprs() -> None:
    assert repr(message("t", b"hi")) == "Message('e.1', 'hi')"
    assert repr(RESET) == "Message('e.9', reset)"
    assert repr(Batch([RESET], "e.9", True)) == "Batch(1 messages, 'e.9', reset)"
    assert repr(Entry(1, "t", b"x")) == "Entry(1, 't', b'x', None)"


def test_batch() -> None:
    batch = Batch([message("t", b"a"), message("j", b"null", "e.2")], "e.2", False)
    assert msgspec.json.decode(batch.model_dump_json()) == {
        "messages": [{"id": "e.1", "data": "a"}, {"id": "e.2", "data": None}],
        "position": "e.2",
        "reset": False,
    }
    assert Batch([], "e.2", True).model_dump_json() == '{"messages":[],"position":"e.2","reset":true}'


def test_encode_data() -> None:
    assert encode_data("ü") == ("t", "ü".encode())
    assert encode_data(memoryview(b"x")) == ("b", b"x")
    assert encode_data({"a": [1]}) == ("j", b'{"a":[1]}')


@pytest.mark.parametrize(
    ("kind", "data", "wrong"),
    [
        ("t", b"\xff", "decode"),
        ("j", b"{", "no JSON"),
        ("j", b"", "no JSON"),
        ("j", b"\x80\x04K\x01.", "no JSON"),  # a pickle
        ("x", b"", "its kind is 'x'"),
        ("", b"", "its kind is ''"),
        ("b", b"12345678901", "it has 11 bytes, more than 10"),
    ],
)
def test_what_comes_in_is_checked(kind: str, data: bytes, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        check_entry(Entry(1, kind, data), 10)


@pytest.mark.parametrize(("kind", "data"), [("t", b""), ("j", b"null"), ("b", b"\xff")])
def test_what_is_good_comes_in(kind: str, data: bytes) -> None:
    check_entry(Entry(1, kind, data), 10)
