"""What keeps others out: checks before a handler, finishers after it. Plain functions to call.

A check takes the request and raises an HTTPError. A finisher takes `(request, response)`, a
response of any shape or None, and returns the full triple with a dict of its own. What has
options is built and checked once, when the program starts. To have them around a part of an
app only:

    check_origin(request)
    return secure_headers(request, await response_of(request, site(request)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from ._cors import Cors
from ._headers import encode_headers, is_cross_site
from ._proxy import TrustProxy
from ._response import normalize_response
from ._sessions import Session, Sessions
from .errors import HTTPError

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._request import BaseRequest
    from ._response import FullResponse, Response

__all__ = [
    "Cors",
    "SecureHeaders",
    "Session",
    "Sessions",
    "TrustProxy",
    "check_origin",
    "trusted_hosts",
]

SAFE = ("GET", "OPTIONS", "TRACE")  # RFC 9110 section 9.2.1; HEAD's verb is GET

DEFAULT_CSP = (
    "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'; object-src 'none'"
)


def check_origin(request: BaseRequest, *, allowed: Collection[str] = (), allow_missing: bool = True) -> None:
    """Refuse what a page of another site made the browser send (cross-site request forgery).

    By Sec-Fetch-Site, which every current browser sends, else by Origin; host and port are
    compared. GET, HEAD, OPTIONS and TRACE pass, so a handler must change nothing on them. The
    handshake of a websocket is checked.

    Args:
        allowed: other origins that may, such as `["https://app.example"]`, exactly as browsers write them.
        allow_missing: let pass what has neither header: a client that is no browser.

    Raises:
        HTTPError: 403.
    """
    if isinstance(allowed, str):
        raise TypeError("allowed must be a list of origins, not a str")
    if request.verb in SAFE:
        return
    headers = request.headers
    origin = headers.get("origin")
    if origin is not None and origin != "null" and origin in allowed:
        return
    if is_cross_site(headers):
        raise HTTPError(403, "Cross-site request refused")
    if not allow_missing and origin is None and "sec-fetch-site" not in headers:
        raise HTTPError(403, "Request without an origin refused")


def trusted_hosts(request: BaseRequest, hosts: Collection[str]) -> None:
    """Refuse a request whose Host isn't ours: what is made of `request.url` could lead anywhere.

    Args:
        hosts: names or addresses without port; `"*.example.com"` is any name below example.com.

    Raises:
        HTTPError: 400; BadRequest, if the header is no host at all.
    """
    if isinstance(hosts, str):
        raise TypeError("hosts must be a list of hosts, not a str")
    host = request.host
    for known in hosts:
        known = known.lower()
        if host == known or (known.startswith("*.") and host.endswith(known[1:]) and host != known[1:]):
            return
    raise HTTPError(400, "Host not allowed")


class SecureHeaders:
    """Adds the headers that make browsers stricter; built and checked once.

        secure_headers = SecureHeaders(hsts=31_536_000)

        return secure_headers(request, response)

    A header that the response has already stays as it is, so a page can have a policy of its own.
    `X-Content-Type-Options: nosniff` is always there. None leaves one out.

    Args:
        csp: Content-Security-Policy; by default all of the same origin, and no script or style in the page.
        hsts: seconds that browsers shall use https only, sent over https alone; or the whole value of
            Strict-Transport-Security. It can't be taken back, so it is off by default.
        frame: X-Frame-Options: who may show pages in a frame, for browsers without CSP.
        referrer: Referrer-Policy.
        opener: Cross-Origin-Opener-Policy.

    Raises:
        TypeError, ValueError: what can't be a header.
    """

    def __init__(
        self,
        *,
        csp: str | None = DEFAULT_CSP,
        hsts: int | str | None = None,
        frame: str | None = "SAMEORIGIN",
        referrer: str | None = "strict-origin-when-cross-origin",
        opener: str | None = "same-origin",
    ) -> None:
        if isinstance(hsts, bool) or (isinstance(hsts, int) and hsts < 0):
            raise ValueError(f"SecureHeaders hsts must be seconds, not {hsts!r:.100}")
        if isinstance(hsts, str) and not hsts.startswith("max-age="):
            raise ValueError(f"SecureHeaders hsts must start with 'max-age=', not {hsts!r:.100}")
        given = {
            "x-content-type-options": "nosniff",
            "content-security-policy": csp,
            "x-frame-options": frame,
            "referrer-policy": referrer,
            "cross-origin-opener-policy": opener,
        }
        self._headers = {name: value for name, value in given.items() if value is not None}
        self._hsts = f"max-age={hsts}" if isinstance(hsts, int) else hsts
        encode_headers({**self._headers, **({"hsts": self._hsts} if self._hsts is not None else {})})

    @overload
    def __call__(self, request: BaseRequest, response: None) -> None: ...
    @overload
    def __call__(self, request: BaseRequest, response: Response) -> FullResponse: ...
    @overload
    def __call__(self, request: BaseRequest, response: Response | None) -> FullResponse | None: ...
    def __call__(self, request: BaseRequest, response: Response | None) -> FullResponse | None:
        """Return `response` with those of the headers that it lacks; None stays None."""
        if response is None:
            return None
        status, headers, body = normalize_response(response)
        for name, value in self._headers.items():
            headers.setdefault(name, value)
        if self._hsts is not None and request.scheme in ("https", "wss"):
            headers.setdefault("strict-transport-security", self._hsts)
        return status, headers, body
