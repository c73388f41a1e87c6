"""Checks and finishers: origins, hosts, CORS, stricter headers, and what a proxy may say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgineer import BadRequest, HTTPError, HttpRequest, WebsocketRequest, response_of, to_asgi
from asgineer._cors import Cors
from asgineer._proxy import MAX_HOPS, parse_forwarded, parse_node
from asgineer.security import SecureHeaders, TrustProxy, check_origin, trusted_hosts

from .asgi import encode_pairs
from .asking import ask, ask_ws

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .asgi import Message


CORPUS = sorted((Path(__file__).parents[2] / "bench" / "fuzz" / "corpus" / "forwarded").iterdir())


async def _receive() -> Message:
    raise AssertionError("nothing here reads")


async def _send(message: Message) -> None:
    raise AssertionError("nothing here sends")


def request_of(method: str = "POST", headers: Any = (), **scope: Any) -> HttpRequest:
    pairs = encode_pairs(headers)
    return HttpRequest(
        {"type": "http", "method": method, "path": "/", "headers": pairs, **scope}, _receive, _send
    )


def websocket_of(headers: Any = (), **scope: Any) -> WebsocketRequest:
    return WebsocketRequest(
        {"type": "websocket", "path": "/", "headers": encode_pairs(headers), **scope}, _receive, _send
    )


async def stream() -> AsyncIterator[str]:
    yield "x"


BODY = stream()
SHAPES: list[tuple[Any, tuple[int, Any]]] = [
    ("x", (200, "x")),
    (("x",), (200, "x")),
    (({"X-A": "1"}, {"b": 2}), (200, {"b": 2})),
    ((404, {"x-a": "1"}, b"x"), (404, b"x")),
    ((204, {}, None), (204, None)),
    (BODY, (200, BODY)),
]


# check_origin


HOST = {"host": "good.com"}


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "SAME-ORIGIN"}, False),
        ({"sec-fetch-site": ""}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://good.com"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://app.example"}, True),
        ({"origin": "https://good.com"}, True),
        ({"origin": "http://good.com"}, True),
        ({"origin": "https://app.example"}, True),
        ({"origin": "https://app.example.evil.com"}, False),
        ({"origin": "https://xapp.example"}, False),
        ({"origin": "https://evil.com"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://good.com.evil.com"}, False),
        ({"origin": "https://GOOD.com:443"}, False),
        ({"origin": "https://good.com."}, False),
        ({"origin": "https://good.com:8080"}, False),
        ({"origin": "ftp://good.com"}, False),
    ],
)
def test_check_origin(headers: dict[str, str], passes: bool) -> None:
    allowed = ["https://app.example", "null"]
    for method in ("POST", "PUT", "DELETE", "geT", "CONNECT"):
        refused = None
        try:
            check_origin(request_of(method, HOST | headers), allowed=allowed)
        except HTTPError as error:
            refused = error.status
        assert refused == (None if passes else 403)
    for method in ("GET", "HEAD", "OPTIONS", "TRACE"):
        check_origin(request_of(method, HOST | headers))


def test_check_origin_of_two_origins() -> None:
    headers = [("host", "good.com"), ("origin", "https://good.com"), ("origin", "https://good.com")]
    with pytest.raises(HTTPError):
        check_origin(request_of("POST", headers), allowed=["https://good.com"])


def test_check_origin_of_a_websocket() -> None:
    check_origin(websocket_of(HOST | {"origin": "http://good.com"}))
    with pytest.raises(HTTPError, match="403 Cross-site request refused"):
        check_origin(websocket_of(HOST | {"origin": "http://evil.com"}))


@pytest.mark.parametrize("headers", [{"origin": "https://good.com"}, {"sec-fetch-site": "none"}])
def test_check_origin_that_may_not_miss(headers: dict[str, str]) -> None:
    check_origin(request_of("POST", HOST | headers), allow_missing=False)
    with pytest.raises(HTTPError, match="403 Request without an origin refused"):
        check_origin(request_of("POST", HOST), allow_missing=False)


def test_check_origin_takes_a_list() -> None:
    wrong: Any = "https://a.example"
    with pytest.raises(TypeError):
        check_origin(request_of("GET"), allowed=wrong)


# trusted_hosts


HOSTS = ["good.com", "*.Example.com", "127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("good.com", True),
        ("GOOD.com:8080", True),
        ("127.0.0.1:80", True),
        ("[::1]:80", True),
        ("a.example.com", True),
        ("a.b.example.com", True),
        ("example.com", False),
        (".example.com", False),
        ("aexample.com", False),
        ("www.good.com", False),
        ("good.com.evil.com", False),
        ("good.com.", False),
        ("evil.com", False),
        ("evil.com@good.com", False),
        ("a/admin?x=", False),
        ("a b", False),
        ("[::1", False),
        ("good.com:99999", False),
        ("", False),
    ],
)
def test_trusted_hosts(host: str, passes: bool) -> None:
    if passes:
        trusted_hosts(request_of("GET", {"host": host}), HOSTS)
    else:
        with pytest.raises(HTTPError) as caught:
            trusted_hosts(request_of("GET", {"host": host}), HOSTS)
        assert caught.value.status == 400


def test_trusted_hosts_of_no_or_two_hosts() -> None:
    trusted_hosts(request_of("GET", server=("127.0.0.1", 80)), HOSTS)
    for headers in ([], [("host", "good.com"), ("host", "good.com")]):
        with pytest.raises(HTTPError):
            trusted_hosts(request_of("GET", headers), HOSTS)
    wrong: Any = "good.com"
    with pytest.raises(TypeError):
        trusted_hosts(request_of("GET", HOST), wrong)


# Cors


ORIGIN = "https://app.example"
CORS = Cors([ORIGIN, "http://localhost:3000"], methods=["GET", "PUT"], headers=["X-A", "content-type"])


def preflight(cors: Cors = CORS, origin: str = ORIGIN, method: str = "PUT", names: str | None = None) -> Any:
    headers = {"origin": origin, "access-control-request-method": method}
    if names is not None:
        headers["access-control-request-headers"] = names
    return cors.preflight(request_of("OPTIONS", headers))


@pytest.mark.parametrize("names", [None, "", "x-a", "X-A , content-type,", "content-type"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_preflight(method: str, names: str | None) -> None:
    assert preflight(method=method, names=names) == (
        204,
        {
            "access-control-allow-origin": ORIGIN,
            "access-control-allow-methods": "GET, PUT",
            "access-control-allow-headers": "X-A, content-type",
            "access-control-max-age": "600",
            "vary": "Origin",
        },
        None,
    )


@pytest.mark.parametrize(
    "question",
    [
        {"origin": "https://evil.com"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "https://app.example."},
        {"origin": "https://app.example:443"},
        {"origin": "http://app.example"},
        {"origin": "https://APP.example"},
        {"origin": f"{ORIGIN}, {ORIGIN}"},
        {"method": "DELETE"},
        {"method": "put"},
        {"method": ""},
        {"names": "x-b"},
        {"names": "x-a, x-b"},
        {"names": "*"},
        {"names": "x-a\xa0"},
        {"names": ",".join(f"x-{number}" for number in range(9000))},
    ],
)
def test_preflight_refused(question: dict[str, Any]) -> None:
    status, headers, body = preflight(**question)
    assert (status, headers) == (403, {"vary": "Origin"})
    assert len(body) < 50


def test_preflight_of_anything() -> None:
    cors = Cors(["*"], methods=["*"], headers=["*"], max_age=0)
    status, headers, _ = preflight(cors, "null", "WHAT", "x-anything")
    assert (status, headers["access-control-allow-origin"]) == (204, "*")
    assert headers["access-control-allow-headers"] == "*"
    assert headers["access-control-max-age"] == "0"


def test_preflight_with_credentials() -> None:
    headers = preflight(Cors([ORIGIN], credentials=True), method="POST")[1]
    assert headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-headers" not in headers


def test_what_is_no_preflight() -> None:
    asked = {"origin": ORIGIN, "access-control-request-method": "PUT"}
    assert CORS.preflight(request_of("GET", asked)) is None
    assert CORS.preflight(websocket_of(asked)) is None
    for name in asked:
        assert CORS.preflight(request_of("OPTIONS", {name: asked[name]})) is None


@pytest.mark.parametrize(("shape", "rest"), SHAPES)
def test_cors_response(shape: Any, rest: tuple[int, Any]) -> None:
    status, headers, body = CORS(request_of("GET", {"origin": ORIGIN}), shape)
    assert (status, body) == rest
    assert (headers["access-control-allow-origin"], headers["vary"]) == (ORIGIN, "Origin")
    assert headers.get("x-a", "1") == "1"


@pytest.mark.parametrize("headers", [{}, {"origin": "null"}, {"origin": "https://evil.com"}])
def test_cors_response_to_others(headers: dict[str, str]) -> None:
    given = {"Vary": "Accept"}
    assert CORS(request_of("GET", headers), (given, "x")) == (200, {"vary": "Accept, Origin"}, "x")
    assert given == {"Vary": "Accept"}


def test_cors_response_with_everything() -> None:
    cors = Cors([ORIGIN], credentials=True, expose=["x-total", "etag"])
    assert cors(request_of("GET", {"origin": ORIGIN}), "x")[1] == {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-total, etag",
        "vary": "Origin",
    }
    anybody = Cors(["*"])(request_of("GET", {"origin": "null"}), "x")[1]
    assert anybody == {"access-control-allow-origin": "*", "vary": "Origin"}


def test_finishers_leave_alone_who_answered_himself() -> None:
    assert CORS(request_of(), None) is None
    assert SecureHeaders()(request_of(), None) is None


@pytest.mark.parametrize(
    "options",
    [
        {"origins": []},
        {"origins": ["*", ORIGIN]},
        {"origins": ["*"], "credentials": True},
        {"methods": ["*"], "credentials": True},
        {"headers": ["*"], "credentials": True},
        {"expose": ["*"], "credentials": True},
        {"origins": ["null"]},
        {"origins": ["app.example"]},
        {"origins": ["https://app.example/"]},
        {"origins": ["https://app.example/x"]},
        {"origins": ["https://app.example:443"]},
        {"origins": ["http://app.example:80"]},
        {"origins": ["https://app.example:"]},
        {"origins": ["https://App.example"]},
        {"origins": ["https://*.example"]},
        {"origins": ["https://a b"]},
        {"origins": ["://a"]},
        {"origins": ["https://"]},
        {"origins": [""]},
        {"methods": ["GET, PUT"]},
        {"methods": [""]},
        {"headers": ["x a"]},
        {"expose": ["é"]},
        {"max_age": -1},
        {"max_age": True},
        {"max_age": 1.5},
    ],
)
def test_cors_that_can_not_be(options: Any) -> None:
    with pytest.raises(ValueError, match=r"Cors|origin"):
        Cors(**{"origins": [ORIGIN], **options})


@pytest.mark.parametrize(
    "options",
    [
        {"origins": ORIGIN},
        {"origins": [b"https://a"]},
        {"methods": "GET"},
        {"headers": "x-a"},
        {"expose": "etag"},
    ],
)
def test_cors_takes_lists(options: Any) -> None:
    with pytest.raises(TypeError):
        Cors(**{"origins": [ORIGIN], **options})


@pytest.mark.parametrize("origin", ["http://[::1]:3000", "https://1.2.3.4:8443", "chrome-extension://abc"])
def test_other_origins_that_are_some(origin: str) -> None:
    assert preflight(Cors([origin]), origin, "POST")[0] == 204


# SecureHeaders


def test_secure_headers_by_default() -> None:
    assert SecureHeaders()(request_of(scheme="https"), "x")[1] == {
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'self'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'self'; object-src 'none'",
        "x-frame-options": "SAMEORIGIN",
        "referrer-policy": "strict-origin-when-cross-origin",
        "cross-origin-opener-policy": "same-origin",
    }


@pytest.mark.parametrize(("shape", "rest"), SHAPES)
def test_secure_headers_of_every_shape(shape: Any, rest: tuple[int, Any]) -> None:
    status, headers, body = SecureHeaders()(request_of(), shape)
    assert (status, body, headers["x-content-type-options"]) == (*rest, "nosniff")


def test_secure_headers_can_be_left_out_and_set() -> None:
    secure = SecureHeaders(csp=None, frame=None, referrer="no-referrer", opener=None)
    given = {"Referrer-Policy": "origin"}
    assert secure(request_of(), "x")[1] == {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    assert secure(request_of(), (given, "x"))[1]["referrer-policy"] == "origin"
    assert given == {"Referrer-Policy": "origin"}


@pytest.mark.parametrize(
    ("hsts", "value"), [(60, "max-age=60"), (0, "max-age=0"), ("max-age=1; preload", "max-age=1; preload")]
)
def test_hsts_over_https_only(hsts: Any, value: str) -> None:
    secure = SecureHeaders(hsts=hsts)
    assert secure(request_of(scheme="https"), "x")[1]["strict-transport-security"] == value
    assert secure(websocket_of(scheme="wss"), "x")[1]["strict-transport-security"] == value
    assert "strict-transport-security" not in secure(request_of(scheme="http"), "x")[1]


@pytest.mark.parametrize(
    "options",
    [{"csp": "a\nb"}, {"csp": "✓"}, {"hsts": True}, {"hsts": -1}, {"hsts": "60"}, {"hsts": "max-age=1\r"}],
)
def test_secure_headers_that_can_not_be(options: Any) -> None:
    with pytest.raises(ValueError, match=r"hsts|Header"):
        SecureHeaders(**options)


def test_secure_headers_of_another_type() -> None:
    for options in ({"csp": 3}, {"hsts": 1.5}):
        wrong: Any = options
        with pytest.raises(TypeError):
            SecureHeaders(**wrong)


# TrustProxy


PEER = ("10.0.0.9", 5000)
TRUST = TrustProxy(["10.0.0.0/8", "2001:db8::/32"])


def forwarded(headers: Any, client: Any = PEER, trust: TrustProxy = TRUST, **scope: Any) -> HttpRequest:
    pairs = [("host", "inner:8080"), *(headers.items() if isinstance(headers, dict) else headers)]
    return trust(request_of("GET", pairs, client=client, **scope))


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("9.9.9.9, 1.2.3.4", ("1.2.3.4", 0)),
        ("9.9.9.9, 1.2.3.4, 10.1.1.1", ("1.2.3.4", 0)),
        ("9.9.9.9,1.2.3.4,10.1.1.1,2001:db8::7", ("1.2.3.4", 0)),
        ("10.3.3.3, 10.2.2.2", ("10.3.3.3", 0)),
        ("1.2.3.4:567", ("1.2.3.4", 567)),
        ("[2a00::1]:567", ("2a00::1", 567)),
        ("2a00::1", ("2a00::1", 0)),
        ("::ffff:1.2.3.4", ("1.2.3.4", 0)),
        ("1.2.3.4, ::ffff:10.1.1.1", ("1.2.3.4", 0)),
        ("1.2.3.4, unknown", PEER),
        ("1.2.3.4, unknown, 10.1.1.1", ("10.1.1.1", 0)),
        ("", PEER),
        ("<script>", PEER),
        ("1.2.3.4,", PEER),
        (", ".join(["1.2.3.4"] + ["10.0.0.1"] * (MAX_HOPS - 1)), ("1.2.3.4", 0)),
        (", ".join(["1.2.3.4"] + ["10.0.0.1"] * MAX_HOPS), ("10.0.0.1", 0)),
    ],
)
def test_the_right_most_address_that_is_no_proxy(chain: str, client: tuple[str, int]) -> None:
    assert forwarded({"x-forwarded-for": chain}).client == client


def test_the_chain_may_stand_in_several_headers() -> None:
    request = forwarded([("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "1.2.3.4, 10.0.0.1")])
    assert request.client == ("1.2.3.4", 0)


ALL = {
    "x-forwarded-for": "1.2.3.4",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "www.good.com",
    "x-forwarded-prefix": "/app",
    "forwarded": "for=5.6.7.8;proto=https;host=forged.com",
    "x-request-id": "abc-1",
}


@pytest.mark.parametrize(
    "peer", [("11.0.0.1", 1), ("::1", 1), ("", 0), None, ("testclient", 1), ("inner", 1)]
)
def test_nobody_else_is_believed(peer: Any) -> None:
    request = forwarded(ALL, peer)
    assert (request.scheme, request.host, request.port, request.root_path) == ("http", "inner", 8080, "")
    assert request.client == (peer or ("", 0))
    assert request.url == "http://inner:8080/"
    assert len(request.id) == 16


def test_everything_that_a_proxy_says() -> None:
    request = forwarded(ALL, path="/x", raw_path=b"/%78", query_string=b"q=1")
    assert request.client == ("1.2.3.4", 0)
    assert request.url == "https://www.good.com/app/%78?q=1"
    assert (request.host, request.port, request.headers["host"]) == ("www.good.com", 443, "www.good.com")
    assert (request.root_path, request.path, request.parts) == ("/app", "/x", ("x",))
    assert (request.scope["path"], request.scope["raw_path"]) == ("/app/x", b"/app/%78")
    assert request.id == "abc-1"
    assert TRUST(request) is request
    assert request.root_path == "/app"


def test_a_second_call_does_nothing() -> None:
    request = forwarded({"x-forwarded-prefix": "/app"}, path="/x")
    assert TRUST(request).client == PEER  # who would be believed again
    assert (request.root_path, request.path) == ("/app", "/x")


def test_the_scope_of_the_server_stays_as_it_is() -> None:
    request = request_of("GET", [("host", "inner"), *ALL.items()], client=PEER, state={})
    scope, before = request.scope, dict(request.scope)
    headers = list(scope["headers"])
    assert TRUST(request) is request
    assert scope == before
    assert scope["headers"] == headers
    assert request.scope is not scope
    assert request.scope["state"] is scope["state"]
    assert [value for name, value in request.scope["headers"] if name == b"host"] == [b"www.good.com"]


@pytest.mark.parametrize(
    ("path", "root", "outer"),
    [
        ("/x", "", "/app/x"),
        ("/in/x", "/in", "/app/in/x"),
        ("/x", "/in", "/app/in/x"),
        ("/app/x", "", "/app/app/x"),
    ],
)
def test_prefix_and_root_path(path: str, root: str, outer: str) -> None:
    request = forwarded({"x-forwarded-prefix": "/app/"}, path=path, root_path=root, raw_path=path.encode())
    assert request.url == f"http://inner:8080{outer}"
    assert request.path == ("/app/x" if outer == "/app/app/x" else "/x")
    without = forwarded({"x-forwarded-prefix": "/app"}, path=path, root_path=root)
    assert (without.url, "raw_path" in without.scope) == (request.url, False)


@pytest.mark.parametrize("prefix", ["", "/", "///"])
def test_no_prefix(prefix: str) -> None:
    assert forwarded({"x-forwarded-prefix": prefix}).root_path == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-prefix": "app"},
        {"x-forwarded-prefix": "//evil.com"},
        {"x-forwarded-prefix": "/a/../b"},
        {"x-forwarded-prefix": "/."},
        {"x-forwarded-prefix": "/a?b"},
        {"x-forwarded-prefix": "/%2e%2e"},
        {"x-forwarded-prefix": "/\\evil.com"},
        {"x-forwarded-proto": "ftp"},
        {"x-forwarded-proto": "https, javascript"},
        {"forwarded": 'for="1.2.3.4'},
        {"forwarded": "for=1.2.3.4;proto=gopher"},
    ],
)
def test_what_no_proxy_says(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        forwarded(headers)


def test_of_several_the_nearest_proxy_is_heard() -> None:
    request = forwarded({"x-forwarded-proto": "http, HTTPS", "x-forwarded-host": "forged.com, good.com:444"})
    assert request.url == "https://good.com:444/"
    assert forwarded({"x-forwarded-proto": "", "x-forwarded-host": ""}).url == "http://inner:8080/"


def test_a_bad_forwarded_host_is_400_when_it_is_used() -> None:
    request = forwarded({"x-forwarded-host": "a/admin?x="})
    with pytest.raises(BadRequest):
        _ = request.url


@pytest.mark.parametrize(("proto", "scheme"), [("http", "ws"), ("https", "wss"), ("wss", "wss")])
def test_scheme_of_a_websocket(proto: str, scheme: str) -> None:
    request = TRUST(websocket_of({"x-forwarded-proto": proto}, client=PEER))
    assert request.scheme == scheme


@pytest.mark.parametrize(
    ("value", "client", "url"),
    [
        ("for=1.2.3.4", ("1.2.3.4", 0), "http://inner:8080/"),
        ("For=1.2.3.4;PROTO=https;Host=good.com;by=x", ("1.2.3.4", 0), "https://good.com/"),
        ('for="[2a00::1]:80"; proto="https"', ("2a00::1", 80), "https://inner:8080/"),
        ("for=9.9.9.9;host=forged.com, for=1.2.3.4;host=good.com", ("1.2.3.4", 0), "http://good.com/"),
        (
            "for=9.9.9.9;host=f.com, for=1.2.3.4;host=good.com, for=10.0.0.1;host=in",
            ("1.2.3.4", 0),
            "http://good.com/",
        ),
        ("for=_hidden;host=good.com", PEER, "http://good.com/"),
        ("for=unknown;proto=https,for=10.0.0.1;proto=http", ("10.0.0.1", 0), "https://inner:8080/"),
        ("host=good.com", PEER, "http://good.com/"),
        ("", PEER, "http://inner:8080/"),
    ],
)
def test_forwarded(value: str, client: tuple[str, int], url: str) -> None:
    request = forwarded({"forwarded": value})
    assert (request.client, request.url) == (client, url)


def test_forwarded_counts_only_without_the_others() -> None:
    # A proxy that writes X-Forwarded-For passes a client's own Forwarded on.
    assert forwarded({"forwarded": "for=9.9.9.9", "x-forwarded-for": "1.2.3.4"}).client == ("1.2.3.4", 0)
    assert forwarded({"forwarded": "for=9.9.9.9", "x-forwarded-proto": "https"}).client == PEER
    only = TrustProxy(["10.0.0.0/8"], headers=["Forwarded"])
    assert forwarded(ALL, trust=only).client == ("5.6.7.8", 0)


def test_headers_that_are_not_named_are_not_read() -> None:
    trust = TrustProxy(["10.0.0.9"], headers=["X-Forwarded-For", "x-forwarded-proto"])
    request = forwarded(ALL, trust=trust)
    assert (request.client, request.url) == (("1.2.3.4", 0), "https://inner:8080/")
    assert len(request.id) == 16


@pytest.mark.parametrize(
    "name", ["a", "a" * 128, "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "Root=1-67/a+b:c@d._~"]
)
def test_request_id(name: str) -> None:
    fits = "~" not in name
    assert (forwarded({"x-request-id": name}).id == name) is fits


@pytest.mark.parametrize("name", ["", "a" * 129, "a b", "a\x1b[31m", "a, b", "é"])
def test_request_id_that_is_none(name: str) -> None:
    assert len(forwarded({"x-request-id": name}).id) == 16


def test_a_unix_socket_is_a_peer_too() -> None:
    trust = TrustProxy(["unix"])
    for client in (None, ("", 0)):
        assert forwarded({"x-forwarded-for": "1.2.3.4"}, client, trust).client == ("1.2.3.4", 0)
    assert forwarded({"x-forwarded-for": "1.2.3.4"}, PEER, trust).client == PEER


def test_an_ipv4_peer_of_a_socket_for_both() -> None:
    assert forwarded({"x-forwarded-for": "1.2.3.4"}, ("::ffff:10.0.0.1", 1)).client == ("1.2.3.4", 0)


@pytest.mark.parametrize(
    ("networks", "options"),
    [
        ([], {}),
        (["*"], {}),
        (["10.0.0.1/8"], {}),
        (["localhost"], {}),
        ([""], {}),
        (["10.0.0.0/8"], {"headers": ["x-real-ip"]}),
    ],
)
def test_trust_that_can_not_be(networks: Any, options: Any) -> None:
    with pytest.raises(ValueError, match=r"network|header|host bits"):
        TrustProxy(networks, **options)


def test_trust_takes_lists() -> None:
    wrong: Any = "10.0.0.0/8"
    with pytest.raises(TypeError):
        TrustProxy(wrong)
    with pytest.raises(TypeError):
        TrustProxy([wrong], headers=wrong)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("1.2.3.4:", ("1.2.3.4", 0)),
        ("1.2.3.4:_hidden", ("1.2.3.4", 0)),
        ("[::1]", ("::1", 0)),
        ("[::1]:80", ("::1", 80)),
        ("2001:DB8:0::1", ("2001:db8::1", 0)),
        ("[::1]80", None),
        ("[::1", ("::1", 0)),
        ("fe80::1%eth0", None),
        ("01.2.3.4", None),
        ("1.2.3", None),
        ("1.2.3.4.5", None),
        ("1.2.3.4/8", None),
        ("16909060", None),
        ("٣.2.3.4", None),
        ("unknown", None),
        ("_x", None),
        ("", None),
        (":", None),
    ],
)
def test_parse_node(text: str, node: Any) -> None:
    assert parse_node(text) == node


@pytest.mark.parametrize(
    ("value", "elements"),
    [
        ("", [{}]),
        ("a=b", [{"a": "b"}]),
        (" A=b ; c=d ,\te=f", [{"a": "b", "c": "d"}, {"e": "f"}]),
        ('a="b;c,d=e\\"f\\\\"', [{"a": 'b;c,d=e"f\\'}]),
        ("a=[::1]:80", [{"a": "[::1]:80"}]),
        ("a=b=c", [{"a": "b=c"}]),
        (";;a=b;", [{"a": "b"}]),
        (",", [{}, {}]),
        ('a=""', [{"a": ""}]),
    ],
)
def test_parse_forwarded(value: str, elements: list[dict[str, str]]) -> None:
    assert parse_forwarded(value) == elements


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "=b",
        "a=",
        "a= b",
        "a =b",
        "a=b c",
        'a="b',
        'a="b\\"',
        'a="b"c',
        'a=b"c"',
        "a=1;A=2",
        'for="x, for="[2a00::1]:80"',
        "a=b\n",
        " " * 60_000 + "a",
        'a="' + "\\" * 60_001,
        "a" * 60_000,
        "a=" + "b" * 60_000 + " c",
    ],
)
def test_parse_forwarded_of_what_is_none(value: str) -> None:
    with pytest.raises(BadRequest, match="Bad Forwarded header"):
        parse_forwarded(value)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus_of_forwarded(path: Path) -> None:
    whole = path.read_bytes().decode("latin-1")
    for end in range(len(whole) + 1):
        value = whole[:end]
        try:
            elements = parse_forwarded(value)
        except BadRequest:
            continue
        assert sum(map(len, elements)) <= value.count("=")
        texts = [";".join([f'{name}="{_escape(text)}"' for name, text in e.items()]) for e in elements]
        assert parse_forwarded(",".join(texts)) == elements


@given(st.text(st.sampled_from('af1.:[]=";,\\ \t_\xe9')))
@example('for="\\')
def test_what_is_forwarded_never_breaks_anything(value: str) -> None:
    try:
        request = forwarded({"forwarded": value})
    except BadRequest:
        return
    assert request.client[0]


@given(st.text(st.sampled_from("1f.:[],%_ \t")))
def test_what_x_forwarded_for_says_is_an_address(value: str) -> None:
    client = forwarded({"x-forwarded-for": value}).client
    assert client == PEER or parse_node(client[0]) == (client[0], 0)


# In an app


trust_proxy = TrustProxy(["127.0.0.1"])
cors = Cors([ORIGIN])
secure_headers = SecureHeaders(hsts=60)


@to_asgi
async def main(request: Any) -> Any:
    trust_proxy(request)
    trusted_hosts(request, ["good.com"])
    if answer := cors.preflight(request):
        return answer
    return secure_headers(request, cors(request, await response_of(request, site(request))))


async def site(request: Any) -> Any:
    check_origin(request, allowed=[ORIGIN])
    if isinstance(request, WebsocketRequest):
        await request.accept()
        return None
    return request.url


def test_all_of_it_around_a_part_of_an_app() -> None:
    base = {"host": "in", "x-forwarded-host": "good.com", "x-forwarded-proto": "https"}
    answer = ask(main, "/a", headers=base)
    assert answer.text == "https://good.com/a"
    assert answer.headers["strict-transport-security"] == "max-age=60"
    assert ask(main, headers={"host": "in"}).status_code == 400
    asked = {**base, "origin": ORIGIN, "access-control-request-method": "POST"}
    assert ask(main, method="OPTIONS", headers=asked).status_code == 204
    refused = ask(main, method="POST", headers={**base, "origin": "https://evil.com"})
    assert (refused.status_code, refused.text) == (403, "Cross-site request refused")
    assert refused.headers["x-content-type-options"] == "nosniff"
    allowed = ask(main, method="POST", headers={**base, "origin": ORIGIN})
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert ask_ws(main, headers={**base, "origin": "https://good.com"}).accepted


def test_the_same_dict_for_everybody_is_never_written_into() -> None:
    shared = {"x-shared": "1"}

    @to_asgi
    async def shared_headers(request: HttpRequest) -> Any:
        return secure_headers(request, cors(request, (shared, "x")))

    for _ in range(3):
        ask(shared_headers, headers={"origin": ORIGIN})
    assert shared == {"x-shared": "1"}
