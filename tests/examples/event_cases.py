"""Events that clients must read as they were written, by the cases that the specification of EventSource has.

Each case says what it sends and what a client makes of it. `main` serves them, for clients
that are judges: a browser, and the parser that most JavaScript programs use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asgineer
from asgineer import Event, EventStream, HTTPError, HttpRequest, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Case:
    """What is sent, and what a client sees of it.

    Attributes:
        item: what the stream yields.
        text: the data of the event that a client sees; None if it sees none.
        name: its type, where that isn't "message".
        id_then: the last event id that a client has after it, where it changes.
    """

    item: Any
    text: str | None
    name: str = ""
    id_then: str | None = None

    @property
    def seen(self) -> bool:
        return self.text is not None


def _with_ids(cases: list[Case]) -> list[Case]:
    """Fill in the id that a client keeps from events before."""
    last = ""
    for case in cases:
        case.id_then = last = last if case.id_then is None else case.id_then
    return cases


CASES = _with_ids(
    [
        Case(Event(None, retry=50), None),
        Case("plain", "plain"),
        Case("two\nlines", "two\nlines"),
        Case("a\r\nb\rc\n", "a\nb\nc\n"),
        Case("\n", "\n"),
        Case("\n\n\n", "\n\n\n"),
        Case(" a space before, and after ", " a space before, and after "),
        Case("data: not a field", "data: not a field"),
        Case(":not a comment", ":not a comment"),
        Case("id: 1\n\nevent: forged", "id: 1\n\nevent: forged"),
        Case("\ufeffa mark first", "\ufeffa mark first"),
        Case("no\u2028line\u2029ends\x85here\x0b\x0c\x1c", "no\u2028line\u2029ends\x85here\x0b\x0c\x1c"),
        Case("nul\0inside", "nul\0inside"),
        Case("ünïcödé 🎉 " + "x" * 70_000, "ünïcödé 🎉 " + "x" * 70_000),
        Case(b"bytes are text: \xc3\xa4", "bytes are text: ä"),
        Case({"json": [1, None]}, '{"json":[1,null]}'),
        Case(Event("named", event="tick"), "named", "tick"),
        Case(Event("an odd name", event=" a: b "), "an odd name", " a: b "),
        Case(Event("after a name"), "after a name"),
        Case(Event("with an id", id="position 1"), "with an id", id_then="position 1"),
        Case(Event("keeps the id"), "keeps the id"),
        Case(Event(None, id="bare"), None, id_then="bare"),
        Case(Event("after the bare id"), "after the bare id"),
        Case(Event("odd id", id=" ü: 🎉"), "odd id", id_then=" ü: 🎉"),
        Case(Event("id taken back", id=""), "id taken back", id_then=""),
        Case(Event(None, event="nothing"), None),
        Case("last", "last"),
    ]
)


def make_wire() -> bytes:
    """Return the whole stream as it goes out."""
    events = [case.item if isinstance(case.item, Event) else Event(case.item) for case in CASES]
    return b":\n\n" + b"".join([event.wire for event in events])


@asgineer.to_asgi
async def main(request: HttpRequest) -> Response:
    match request.parts:
        case ("page",):
            return "<html><title>Events</title><link rel='icon' href='data:,'></html>"
        case ("events",):
            return EventStream(all_events())
        case ("resume",):
            return EventStream(resume(request.last_event_id), retry=10)
        case ("head",):
            return EventStream(resume(None))
        case _:
            raise HTTPError(404)


async def all_events() -> AsyncIterator[Any]:
    for case in CASES:
        yield case.item


async def resume(seen: str | None) -> AsyncIterator[Event]:
    """Two events, then the end, which a client answers by coming back."""
    yield Event(f"after {seen}")
    number = int((seen or "0").removeprefix("position ")) + 1
    yield Event(number, id=f"position {number}")
