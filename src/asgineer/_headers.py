"""Header maps in both directions, and the grammar checks on them. Pure: values in, values out.

A request's headers become a dict with lower-case names. Those of a response become the list
of byte pairs that ASGI wants, and nothing that is no header by RFC 9110 section 5 gets
through: a control character in a value (a split response) is an error, never sent.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any

from .errors import BadRequest, HeadersTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._limits import Limits

RawHeaders = list[tuple[bytes, bytes]]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[^\x00-\xff]")  # controls but HTAB; beyond latin-1

# Names that handlers use most, in both ways of writing them: one look-up instead of a check and an encoding.
_KNOWN_NAMES = {
    spelling: name.encode()
    for name in (
        "access-control-allow-origin",
        "allow",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-security-policy",
        "content-type",
        "date",
        "etag",
        "last-modified",
        "location",
        "referrer-policy",
        "retry-after",
        "server",
        "set-cookie",
        "strict-transport-security",
        "vary",
        "www-authenticate",
        "x-content-type-options",
        "x-frame-options",
        "x-request-id",
    )
    for spelling in (name, name.title())
}

# Names that nearly every request has: one look-up instead of two calls.
_REQUEST_NAMES = {
    name.encode(): name
    for name in (
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "if-modified-since",
        "if-none-match",
        "origin",
        "priority",
        "referer",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "upgrade-insecure-requests",
        "user-agent",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-id",
    )
}

_SINGLE_NAMES = (b"content-length", b"content-type")  # two of them are a smuggled response


class Headers(dict[str, str]):
    """A request's header fields: a dict, lower-case names, repeated ones joined (RFC 9110 section 5.3)."""

    __slots__ = ("_repeated",)
    _repeated: dict[str, list[str]]

    def getlist(self, name: str) -> list[str]:
        """Return all values of the header `name` (in lower case) in their order; [] where there is none."""
        repeated: dict[str, list[str]] | None = getattr(self, "_repeated", None)
        if repeated is not None and name in repeated and self.get(name) == _join(name, repeated[name]):
            return list(repeated[name])
        return [self[name]] if name in self else []


def _join(name: str, values: list[str]) -> str:
    # Cookie fields, which HTTP/2 may split, are joined as RFC 9113 section 8.2.3 says.
    return ("; " if name == "cookie" else ", ").join(values)


def decode_headers(raw: Iterable[tuple[bytes, bytes]], limits: Limits) -> Headers:
    """Return the map of the raw header fields of a request.

    Raises:
        HeadersTooLarge: more fields or bytes than `limits` allows.
    """
    if not isinstance(raw, list):
        raw = list(raw)
    if limits.header_count is not None and len(raw) > limits.header_count:
        raise HeadersTooLarge("Too many header fields")
    if limits.headers is not None and len(b"".join(chain.from_iterable(raw))) > limits.headers:
        raise HeadersTooLarge("Header fields too large")
    headers = Headers()
    for name, value in raw:  # a loop: a fifth less than what dict() does with a list of pairs
        headers[_REQUEST_NAMES.get(name) or name.lower().decode("latin-1")] = value.decode("latin-1")
    if len(headers) != len(raw):
        _join_repeated(headers, raw)
    return headers


def fields_by_name(raw: Iterable[tuple[bytes, bytes]], limits: Limits) -> dict[bytes, bytes]:
    """Return the raw header fields by name, for who looks at one or two, in half of the time.

    {} where that isn't all there is to say of them: one is repeated, or they are over a limit.
    """
    if type(raw) is not list:  # perhaps an iterator, which can be read once
        return {}
    fields = dict(raw)
    if len(fields) != len(raw) or (limits.header_count is not None and len(raw) > limits.header_count):
        return {}
    if limits.headers is not None:
        size = len(b"".join(fields)) + len(b"".join(fields.values()))
        if size > limits.headers:
            return {}
    return fields


def _join_repeated(headers: Headers, raw: RawHeaders) -> None:
    values: dict[str, list[str]] = {}
    for field, value in raw:
        values.setdefault(field.lower().decode("latin-1"), []).append(value.decode("latin-1"))
    headers._repeated = {name: several for name, several in values.items() if len(several) > 1}
    for name, several in headers._repeated.items():
        headers[name] = _join(name, several)


def encode_headers(headers: dict[str, Any]) -> RawHeaders:
    """Return the header fields that a handler gave, checked, as ASGI wants them.

    A value is a str, or a list of str for a header that is repeated, such as set-cookie.

    Raises:
        TypeError: no dict, or a name or value of another type.
        ValueError: a name or value that HTTP doesn't allow, a name that is there twice
            (in another case), or a transfer-encoding, which is the server's.
    """
    if not isinstance(headers, dict):
        raise TypeError(f"Headers must be a dict, not {type(headers).__name__}")
    raw: RawHeaders = []
    seen = set()
    for name, value in headers.items():
        key = _KNOWN_NAMES.get(name) or _encode_name(name)
        if key in seen:
            raise ValueError(f"Header {key.decode()!r} is given twice; a list of str repeats a header")
        seen.add(key)
        if type(value) is list:
            if len(value) > 1 and key in _SINGLE_NAMES:
                raise ValueError(f"Header {key.decode()!r} can't be repeated")
            raw += [(key, _encode_value(name, item)) for item in value]
        else:
            raw.append((key, _encode_value(name, value)))
    return raw


def _encode_name(name: Any) -> bytes:
    if not isinstance(name, str):
        raise TypeError(
            f"Header keys and values must all be strings, not {type(name).__name__} ({name!r:.100})"
        )
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"Header name {name!r:.100} is not a token (RFC 9110 section 5.6.2)")
    key = name.lower().encode()
    if key == b"transfer-encoding":
        raise ValueError("Header 'transfer-encoding' is set by the server; leave it out")
    return key


def _encode_value(name: str, value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(
            f"Header keys and values must all be strings, but that of {name!r:.100} is {type(value).__name__}"
        )
    # Plain printable ASCII, nearly every value there is, passes two calls that cost nothing.
    if not (value.isascii() and value.isprintable()) and (bad := _BAD_VALUE.search(value)):
        raise ValueError(f"Header {name!r:.100} has a character that HTTP does not allow: {bad.group()!r}")
    return value.encode("latin-1")


def is_token(text: str) -> bool:
    """Say whether `text` is a token, RFC 9110 section 5.6.2: what names headers, methods and cookies."""
    return _TOKEN.fullmatch(text) is not None


def add_vary(headers: dict[str, str | list[str]], *names: str) -> None:
    """Add to the Vary header what the response depends on besides; "*" says it all already.

    `headers` has lower-case names and is changed.
    """
    value = headers.get("vary", [])
    listed = [part.strip(" \t") for part in (value if isinstance(value, str) else ",".join(value)).split(",")]
    listed = [part for part in listed if part]
    known = {part.lower() for part in listed}
    missing = [name for name in names if name.lower() not in known]
    if missing and "*" not in known:  # a header that says it already stays as the handler wrote it
        headers["vary"] = ", ".join(listed + missing)


_HOST = re.compile(
    r"(?P<host>\[(?=[0-9A-Fa-f.]*:)[0-9A-Fa-f:.]{2,45}\]"  # IPv6; a zone is of no use to others
    r"|[A-Za-z0-9._~-]{1,255})"  # IPv4 or a name; sub-delims and escapes (RFC 3986) are in no real host
    r"(?::(?P<port>[0-9]{0,5}))?"
)


def parse_host(value: str) -> tuple[str, int | None]:
    """Return host (lower case, IPv6 without brackets) and port of a Host header.

    Raises:
        BadRequest: it isn't what RFC 3986 section 3.2 allows, so no URL can be built from it.
    """
    match = _HOST.fullmatch(value)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port or 0) > 65_535:
        raise BadRequest("Bad Host header")
    return match["host"].lower().strip("[]"), port


def parse_content_type(value: str) -> tuple[str, str]:
    """Return media type (lower case) and charset of a Content-Type header, "" for what it lacks."""
    media_type, _, parameters = value.partition(";")
    charset = ""
    for parameter in parameters.split(";"):
        name, _, text = parameter.partition("=")
        if name.strip(" \t").lower() == "charset":
            charset = text.strip(' \t"')
    return media_type.strip(" \t").lower(), charset


def is_same_origin(origin: str, host: str) -> bool:
    """Say whether an Origin header names the host and port of a Host header.

    The scheme isn't compared, so that pages behind a TLS proxy work. Text against text: what a
    browser sends is normalised already, and what is written otherwise is none of ours.
    """
    scheme, _, netloc = origin.partition("://")
    return bool(netloc) and scheme in ("http", "https") and netloc == host.lower()


def is_cross_site(headers: dict[str, str]) -> bool:
    """Say whether a page of another site made the browser send this request.

    Sec-Fetch-Site tells in every current browser; before it, Origin did. A client that sends
    neither is no browser.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and not is_same_origin(origin, headers.get("host", ""))
