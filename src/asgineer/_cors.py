"""Cors: which pages of other origins may read our answers (the Fetch standard, section 3.3).

Browsers ask before a request that is more than a form could send (the preflight), and look
at the answer's headers after any. Origins are compared as text, as browsers write them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from ._headers import add_vary, encode_headers, is_token, parse_host
from ._request import DEFAULT_PORTS
from ._response import normalize_response
from .errors import HTTPError

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._request import BaseRequest
    from ._response import FullResponse, Response

ANY = "*"


class Cors:
    """Lets pages of other origins call a part of an app; built and checked once.

        cors = Cors(origins=["https://app.example"])

        if answer := cors.preflight(request):  # before authentication: a preflight carries none
            return answer
        return cors(request, await response_of(request, api(request)))

    It protects nothing by itself: a request that needs no preflight reaches the handler in any
    case. What changes something also calls `check_origin`.

    Args:
        origins: such as `["https://app.example"]`, exactly as browsers write them; `["*"]` is any page.
        methods: that such pages may use.
        headers: of requests that they may set, such as `["content-type", "authorization"]`; `["*"]` is any
            but authorization.
        expose: headers of responses that they may read.
        credentials: they may send cookies, and read what comes then.
        max_age: seconds that a browser may remember the answer to a preflight.

    Raises:
        TypeError: a str where a list is needed.
        ValueError: an origin that no browser sends, what is no method or header, or `"*"` with credentials.
    """

    def __init__(
        self,
        origins: Collection[str],
        *,
        methods: Collection[str] = ("GET", "HEAD", "POST"),
        headers: Collection[str] = (),
        expose: Collection[str] = (),
        credentials: bool = False,
        max_age: int = 600,
    ) -> None:
        lists = {"origins": origins, "methods": methods, "headers": headers, "expose": expose}
        for name, values in lists.items():
            if isinstance(values, str):
                raise TypeError(f"Cors {name} must be a list, not a str")
            if credentials and ANY in values:
                raise ValueError(f"Cors {name} can't be '*' with credentials: list them")
            if name != "origins" and not all(is_token(value) for value in values):
                raise ValueError(f"Cors {name} can't be {values!r:.100}")
        if isinstance(max_age, bool) or not isinstance(max_age, int) or max_age < 0:
            raise ValueError(f"Cors max_age must be an int that is not negative, not {max_age!r:.100}")
        self._origins = frozenset([_check_origin(origin) for origin in origins if origin != ANY])
        self._any = ANY in origins
        if self._any is bool(self._origins):
            raise ValueError("Cors origins must be a list of origins, or ['*'] alone")
        self._methods = frozenset(methods)
        self._headers = frozenset([name.lower() for name in headers])
        self._common: dict[str, str] = {"access-control-allow-credentials": "true"} if credentials else {}
        self._answer = {"access-control-expose-headers": ", ".join(expose)} if expose else {}
        self._policy = {
            "access-control-allow-methods": ", ".join(methods),
            "access-control-max-age": str(max_age),
        }
        if headers:
            self._policy["access-control-allow-headers"] = ", ".join(headers)
        encode_headers(self._policy | self._answer)

    def preflight(self, request: BaseRequest) -> FullResponse | None:
        """Return the answer to a preflight, 204 or 403; None when the request isn't one."""
        asked = request.headers.get("access-control-request-method")
        origin = request.headers.get("origin")
        if request.method != "OPTIONS" or asked is None or origin is None:
            return None
        allowed = self._allow(origin)
        if not allowed:
            return _refusal("Origin not allowed")
        if asked not in self._methods and ANY not in self._methods:
            return _refusal("Method not allowed for other origins")
        names = request.headers.get("access-control-request-headers", "").split(",")
        if ANY not in self._headers and not {name.strip(" \t").lower() for name in names} <= {
            "",
            *self._headers,
        }:
            return _refusal("Header not allowed for other origins")
        return 204, {**allowed, **self._policy, "vary": "Origin"}, None

    @overload
    def __call__(self, request: BaseRequest, response: None) -> None: ...
    @overload
    def __call__(self, request: BaseRequest, response: Response) -> FullResponse: ...
    @overload
    def __call__(self, request: BaseRequest, response: Response | None) -> FullResponse | None: ...
    def __call__(self, request: BaseRequest, response: Response | None) -> FullResponse | None:
        """Return `response` with the headers that let the page that asked read it, if it may."""
        if response is None:
            return None
        status, headers, body = normalize_response(response)
        add_vary(headers, "Origin")
        origin = request.headers.get("origin")
        if origin is not None and (allowed := self._allow(origin)):
            headers.update(allowed)
            headers.update(self._answer)
        return status, headers, body

    def _allow(self, origin: str) -> dict[str, str]:
        """Return the headers that allow `origin`, none if it isn't."""
        if self._any:
            return {"access-control-allow-origin": ANY}
        return {"access-control-allow-origin": origin, **self._common} if origin in self._origins else {}


def _refusal(text: str) -> FullResponse:
    return 403, {"vary": "Origin"}, text


def _check_origin(origin: str) -> str:
    """Return `origin`, a configured one.

    Raises:
        TypeError: no str.
        ValueError: browsers never send it like that, so it would never match.
    """
    if not isinstance(origin, str):
        raise TypeError(f"An origin must be a str, not {type(origin).__name__}")
    scheme, _, netloc = origin.partition("://")
    try:
        port = parse_host(netloc)[1]
    except HTTPError:
        netloc, port = "", None
    implied = port is not None and port == DEFAULT_PORTS.get(scheme)
    if not netloc or not is_token(scheme) or origin != origin.lower() or implied or netloc.endswith(":"):
        raise ValueError(
            f"{origin!r:.100} is no origin as browsers write it: 'https://example.com', in lower case, "
            "without a path, and with a port only where the scheme has another"
        )
    return origin
