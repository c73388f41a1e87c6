"""Message and Batch: what subscribers get, and its forms on the wire, each made once.

However many subscribers a message has, its block of an event stream (`wire`) and its websocket text
(`text`) are made by the first that asks, and shared. Bytes have no text of their own: in both forms,
as in JSON, they are base64.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from .. import _json
from .._sse import encode_event
from ..errors import BadRequest, InvalidData
from ._engine import BYTES, JSON, TEXT, Entry

RESET = "reset"  # the name of the event that says so
RESET_DATA = '{"reset":true}'  # many parsers pass over an event whose data is empty


class Content:
    """What was published, shared by the messages that carry it under different ids.

    Attributes:
        kind, raw: as engines have them.
        value: the data as JSON text.
        lines: the data as the lines of an event, with the blank one that ends it.
    """

    __slots__ = ("kind", "lines", "raw", "value")

    kind: str
    raw: bytes
    value: str
    lines: bytes

    def __init__(self, kind: str, raw: bytes) -> None:
        self.kind = kind
        self.raw = raw

    def __getattr__(self, name: str) -> Any:
        # Called only for a slot that is empty: what it makes stays there, so the next look costs no call.
        made: str | bytes
        if name == "value":
            made = self.raw.decode() if self.kind == JSON else _json.encode(self.printable()).decode()
        elif name == "lines":
            made = encode_event(self.printable())
        else:
            raise AttributeError(name)
        setattr(self, name, made)
        return made

    def printable(self) -> str:
        """Return the data as text: str as it is, JSON as its text, bytes as base64."""
        return (b64encode(self.raw) if self.kind == BYTES else self.raw).decode()


class Message:
    """One message of a channel, or the word that some are missing.

    It is itself a return value: its JSON form is `{"id", "data"}`, of a reset `{"id", "reset": true}`.

    Attributes:
        id: the position behind it: a subscription with `since=message.id` goes on with the next.
            Of a subscription to several channels it is a vector, the positions in all of them.
        channel: the name of the channel.
        reset: messages were missed, and this one says so: load the state anew; what comes next is
            what happens from now on.
        wire: its block of an event stream; of a reset an event with that name.
        text: its JSON form, as websockets send it.
    """

    __slots__ = ("_content", "channel", "id", "offset", "reset", "text", "wire")

    channel: str
    id: str
    offset: int
    reset: bool
    text: str
    wire: bytes

    def __init__(self, channel: str, id: str, offset: int, content: Content | None) -> None:
        self.channel = channel
        self.id = id
        self.offset = offset
        self.reset = content is None
        self._content = content or _NOTHING

    def __getattr__(self, name: str) -> Any:
        made: str | bytes
        if name == "wire":
            made = self._make_wire()
        elif name == "text":
            made = f'{{"id":"{self.id}","reset":true}}'
            if not self.reset:
                made = f'{{"id":"{self.id}","data":{self._content.value}}}'
        else:
            raise AttributeError(f"A message has no {name!r}")
        setattr(self, name, made)
        return made

    def _make_wire(self) -> bytes:
        if self.reset:
            return encode_event(RESET_DATA, RESET, self.id)
        return b"id: %b\n%b" % (self.id.encode(), self._content.lines)

    @property
    def data(self) -> str | bytes:
        """What was published: a str, or bytes; anything else as the JSON text that it was made into."""
        raw = self._content.raw
        return raw if self._content.kind == BYTES else raw.decode()

    @property
    def size(self) -> int:
        """The bytes of the data, as it was published."""
        return len(self._content.raw)

    def json(self, type: Any = None) -> Any:
        """Return the value of the data, which is JSON; it is made anew each time.

        Args:
            type: what the value is checked against, as in `request.get_json(type=…)`.

        Raises:
            ValueError: it is no JSON, or not of that type.
        """
        try:
            return _json.decode(self._content.raw, type)
        except (BadRequest, InvalidData) as error:
            raise ValueError(
                f"The data of message {self.id} is not what was asked for: {error.body}"
            ) from None

    def with_id(self, id: str) -> Message:
        """Return the same message under another id, with what was made of it already."""
        return Message(self.channel, id, self.offset, None if self.reset else self._content)

    def model_dump_json(self) -> str:
        """Return its JSON form, under the name by which such objects are asked for it."""
        return self.text

    def __repr__(self) -> str:
        return f"Message({self.id!r}, reset)" if self.reset else f"Message({self.id!r}, {self.data!r:.100})"


_NOTHING = Content(TEXT, b"")  # of a reset


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
