"""The limits of one request. Every field is finite by default, None switches it off.

Sizes are bytes of what came over the wire. Limits of the connection itself (the request
line, keep-alive) belong to the server and to `run()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may bring, for one app: `to_asgi(limits=Limits(body=100 * 2**20))`.

    Each is checked when the thing is read, so a handler that reads no body has no body limit.

    Attributes:
        query: bytes of the query string; more is 414.
        query_fields: fields in it, as PHP and Django count them; more is 400.
        headers: bytes of all header names and values; more is 431.
        header_count: header fields; more is 431.
        cookies: bytes of the Cookie header; more is 431.
        cookie_pairs: cookies in it; more is 431.
        body: bytes of the request body; more is 413.
        form_fields: fields of a form, files aside; more is 413.
        form_files: files of a form; more is 413.
        form_field: bytes of one field of a form, and a tenth of all of them; more is 413.
        spool: bytes of one uploaded file that are kept in memory, and a tenth of all of them; a
            larger file goes to a temporary one. For `get_form`; `iter_form` keeps none.
        message: bytes of one message of a websocket, text as UTF-8; more closes it with 1009.
        pending: bytes of messages that are kept for a handler that sends and does not receive; of a
            request body that nobody reads while a streamed response is sent, too.
        send: seconds that one send of a stream or a websocket may wait for the client; then its
            connection is aborted.
        body_idle: seconds without a piece of the request body, while it is read; more is 408.
    """

    query: int | None = 16_384
    query_fields: int | None = 1000
    headers: int | None = 65_536
    header_count: int | None = 128
    cookies: int | None = 16_384
    cookie_pairs: int | None = 100
    body: int | None = 10 * 2**20
    form_fields: int | None = 1000
    form_files: int | None = 100
    form_field: int | None = 2**20
    spool: int | None = 2**20
    body_idle: int | None = 30
    send: int | None = 30
    message: int | None = 2**20
    pending: int | None = 2**20

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise ValueError(f"Limits.{name} must be an int that is not negative, or None; not {value!r}")


class Unset:
    """The type of `UNSET`, so that `limit=None` can mean "off" and leaving it out "the app's limit"."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()
DEFAULT_LIMITS: Final = Limits()
