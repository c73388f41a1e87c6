"""Message and Batch: what subscribers get, and its forms on the wire, each made once.

However many subscribers a message has, its block of an event stream (`wire`) and its websocket text
(`text`) are made by the first that asks, and shared. Bytes have no text of their own: in both forms,
as in JSON, they are base64.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from .. import _json
from .._sse import encode_event
from ..errors import BadRequest, InvalidData
from ._engine import BYTES, JSON, TEXT, Entry

if TYPE_CHECKING:
    from collections.abc import Callable

RESET = "reset"  # the name of the event that says so
RESET_DATA = '{"reset":true}'  # many parsers pass over an event whose data is empty


class Message:
    """One message of a channel, or the word that some are missing.

    It is itself a return value: its JSON form is `{"id", "data"}`, of a reset `{"id", "reset": true}`.

    Attributes:
        id: the position behind it: a subscription with `since=message.id` goes on with the next.
            Of a subscription to several channels it is a vector, the positions in all of them.
        channel: the name of the channel.
        wire: its block of an event stream; of a reset an event with that name.
        text: its JSON form, as websockets send it.
        prefix: what stands before the offset in the id; "" where the id is another one.
        offset, kind, raw: as engines have them; the kind of a reset is RESET.
    """

    # One object, and none in it that nobody has asked for: making them is the most of what a message to
    # a single subscriber costs, and the collector looks at all that is retained.
    __slots__ = (
        "_lines",
        "_value",
        "channel",
        "id",
        "kind",
        "offset",
        "prefix",
        "raw",
        "text",
        "wire",
    )

    channel: str
    prefix: str
    offset: int
    kind: str
    raw: bytes
    id: str
    text: str
    wire: bytes
    _value: str  # the data as JSON text
    _lines: bytes  # the data as the lines of an event, with the blank one that ends it

    def __init__(
        self,
        channel: str,
        prefix: str,
        offset: int,
        kind: str,
        raw: bytes,
    ) -> None:
        self.channel = channel
        self.prefix = prefix
        self.offset = offset
        self.kind = kind
        self.raw = raw

    def __getattr__(self, name: str) -> Any:
        # Called only for a slot that is empty: what it makes stays there, so the next look costs no call.
        make = _MAKERS.get(name)
        if make is None:
            raise AttributeError(f"A message has no {name!r}")
        made = make(self)
        setattr(self, name, made)
        return made

    def _make_id(self) -> str:
        return f"{self.prefix}{self.offset}"

    def _make_wire(self) -> bytes:
        if self.kind == RESET:
            return encode_event(RESET_DATA, RESET, self.id)
        return b"id: %b\n%b" % (self.id.encode(), self._lines)

    def _make_text(self) -> str:
        if self.kind == RESET:
            return f'{{"id":"{self.id}","reset":true}}'
        return f'{{"id":"{self.id}","data":{self._value}}}'

    def _make_lines(self) -> bytes:
        return encode_event(self._printable())

    def _make_value(self) -> str:
        return self.raw.decode() if self.kind == JSON else _json.encode(self._printable()).decode()

    def _printable(self) -> str:
        """Return the data as text: str as it is, JSON as its text, bytes as base64."""
        return (b64encode(self.raw) if self.kind == BYTES else self.raw).decode()

    @property
    def reset(self) -> bool:
        """Whether messages were missed: load the state anew; what comes next happens from now on."""
        return self.kind == RESET

    @property
    def data(self) -> str | bytes:
        """What was published: a str, or bytes; anything else as the JSON text that it was made into."""
        return self.raw if self.kind == BYTES else self.raw.decode()

    @property
    def size(self) -> int:
        """The bytes of the data, as it was published."""
        return len(self.raw)

    def json(self, type: Any = None) -> Any:
        """Return the value of the data, which is JSON; it is made anew each time.

        Args:
            type: what the value is checked against, as in `request.get_json(type=…)`.

        Raises:
            ValueError: it is no JSON, or not of that type.
        """
        try:
            return _json.decode(self.raw, type)
        except (BadRequest, InvalidData) as error:
            raise ValueError(
                f"The data of message {self.id} is not what was asked for: {error.body}"
            ) from None

    def with_id(self, id: str) -> Message:
        """Return the same message under another id, with what was made of it already."""
        return _Renamed(self, id)

    def model_dump_json(self) -> str:
        """Return its JSON form, under the name by which such objects are asked for it."""
        return self.text

    def __repr__(self) -> str:
        return f"Message({self.id!r}, reset)" if self.reset else f"Message({self.id!r}, {self.data!r:.100})"


class _Renamed(Message):
    """A message under another id; what was made of its data is the other one's."""

    __slots__ = ("_same",)

    def __init__(self, same: Message, id: str) -> None:
        super().__init__(same.channel, "", same.offset, same.kind, same.raw)
        self._same = same
        self.id = id

    def _make_lines(self) -> bytes:
        return self._same._lines

    def _make_value(self) -> str:
        return self._same._value


_MAKERS: dict[str, Callable[[Message], str | bytes]] = {
    "id": lambda message: message._make_id(),
    "wire": lambda message: message._make_wire(),
    "text": lambda message: message._make_text(),
    "_lines": lambda message: message._make_lines(),
    "_value": lambda message: message._make_value(),
}


class Batch:
    """What `read` gives, and a return value: `{"messages": […], "position": "…", "reset": false}` as JSON.

    Attributes:
        messages: in their order; none when nothing came in time.
        position: where the next `read` goes on: `since=batch.position`.
        reset: messages were missed: load the state anew, and read on from `position`.
    """

    __slots__ = ("messages", "position", "reset")

    def __init__(self, messages: list[Message], position: str, reset: bool) -> None:
        self.messages = messages
        self.position = position
        self.reset = reset

    def model_dump_json(self) -> str:
        """Return its JSON form, under the name by which such objects are asked for it."""
        messages = ",".join([message.text for message in self.messages])
        reset = "true" if self.reset else "false"
        return f'{{"messages":[{messages}],"position":"{self.position}","reset":{reset}}}'

    def __repr__(self) -> str:
        return f"Batch({len(self.messages)} messages, {self.position!r}{', reset' if self.reset else ''})"


def encode_data(data: Any) -> tuple[str, bytes]:
    """Return what was given to `publish` as kind and bytes.

    Raises:
        TypeError: it has no JSON form.
        ValueError: it can't be written as UTF-8, or is nested too deep.
    """
    if isinstance(data, str):
        return TEXT, data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return BYTES, bytes(data)
    return JSON, _json.encode(data)


def check_entry(entry: Entry, max_message: int) -> None:
    """Check what another process published.

    Raises:
        ValueError: it is too big, of an unknown kind, or not what it says it is.
    """
    if len(entry.data) > max_message:
        raise ValueError(f"it has {len(entry.data)} bytes, more than {max_message}")
    if entry.kind == TEXT:
        entry.data.decode()
    elif entry.kind == JSON:
        try:
            _json.decode(entry.data)
        except BadRequest:
            raise ValueError("it is no JSON") from None
    elif entry.kind != BYTES:
        raise ValueError(f"its kind is {entry.kind!r:.20}")
