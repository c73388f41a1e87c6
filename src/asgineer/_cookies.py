"""Cookies, RFC 6265: the Cookie header → a dict, and a cookie → the value of Set-Cookie. Pure.

What comes in is taken as leniently as browsers send it, and never changed: a value is what the
client sent, quotes and all, since un-quoting was the slow and the dangerous part of older
parsers. What goes out is checked attribute by attribute: a cookie that a browser would drop or
understand otherwise is a ValueError, never sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from ._headers import is_token
from .errors import HeadersTooLarge

if TYPE_CHECKING:
    from datetime import datetime

    from ._limits import Limits

MAX_COOKIE = 4096  # bytes of name and value together: browsers drop more (RFC 6265bis section 5.6)
MAX_ATTRIBUTE = 1024  # bytes of path or domain: browsers ignore more, from the same section

_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")  # cookie-octet: no space, quote, comma, semicolon, backslash
_PATH = re.compile(r"/[ -:<-~]*")
_DOMAIN = re.compile(r"[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*")


def parse_cookies(header: str, limits: Limits) -> dict[str, str]:
    """Return name → value of a Cookie header; of a repeated name the first.

    The first is the one with the longer path, or the older one (RFC 6265 section 5.4). A piece
    without a name is dropped: it could be shown to others as if it had one.

    Raises:
        HeadersTooLarge: over `limits.cookies` bytes, or `limits.cookie_pairs` pieces.
    """
    if limits.cookies is not None and len(header) > limits.cookies:
        raise HeadersTooLarge("Cookies too large")
    pieces = [piece for piece in header.split(";") if piece.strip(" \t")]
    if limits.cookie_pairs is not None and len(pieces) > limits.cookie_pairs:
        raise HeadersTooLarge("Too many cookies")
    cookies: dict[str, str] = {}
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip(" \t")
        if name and equals:
            cookies.setdefault(name, value.strip(" \t"))
    return cookies


def make_cookie(
    name: str,
    value: str,
    *,
    max_age: int | None = None,
    expires: datetime | None = None,
    path: str = "/",
    domain: str | None = None,
    secure: bool = False,
    httponly: bool = True,
    samesite: Literal["Strict", "Lax", "None"] | None = "Lax",
    partitioned: bool = False,
) -> str:
    """Return a cookie as the value of a Set-Cookie header; `make_cookie(name, "", max_age=0)` deletes one.

    A list of them sets several: `{"set-cookie": [make_cookie("a", "1"), make_cookie("b", "2")]}`.

    Args:
        name: a token. `__Host-…` is bound to this host, `__Secure-…` to https, `__Http-…` hidden
            from scripts; what the prefix promises has to be asked for.
        value: printable ASCII without space, quote, comma, semicolon and backslash, so encode what may
            have them, as by `urllib.parse.quote`. At most 4096 bytes with the name.
        max_age: seconds to keep it; without it and `expires` it goes when the browser closes.
        expires: when it ends, a datetime with a time zone; `max_age` wins over it.
        path: where it is sent: there and below.
        domain: sent to this domain and all below; None is this host alone.
        secure: sent over https only (and to localhost). Turn it on wherever you serve by https.
        httponly: hidden from scripts in the page.
        samesite: "Lax": from other sites only when a link is followed; "Strict": never from there;
            "None" (or None): always, which browsers take with `secure` only.
        partitioned: kept apart for each site that embeds yours; with `secure` only.

    Raises:
        TypeError: an argument of another type.
        ValueError: what no browser would keep, or would take for something else.
    """
    _check_name_and_value(name, value)
    if samesite not in ("Strict", "Lax", "None", None):
        raise ValueError(f"Cookie samesite must be 'Strict', 'Lax' or 'None', not {samesite!r:.100}")
    if not secure and samesite in ("None", None):
        raise ValueError("A cookie with samesite None must be secure")
    if not secure and partitioned:
        raise ValueError("A partitioned cookie must be secure")
    _check_prefix(name, path, domain, secure, httponly)
    parts = [f"{name}={value}"]
    if max_age is not None:
        parts.append(f"Max-Age={_check_max_age(max_age)}")
    if expires is not None:
        parts.append(f"Expires={_format_date(expires)}")
    if domain is not None:
        parts.append(f"Domain={_check_attribute('domain', domain, _DOMAIN)}")
    parts.append(f"Path={_check_attribute('path', path, _PATH)}")
    parts += [flag for flag, is_set in (("Secure", secure), ("HttpOnly", httponly)) if is_set]
    parts.append(f"SameSite={samesite}")
    return "; ".join([*parts, "Partitioned"] if partitioned else parts)


def _check_name_and_value(name: str, value: str) -> None:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(
            f"Cookie name and value must be str, not {type(name).__name__}, {type(value).__name__}"
        )
    if not is_token(name):
        raise ValueError(f"Cookie name {name!r:.100} is not a token (RFC 9110 section 5.6.2)")
    if not _VALUE.fullmatch(value):
        raise ValueError(
            f"Cookie {name!r:.100} has a value with characters that a cookie can't have; "
            "urllib.parse.quote() makes others of them"
        )
    if len(name) + len(value) > MAX_COOKIE:
        raise ValueError(f"Cookie {name!r:.100} is over {MAX_COOKIE} bytes, which browsers drop")


def _check_prefix(name: str, path: str, domain: str | None, secure: bool, httponly: bool) -> None:
    """Check what the name promises (RFC 6265bis section 4.1.3); browsers read the prefix in any case."""
    prefix = name.lower()
    if prefix.startswith("__host-") and (domain is not None or path != "/" or not secure):
        raise ValueError(f"Cookie {name!r:.100} must be secure, with path '/' and without a domain")
    if prefix.startswith(("__secure-", "__http-")) and not secure:
        raise ValueError(f"Cookie {name!r:.100} must be secure")
    if prefix.startswith(("__http-", "__host-http-")) and not httponly:
        raise ValueError(f"Cookie {name!r:.100} must be httponly")


def _check_max_age(max_age: int) -> int:
    if not isinstance(max_age, int) or isinstance(max_age, bool):
        raise TypeError(f"Cookie max_age must be an int, not {type(max_age).__name__}")
    if max_age < 0:
        raise ValueError("Cookie max_age must not be negative; 0 deletes the cookie")
    return max_age


def _check_attribute(name: str, value: str, grammar: re.Pattern[str]) -> str:
    if not isinstance(value, str):
        raise TypeError(f"Cookie {name} must be a str, not {type(value).__name__}")
    if not grammar.fullmatch(value) or len(value) > MAX_ATTRIBUTE:
        raise ValueError(f"Cookie {name} can't be {value!r:.100}")
    return value


def _format_date(when: datetime) -> str:
    from datetime import datetime
    from email.utils import format_datetime  # for the few that use it

    if not isinstance(when, datetime):
        raise TypeError(f"Cookie expires must be a datetime, not {type(when).__name__}")
    if when.utcoffset() is None or when.year < 1601:  # the year: RFC 6265 section 5.1.1
        raise ValueError(f"Cookie expires must have a time zone, and a year from 1601 on, not {when!r}")
    from datetime import UTC

    return format_datetime(when.astimezone(UTC), usegmt=True)
