"""TrustProxy: what a proxy of ours says of the client, taken from those that are listed only.

Anybody can send these headers. So they count when the peer that speaks with our server is a
listed one, and from the right: each proxy appends what it saw, so the right-most address that
isn't a proxy of ours is the last that was seen by somebody who is believed.

`parse_node` and `parse_forwarded` are pure. Nothing else of the package reads these headers.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from .errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._request import BaseRequest

    R = TypeVar("R", bound=BaseRequest)

MAX_HOPS = 32  # of proxies of ours; nobody has that many, and a header of 64 KiB holds 8000
UNIX = "unix"
ALL = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "forwarded",
    "x-request-id",
)
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~@:+-]+)*")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
_PORT = re.compile(r"[0-9]{1,5}")
# One parameter of Forwarded, and what ends it. Proxies write values bare where the RFC wants quotes.
_PARAMETER = re.compile(
    r"[ \t]*(?:(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)="
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[!#-+\--:<-~]+))[ \t]*)?'
    r"(?P<end>[;,]|\Z)"
)

Node = tuple[str, int]


class TrustProxy:
    """Makes a request tell of the client where a proxy stands between; built and checked once.

        trust_proxy = TrustProxy(["10.0.0.0/8", "unix"])

        trust_proxy(request)  # first of all

    Then `request.client`, `scheme`, `host`, `port`, `url`, `root_path` and `id` are what the proxy
    says. Each listed proxy must set or remove the headers that are read, or a client's own pass:
    name in `headers` what yours takes care of. `Forwarded` counts where there is no `X-Forwarded-…`.

    Args:
        networks: of your proxies: `"10.0.0.0/8"`, `"::1"`; `"unix"` is whoever speaks through a unix socket.
        headers: which to read; by default `X-Forwarded-For`, `-Proto`, `-Host`, `-Prefix`, `Forwarded`
            and `X-Request-Id`.

    Raises:
        TypeError: a str where a list is needed.
        ValueError: no network, or one that is none, or an unknown header.
    """

    def __init__(self, networks: Collection[str], *, headers: Collection[str] = ALL) -> None:
        if isinstance(networks, str) or isinstance(headers, str):
            raise TypeError("TrustProxy takes lists, not a str")
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(n) for n in networks if n != UNIX]
        self._unix = UNIX in networks
        if not networks:
            raise ValueError("TrustProxy needs the networks of your proxies")
        self._headers = frozenset([name.lower() for name in headers])
        if unknown := self._headers - set(ALL):
            raise ValueError(f"TrustProxy knows no header {sorted(unknown)[0]!r:.100}, but {', '.join(ALL)}")

    def __call__(self, request: R) -> R:
        """Return `request`, changed where its peer is a listed proxy. A second call does nothing.

        `request.scope` is a new dict then; the server's own stays as it is.

        Raises:
            BadRequest: the proxy says what can't be.
        """
        if request._proxied or not self._trusts(request.client[0]):
            return request
        request._proxied = True
        said = {name: request.headers[name] for name in self._headers if name in request.headers}
        request.scope = dict(request.scope)
        if any(name.startswith("x-forwarded-") for name in said):
            self._apply_x_forwarded(request, said)
        elif "forwarded" in said:
            self._apply_forwarded(request, said["forwarded"])
        if _REQUEST_ID.fullmatch(said.get("x-request-id", "")):
            request._id = said["x-request-id"]
        return request

    def _trusts(self, host: str) -> bool:
        if not host:
            return self._unix
        node = parse_node(host)
        return node is not None and any(ip_address(node[0]) in network for network in self._networks)

    def _apply_x_forwarded(self, request: BaseRequest, said: dict[str, str]) -> None:
        chain = said.get("x-forwarded-for", "").split(",")
        _set_client(request, self._walk(chain)[0])
        # Of several the right-most was written by the nearest proxy; those before it could be the client's.
        last = {name: value.rpartition(",")[2].strip(" \t") for name, value in said.items()}
        _set_scheme(request, last.get("x-forwarded-proto"))
        _set_host(request, last.get("x-forwarded-host"))
        _set_prefix(request, last.get("x-forwarded-prefix"))

    def _apply_forwarded(self, request: BaseRequest, value: str) -> None:
        elements = parse_forwarded(value)
        client, index = self._walk([element.get("for", "") for element in elements])
        _set_client(request, client)
        _set_scheme(request, elements[index].get("proto"))
        _set_host(request, elements[index].get("host"))

    def _walk(self, chain: list[str]) -> tuple[Node | None, int]:
        """Return the right-most address that is no proxy of ours, and where in `chain` it was told.

        One that is hidden or unknown ends the way: the address before it is the last one known.
        """
        client = None
        for index in reversed(range(max(0, len(chain) - MAX_HOPS), len(chain))):
            node = parse_node(chain[index].strip(" \t"))
            if node is None:
                break
            client = node
            if not self._trusts(node[0]):
                break
        return client, index


def parse_node(text: str) -> Node | None:
    """Return address and port (0 where there is none) of `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`.

    None for a name, a hidden or an unknown one (RFC 7239 section 6). An IPv4 address that is
    written as IPv6 is returned as IPv4.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            return None
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        address = address.ipv4_mapped or address
    return str(address), int(port) if _PORT.fullmatch(port) else 0


def parse_forwarded(value: str) -> list[dict[str, str]]:
    """Return the elements of a Forwarded header (RFC 7239 section 4), names in lower case.

    Raises:
        BadRequest: it isn't what the RFC allows. Nothing of it can be used then: a quote that a
            client left open would swallow what the proxy appended.
    """
    elements: list[dict[str, str]] = [{}]
    position, end = 0, ","
    while end:
        match = _PARAMETER.match(value, position)
        if match is None:
            raise BadRequest("Bad Forwarded header")
        position, end = match.end(), match["end"]
        if match["name"]:
            name, quoted = match["name"].lower(), match["quoted"]
            if name in elements[-1]:
                raise BadRequest("Bad Forwarded header")
            elements[-1][name] = match["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if end == ",":
            elements.append({})
    return elements


def _set_client(request: BaseRequest, client: Node | None) -> None:
    if client is not None:
        request.scope["client"] = client


def _set_scheme(request: BaseRequest, proto: str | None) -> None:
    if not proto:
        return
    scheme = SCHEMES.get(proto.lower())
    if scheme is None:
        raise BadRequest("Bad forwarded protocol")
    is_websocket = request.scope["type"] == "websocket"
    request.scope["scheme"] = scheme.replace("http", "ws") if is_websocket else scheme


def _set_host(request: BaseRequest, host: str | None) -> None:
    """Put `host` in place of the Host header; its grammar is checked when it is used, as that one's is."""
    if not host:
        return
    others = [(name, value) for name, value in request.scope["headers"] if name.lower() != b"host"]
    request.scope["headers"] = [(b"host", host.encode("latin-1")), *others]
    request.headers["host"] = host


def _set_prefix(request: BaseRequest, prefix: str | None) -> None:
    """Put what the proxy took off the path back in front of it, as the root path."""
    if not prefix:
        return
    prefix = prefix.rstrip("/")
    if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/")):
        raise BadRequest("Bad X-Forwarded-Prefix header")
    scope = request.scope
    path, raw_path, root_path = request.path, request._raw_inner_path(), prefix + request.root_path
    scope["path"], scope["root_path"] = root_path + path, root_path
    if scope.get("raw_path") is not None:
        scope["raw_path"] = (quote(root_path) + raw_path).encode()
