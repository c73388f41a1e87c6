"""Events on the wire: what is encoded is what another parser reads; what would forge a field is refused."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from asgineer import Event
from asgineer._sse import MAX_RETRY, PING, encode_event
from asgineer._stream import wire_of

BOM = "\ufeff"


def read(wire: bytes) -> list[httpx2.ServerSentEvent]:
    """Return the events that httpx2 reads in a stream of these bytes, fed to it byte by byte."""
    pieces = [wire[number : number + 1] for number in range(len(wire))]
    request = httpx2.Request("GET", "http://testserver/")
    headers = {"content-type": "text/event-stream"}
    response = httpx2.Response(200, headers=headers, content=iter(pieces), request=request)
    return list(httpx2.EventSource(response))


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        ("hi", b"data: hi\n\n"),
        ("", b"data: \n\n"),
        (b"", b"data: \n\n"),
        (" leading", b"data:  leading\n\n"),
        (":colon", b"data: :colon\n\n"),
        ("a\nb", b"data: a\ndata: b\n\n"),
        ("a\rb", b"data: a\ndata: b\n\n"),
        ("a\r\nb", b"data: a\ndata: b\n\n"),
        ("a\n\rb", b"data: a\ndata: \ndata: b\n\n"),
        ("a\n", b"data: a\ndata: \n\n"),
        ("\n", b"data: \ndata: \n\n"),
        ("a\u2028b\x85c\x0bd\x0ce", b"data: a\xe2\x80\xa8b\xc2\x85c\x0bd\x0ce\n\n"),
        ("a\0b", b"data: a\0b\n\n"),
        (BOM + "x", b"data: \xef\xbb\xbfx\n\n"),
        ("é✓".encode(), b"data: \xc3\xa9\xe2\x9c\x93\n\n"),
        ({"a": [1, None]}, b'data: {"a":[1,null]}\n\n'),
        ([], b"data: []\n\n"),
        (0, b"data: 0\n\n"),
        (False, b"data: false\n\n"),
        (None, b"\n"),
    ],
)
def test_data(data: Any, wire: bytes) -> None:
    assert encode_event(data) == wire


def test_lines_of_data_end_as_the_standard_has_it() -> None:
    data = "a\rb\nc\r\nd\u2028e\x85f"
    wire = encode_event(data)
    assert wire.count(b"data: ") == 4
    assert [event.data for event in read(wire)] == ["a\nb\nc\nd\u2028e\x85f"]


@pytest.mark.parametrize("data", ["", " x", ":x", BOM, "data: x", "id: 1\n", "x" * 100_000, "\n\n", "é\0✓"])
def test_another_parser_reads_what_was_written(data: str) -> None:
    wire = Event("before").wire + Event(data, event="e e", id="1:2 é").wire + Event("after").wire
    events = [(event.event, event.data, event.id) for event in read(wire)]
    assert events[1:] == [("e e", data, "1:2 é"), ("message", "after", "1:2 é")]


def test_all_fields() -> None:
    event = Event("x", event="tick", id="k.1", retry=1500)
    assert event.wire == b"retry: 1500\nid: k.1\nevent: tick\ndata: x\n\n"
    assert (event.data, event.event, event.id, event.retry) == ("x", "tick", "k.1", 1500)
    (seen,) = read(event.wire)
    assert (seen.event, seen.data, seen.id, seen.retry) == ("tick", "x", "k.1", 1500)


def test_an_event_without_data_is_none() -> None:
    assert Event(None, id="k.1", retry=0).wire == b"retry: 0\nid: k.1\n\n"
    assert Event(None, id="").wire == b"id: \n\n"  # which resets the last id


def test_a_ping_is_no_event() -> None:
    assert [event.data for event in read(PING + Event("x").wire + PING)] == ["x"]


@pytest.mark.parametrize("field", ["id", "event"])
@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r\nb", "\0", "\n"])
def test_a_field_that_would_forge_another(field: str, value: str) -> None:
    options: Any = {field: value}
    with pytest.raises(ValueError, match=f"The {field} of an event can't have a line break or NUL"):
        Event("x", **options)


@pytest.mark.parametrize("field", ["id", "event"])
@pytest.mark.parametrize("value", [1, b"x", ["x"]])
def test_a_field_of_another_type(field: str, value: Any) -> None:
    options: Any = {field: value}
    with pytest.raises(TypeError, match=f"The {field} of an event must be a str"):
        Event("x", **options)


@pytest.mark.parametrize("retry", [-1, 1.5, "1", True, MAX_RETRY + 1, 10**30])
def test_a_retry_that_is_none(retry: Any) -> None:
    with pytest.raises(ValueError, match="retry must be milliseconds"):
        Event("x", retry=retry)


def test_the_longest_retry() -> None:
    assert Event(None, retry=MAX_RETRY).wire == b"retry: 2147483647\n\n"


@pytest.mark.parametrize("data", [object(), {1: object()}, b"\xff", "\ud800"])
def test_data_that_has_no_text(data: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Event(data)


def test_repr() -> None:
    assert repr(Event("x")) == "Event('x')"
    assert repr(Event("x", "tick", id="1", retry=0)) == "Event('x', event='tick', id='1', retry=0)"
    assert len(repr(Event("x" * 1000))) < 220


def test_wire_is_made_once() -> None:
    event = Event({"a": 1})
    assert wire_of(event) is event.wire
    assert wire_of({"a": 1}) == event.wire
