"""Server-sent events: an event → the bytes on the wire, WHATWG HTML section 9.2. Pure.

Fields go out as `retry`, `id`, `event`, `data`. Data is split into lines at CRLF, CR and LF and
at nothing else, since nothing else ends a line there. A line break or NUL in an id or a name
would forge a field, so it is an error, and nothing is written.
"""

from __future__ import annotations

import re
from typing import Any

from . import _json

MEDIA_TYPE = b"text/event-stream"
PING = b":\n\n"  # a comment: it keeps proxies from closing a silent connection
MAX_RETRY = 2**31 - 1  # milliseconds; browsers keep it in 32 bits

_LINE_END = re.compile("\r\n|\r|\n")


class Event:
    """One event of an `EventStream`.

    Args:
        data: a str goes out as it is, bytes as the UTF-8 text that they are, anything else as JSON.
            None sends no data: then clients take id and retry, and see no event.
        event: its name; clients call one without a name "message".
        id: what the client sends back as Last-Event-ID when it reconnects.
        retry: milliseconds that the client waits before it reconnects.

    Raises:
        ValueError: a line break or NUL in `event` or `id`, or a `retry` that is no number of
            milliseconds from 0 to 2**31 - 1.
        TypeError: another type, or data without a JSON form.
    """

    __slots__ = ("data", "event", "id", "retry", "wire")

    def __init__(
        self, data: Any, event: str | None = None, id: str | None = None, retry: int | None = None
    ) -> None:
        self.data = data
        self.event = event
        self.id = id
        self.retry = retry
        #: The bytes on the wire; made once, however many clients it is sent to.
        self.wire = encode_event(data, event, id, retry)

    def __repr__(self) -> str:
        fields = [("event", self.event), ("id", self.id), ("retry", self.retry)]
        given = "".join([f", {name}={value!r}" for name, value in fields if value is not None])
        return f"Event({self.data!r:.200}{given})"


def encode_event(
    data: Any, event: str | None = None, id: str | None = None, retry: int | None = None
) -> bytes:
    """Return one block of an event stream; errors as `Event` has them."""
    lines = []
    if retry is not None:
        lines.append(f"retry: {_check_retry(retry)}")
    if id is not None:
        lines.append(f"id: {_check_field('id', id)}")
    if event is not None:
        lines.append(f"event: {_check_field('event', event)}")
    if data is not None:
        lines += ["data: " + line for line in _LINE_END.split(_text_of(data))]
    lines.append("\n")
    return "\n".join(lines).encode()


def _text_of(data: Any) -> str:
    if isinstance(data, str):
        return data
    if isinstance(data, bytes):
        return data.decode()
    return _json.encode(data).decode()


def _check_field(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"The {name} of an event must be a str, not {type(value).__name__}")
    if "\n" in value or "\r" in value or "\0" in value:
        raise ValueError(f"The {name} of an event can't have a line break or NUL: {value!r:.100}")
    return value


def _check_retry(retry: Any) -> int:
    if not isinstance(retry, int) or isinstance(retry, bool) or not 0 <= retry <= MAX_RETRY:
        raise ValueError(f"retry must be milliseconds, an int from 0 to {MAX_RETRY}, not {retry!r:.100}")
    return retry
