"""A redirect that leads where it looks to lead: R23 of the rules.

Browsers read a Location more kindly than RFC 3986: they drop tabs and line breaks, and take
a backslash for a slash, so `/\\evil.example` and `/<tab>/evil.example` are other sites. What
is read in two ways is refused here and not mended. Pure: a URL in, a response out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from ._headers import parse_host
from .errors import BadRequest, status_phrase

if TYPE_CHECKING:
    from collections.abc import Collection

    Origin = tuple[str, str, int]

STATUSES = (301, 302, 303, 307, 308)  # RFC 9110 sections 15.4.2 to 15.4.9, those that say where to
DEFAULT_PORTS = {"http": 80, "https": 443}
_AS_IT_IS = "!#$%&'()*+,/:;=?@[]~"  # RFC 3986 section 2.2, and the percent sign of what is escaped already

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ORIGIN = re.compile(r"(?P<scheme>[A-Za-z]+)://(?P<authority>[^/?#]*)")


def redirect(
    url: str, status: int = 303, *, allow_origins: Collection[str] = (), external: bool = False
) -> tuple[int, dict[str, str], str]:
    """Return a response that sends the client to `url`, a path such as "/login?next=%2F" on this site.

    A URL that a client gave (`?next=…`) can be passed through: it leads to this site or is refused.
    Characters beyond ASCII, and spaces, are percent-encoded. A path begins at the top of the
    site: put `request.root_path` in front where the app may be mounted elsewhere.

    Args:
        url: a relative reference; or an absolute URL of one of the `allow_origins`.
        status: 303 (go on with GET), 301 or 308 (for ever), 302 or 307 (for now).
        allow_origins: origins of other sites that it may lead to: `["https://id.example.com"]`.
        external: it may lead to any site by http or https. Never with what a client gave.

    Raises:
        ValueError: it leads to another site, browsers would read it in another way than it looks, or
            it has a control character; or another status.
    """
    if status not in STATUSES:
        raise ValueError(f"A redirect has status 301, 302, 303, 307 or 308, not {status!r}")
    if isinstance(allow_origins, str):
        raise TypeError("allow_origins must be a list of origins, not a str")
    _check(url, [_parse_origin(origin) for origin in allow_origins], external)
    return status, {"location": quote(url, safe=_AS_IT_IS)}, status_phrase(status)


def _check(url: str, allowed: list[Origin], external: bool) -> None:
    if not isinstance(url, str):
        raise TypeError(f"The URL of a redirect must be a str, not {type(url).__name__}")
    if not url or _CONTROLS.search(url) or url[0] == " ":  # browsers drop a space at the start
        raise ValueError(f"A redirect needs a URL without control characters, not {url!r:.100}")
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    if url.startswith("//") or "\\" in path:
        raise ValueError(
            f"Browsers take {url!r:.100} for another site; a redirect needs a path or a whole URL"
        )
    if _SCHEME.match(url):
        origin = _parse_origin(url, whole=False)
        if not external and origin not in allowed:
            raise ValueError(f"A redirect to {url!r:.100} leads to another site, which is not allowed")


def _parse_origin(text: str, whole: bool = True) -> Origin:
    """Return scheme, host and port of an origin, or of the URL that begins with one.

    Raises:
        ValueError: it isn't `http://host` or `https://host`, perhaps with a port; user names are refused.
    """
    match = (_ORIGIN.fullmatch if whole else _ORIGIN.match)(text)
    scheme = match["scheme"].lower() if match else ""
    if match is None or scheme not in DEFAULT_PORTS:
        raise ValueError(f"{text!r:.100} is not of the form https://host")
    try:
        host, port = parse_host(match["authority"])
    except BadRequest:
        raise ValueError(
            f"{text!r:.100} has no valid host; a name beyond ASCII is written as xn--…"
        ) from None
    return scheme, host, DEFAULT_PORTS[scheme] if port is None else port
