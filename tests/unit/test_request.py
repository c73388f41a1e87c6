"""BaseRequest: what is read off the scope. Tables of scopes and what they mean."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import BadRequest, BaseRequest, HTTPError, HttpRequest, InvalidData, Limits, WebsocketRequest
from asgineer._request import Settings

from .asgi import encode_pairs

if TYPE_CHECKING:
    from .asgi import Message


async def _receive() -> Message:
    raise AssertionError("nothing here reads")


async def _send(message: Message) -> None:
    raise AssertionError("nothing here sends")


def request_of(headers: Any = (), limits: Limits | None = None, **scope: Any) -> HttpRequest:
    """Return a request with a scope as small as ASGI allows, plus what is given."""
    request = HttpRequest(
        {"type": "http", "method": "GET", "path": "/", "headers": encode_pairs(headers), **scope},
        _receive,
        _send,
    )
    if limits is not None:
        request._settings = Settings(limits=limits)
    return request


# What was asked for


@pytest.mark.parametrize(
    ("method", "verb"),
    [("GET", "GET"), ("HEAD", "GET"), ("POST", "POST"), ("geT", "geT"), ("__class__", "__class__")],
)
def test_method_and_verb(method: str, verb: str) -> None:
    request = request_of(method=method)
    assert (request.method, request.verb) == (method, verb)


def test_a_small_scope_is_enough() -> None:
    request = request_of()
    assert (request.http_version, request.scheme, request.root_path) == ("1.1", "http", "")
    assert (request.url, request.querylist, request.client) == ("http://localhost/", [], ("", 0))
    assert (request.raw_path, request.parts, request.state) == (b"/", (), {})
    websocket = WebsocketRequest({"type": "websocket", "path": "/", "headers": []}, _receive, _send)
    assert (websocket.scheme, websocket.url) == ("ws", "ws://localhost/")


def test_http_version() -> None:
    assert request_of(http_version="2").http_version == "2"


def test_repr_is_bounded() -> None:
    assert repr(request_of(path="/a", method="PUT")) == "<HttpRequest PUT '/a'>"
    assert len(repr(request_of(path="/" + "x" * 10_000))) < 300


def test_label_is_settable() -> None:
    request = request_of()
    assert request.label == ""
    request.label = "item"
    assert (request.label, request_of().label) == ("item", "")


def test_id() -> None:
    request = request_of({"x-request-id": "forged"})
    assert request.id == request.id
    assert len(request.id) == 16
    assert request.id != request_of().id
    assert int(request.id, 16) >= 0


# Headers


def test_headers_are_a_plain_dict() -> None:
    request = request_of(
        [("Accept", "a"), ("X-Twice", "1"), ("x-twice", "2"), ("Cookie", "a=b"), ("cookie", "c=d")]
    )
    headers = request.headers
    assert headers == {"accept": "a", "x-twice": "1, 2", "cookie": "a=b; c=d"}
    assert isinstance(headers, dict)
    assert json.loads(json.dumps(headers)) == headers
    assert request.headers is headers
    headers["x-own"] = "mine"
    assert request.headers["x-own"] == "mine"
    assert headers.getlist("x-twice") == ["1", "2"]


def test_headers_of_two_requests_are_two() -> None:
    scope = request_of({"a": "b"}).scope
    first, second = (HttpRequest(scope, _receive, _send) for _ in range(2))
    first.headers["x"] = "y"
    assert second.headers == {"a": "b"}


# Host, port, scheme, url


@pytest.mark.parametrize(
    ("header", "host", "port"),
    [
        ("example.com", "example.com", 80),
        ("EXAMPLE.com:8080", "example.com", 8080),
        ("example.com:", "example.com", 80),
        ("localhost:0", "localhost", 0),
        ("127.0.0.1:65535", "127.0.0.1", 65535),
        ("[::1]", "::1", 80),
        ("[2001:DB8::1]:443", "2001:db8::1", 443),
        ("[::ffff:1.2.3.4]:1", "::ffff:1.2.3.4", 1),
        ("a_b-c.~x", "a_b-c.~x", 80),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", 80),
    ],
)
def test_host(header: str, host: str, port: int) -> None:
    request = request_of({"host": header})
    assert (request.host, request.port) == (host, port)


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "a b",
        " a",
        "a\t",
        "a/admin?x=",
        "a?b",
        "a#b",
        "a\\b",
        "evil.com@good.com",
        "[::1",
        "::1",
        "[]",
        "[.]",
        "[1.2.3.4]",
        "[::1]x",
        "[::1%eth0]",
        "[g::1]",
        "a:b",
        "a:-1",
        "a:+1",
        "a:99999",
        "a:65536",
        "a:123456",
        "a:8_0",
        "a:80:80",
        ":80",
        "a,b",
        "\xe9.com",
        "a\x00",
        "a%2e",
        "x" * 256,
        "a\n",
    ],
)
@pytest.mark.parametrize("what", ["host", "port", "url"])
def test_bad_host(header: str, what: str) -> None:
    request = request_of({"host": header}, path="/fine")
    assert request.path == "/fine"
    assert request.parts == ("fine",)
    with pytest.raises(BadRequest) as caught:
        getattr(request, what)
    assert caught.value.body == "Bad Host header"


def test_two_host_headers() -> None:
    with pytest.raises(BadRequest, match="Bad Host header"):
        _ = request_of([("host", "a"), ("host", "a")]).host


@pytest.mark.parametrize("name", ["x-forwarded-host", "forwarded", "x-host", "x-original-host"])
def test_headers_of_proxies_are_not_trusted(name: str) -> None:
    request = request_of({"host": "good.com", name: "evil.com", "x-forwarded-proto": "https"})
    assert (request.host, request.scheme, request.url) == ("good.com", "http", "http://good.com/")


def test_underscores_are_no_hyphens() -> None:
    request = request_of({"X_Real_IP": "1"})
    assert request.headers == {"x_real_ip": "1"}


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        (("10.0.0.1", 8000), "10.0.0.1", 8000),
        (["10.0.0.1", 8000], "10.0.0.1", 8000),
        (("::1", 80), "::1", 80),
        (("/run/app.sock", None), "localhost", 80),
        (None, "localhost", 80),
    ],
)
def test_host_without_a_header(server: Any, host: str, port: int) -> None:
    request = request_of(server=server)
    assert (request.host, request.port) == (host, port)


@pytest.mark.parametrize("name", ["host", "port", "url"])
def test_http_1_1_without_host_is_400(name: str) -> None:
    with pytest.raises(BadRequest, match="No Host header"):
        getattr(request_of(http_version="1.1", server=("10.0.0.1", 8000)), name)


@pytest.mark.parametrize("version", ["1.0", "2"])
def test_other_versions_need_no_host(version: str) -> None:
    assert request_of(http_version=version, server=("10.0.0.1", 8000)).host == "10.0.0.1"


@pytest.mark.parametrize(
    ("target", "path", "url"),
    [
        ("@evil.com", "/@evil.com", "http://good.com/@evil.com"),
        (":80@evil.com/x", "/:80@evil.com/x", "http://good.com/:80@evil.com/x"),
        (".evil.com", "/.evil.com", "http://good.com/.evil.com"),
        ("a:80", "/a:80", "http://good.com/a:80"),
        ("http://other/x/y", "/x/y", "http://good.com/x/y"),
        ("HTTPS://other:80/x", "/x", "http://good.com/x"),
        ("http://other", "", "http://good.com"),
        ("http://other//x", "//x", "http://good.com//x"),
        ("ftp://other/x", "/ftp://other/x", "http://good.com/ftp://other/x"),
        ("*", "*", "http://good.com"),
        ("*.evil.com", "/*.evil.com", "http://good.com/*.evil.com"),
        ("", "", "http://good.com"),
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_target_that_is_no_path(target: str, path: str, url: str, raw: bool) -> None:
    request = request_of({"host": "good.com"}, path=target, raw_path=target.encode() if raw else None)
    assert request.path == path
    assert request.url.replace("%3A", ":").replace("%40", "@").replace("%2A", "*") == url
    assert request.parts == (tuple(path.removeprefix("/").split("/")) if path else ())


@pytest.mark.parametrize(
    ("scheme", "host", "url"),
    [
        ("http", "a", "http://a/"),
        ("http", "a:80", "http://a/"),
        ("http", "a:443", "http://a:443/"),
        ("https", "a:443", "https://a/"),
        ("https", "a:80", "https://a:80/"),
        ("https", "A", "https://a/"),
        ("http", "[::1]:80", "http://[::1]/"),
        ("http", "[::1]:81", "http://[::1]:81/"),
        ("http", "a:", "http://a/"),
        ("gopher", "a", "gopher://a/"),
        ("gopher", "a:70", "gopher://a:70/"),
    ],
)
def test_url(scheme: str, host: str, url: str) -> None:
    request = request_of({"host": host}, scheme=scheme)
    assert request.url == url
    assert request.scheme == scheme


def test_port_of_an_unknown_scheme() -> None:
    assert request_of({"host": "a"}, scheme="gopher").port is None


@pytest.mark.parametrize(
    ("raw_path", "path", "query", "url"),
    [
        (b"/a%2Fb/%C3%A9", "/a/b/é", b"x=%20&y", "http://a/a%2Fb/%C3%A9?x=%20&y"),
        (None, "/a b/é", b"", "http://a/a%20b/%C3%A9"),
        (b"//evil.com/..", "//evil.com/..", b"", "http://a//evil.com/.."),
        (b"/x?y=1", "/x", b"y=1", "http://a/x?y=1"),
    ],
)
def test_url_is_built_from_parts(raw_path: bytes | None, path: str, query: bytes, url: str) -> None:
    assert request_of({"host": "a"}, raw_path=raw_path, path=path, query_string=query).url == url


# Path


@pytest.mark.parametrize(
    ("raw_path", "parts"),
    [
        (b"/", ()),
        (b"", ()),
        (b"/a", ("a",)),
        (b"/a/", ("a", "")),
        (b"//", ("", "")),
        (b"//a", ("", "a")),
        (b"/a//b", ("a", "", "b")),
        (b"/a%2Fb/c", ("a/b", "c")),
        (b"/a%2fb", ("a/b",)),
        (b"/%C3%A9", ("é",)),
        ("/é".encode(), ("é",)),
        (b"/%ff", ("\ufffd",)),
        (b"/\xff", ("\ufffd",)),
        (b"/%zz/%", ("%zz", "%")),
        (b"/%252e", ("%2e",)),
        (b"/a;v=1", ("a;v=1",)),
        (b"/..%2f..%2fb", ("../../b",)),
        (b"/%00", ("\x00",)),
        (b"/a+b", ("a+b",)),
        (b"/a?b/c", ("a",)),
        (b"*", ("*",)),
    ],
)
def test_parts(raw_path: bytes, parts: tuple[str, ...]) -> None:
    from urllib.parse import unquote_to_bytes

    path = unquote_to_bytes(raw_path.partition(b"?")[0]).decode("utf-8", "replace")
    request = request_of(raw_path=raw_path, path=path)
    assert request.parts == parts
    assert request.parts is request.parts
    assert request.path == path
    assert request.raw_path == raw_path.partition(b"?")[0]


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/", ()),
        ("", ()),
        ("/a/", ("a", "")),
        ("/a b/é", ("a b", "é")),
        ("/100%/%41", ("100%", "%41")),
        ("//", ("", "")),
    ],
)
def test_parts_without_raw_path(path: str, parts: tuple[str, ...]) -> None:
    assert request_of(path=path).parts == parts
    assert request_of(path=path, raw_path=None).parts == parts


@pytest.mark.parametrize(
    ("root_path", "path", "raw_path", "inner", "parts"),
    [
        ("", "/a/b", b"/a/b", "/a/b", ("a", "b")),
        ("/a", "/a/b", b"/a/b", "/b", ("b",)),
        ("/a/", "/a/b", b"/a/b", "/b", ("b",)),
        ("/a", "/a", b"/a", "", ()),
        ("/a", "/a/", b"/a/", "/", ()),
        ("/a", "/ab", b"/ab", "/ab", ("ab",)),
        ("/a", "/b/a", b"/b/a", "/b/a", ("b", "a")),
        ("/a", "/b", b"/b", "/b", ("b",)),
        ("/a", "/a/a/b", b"/a/a/b", "/a/b", ("a", "b")),
        ("/a b", "/a b/c", b"/a%20b/c", "/c", ("c",)),
        ("/a b", "/a b/c", b"/a b/c", "/c", ("c",)),
        ("/é", "/é/c%", b"/%C3%A9/c%25", "/c%", ("c%",)),
        ("/a", "/a/b/c", b"/a/b%2Fc", "/b/c", ("b/c",)),
        ("/a", "/a/b", None, "/b", ("b",)),
    ],
)
def test_root_path(
    root_path: str, path: str, raw_path: bytes | None, inner: str, parts: tuple[str, ...]
) -> None:
    request = request_of({"host": "h"}, root_path=root_path, path=path, raw_path=raw_path)
    assert (request.path, request.parts) == (inner, parts)
    assert request.root_path == root_path.rstrip("/")
    assert request.scope["path"] == path


def test_url_has_the_root_path_once() -> None:
    request = request_of({"host": "h"}, root_path="/a b", path="/a b/c", raw_path=b"/a%20b/c")
    assert request.url == "http://h/a%20b/c"
    # hypercorn leaves it out of the path
    assert request_of({"host": "h"}, root_path="/a", path="/c", raw_path=b"/c").url == "http://h/a/c"


# Query


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (b"", []),
        (b"a=1&b=2", [("a", "1"), ("b", "2")]),
        (b"a=1&a=2", [("a", "1"), ("a", "2")]),
        (b"a=1;b=2", [("a", "1;b=2")]),
        (b"a=&b", [("a", ""), ("b", "")]),
        (b"a=b=c", [("a", "b=c")]),
        (b"a+b=%20+", [("a b", "  ")]),
        (b"%C3%A9=%F0%9F%90%8D", [("é", "🐍")]),
        ("é=ü".encode(), [("é", "ü")]),
        (b"a=%ff", [("a", "\ufffd")]),
        (b"a=\xff", [("a", "\ufffd")]),
        (b"a=%zz&b=%", [("a", "%zz"), ("b", "%")]),
        (b"&&&", []),
        (b"__proto__=1", [("__proto__", "1")]),
        (b"a=%00", [("a", "\x00")]),
        (b"a=%ed%a0%80", [("a", "\ufffd\ufffd\ufffd")]),
        (b"a=%26%3D", [("a", "&=")]),
    ],
)
def test_query(query: bytes, fields: list[tuple[str, str]]) -> None:
    request = request_of(query_string=query)
    assert request.querylist == fields
    assert request.querydict == dict(fields)
    assert request.querylist is request.querylist


def test_querydict_is_fresh_and_has_the_last() -> None:
    request = request_of(query_string=b"a=1&a=2")
    request.querydict["a"] = "x"
    assert request.querydict == {"a": "2"}


@pytest.mark.parametrize(("size", "fits"), [(16_383, True), (16_384, True), (16_385, False)])
def test_query_limit(size: int, fits: bool) -> None:
    request = request_of(query_string=b"a" * size)
    if fits:
        assert len(request.querylist[0][0]) == size
    else:
        for _ in range(2):
            with pytest.raises(HTTPError) as caught:
                _ = request.querylist
            assert (caught.value.status, caught.value.body) == (414, "Query string too long")


@pytest.mark.parametrize(("count", "fits"), [(999, True), (1000, True), (1001, False)])
def test_query_fields_limit(count: int, fits: bool) -> None:
    request = request_of(query_string=b"&".join([b"a=1"] * count))
    if fits:
        assert len(request.querylist) == count
    else:
        with pytest.raises(BadRequest) as caught:
            _ = request.querydict
        assert caught.value.body == "Too many query fields"


def test_query_limits_are_the_apps() -> None:
    assert (
        len(request_of(query_string=b"a&" * 50_000, limits=Limits(query=None, query_fields=None)).querylist)
        == 50_000
    )
    with pytest.raises(HTTPError):
        _ = request_of(query_string=b"abc", limits=Limits(query=2)).querylist
    with pytest.raises(BadRequest):
        _ = request_of(query_string=b"a&b", limits=Limits(query_fields=1)).querylist


@dataclasses.dataclass
class Page:
    page: int
    tags: list[str] = dataclasses.field(default_factory=list)


def test_get_query() -> None:
    request = request_of(query_string=b"page=1&tags=a&page=3&tags=b&other=x")
    assert request.get_query(Page) == Page(3, ["a", "b"])


def test_get_query_tells_what_is_wrong() -> None:
    with pytest.raises(InvalidData) as caught:
        request_of(query_string=b"page=x").get_query(Page)
    assert caught.value.errors == {"page": "Expected `int`, got `str`"}
    assert (caught.value.status, caught.value.body) == (422, "page: Expected `int`, got `str`")


def test_get_query_has_the_limits_of_the_query() -> None:
    with pytest.raises(BadRequest, match="Too many query fields"):
        request_of(query_string=b"a&" * 2000).get_query(Page)


# The rest


@pytest.mark.parametrize(
    ("client", "expected"),
    [(("1.2.3.4", 5), ("1.2.3.4", 5)), (["::1", 5], ("::1", 5)), (None, ("", 0)), ("", ("", 0))],
)
def test_client_is_a_tuple(client: Any, expected: tuple[str, int]) -> None:
    request = request_of(client=client)
    assert request.client == expected
    assert type(request.client) is tuple


def test_state_is_a_shallow_copy() -> None:
    pool: list[int] = []
    shared = {"pool": pool}
    first, second = request_of(state=shared), request_of(state=shared)
    first.state["mine"] = 1
    first.state["pool"].append(1)
    assert first.state is first.state
    assert second.state == {"pool": [1]}
    assert shared == {"pool": [1]}


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({"last-event-id": "7"}, b"", "7"),
        ({"last-event-id": "7"}, b"since=5", "7"),
        ({}, b"since=5", "5"),
        ({"last-event-id": ""}, b"since=5", "5"),
        ({}, b"since=", None),
        ({}, b"", None),
    ],
)
def test_last_event_id(headers: dict[str, str], query: bytes, expected: str | None) -> None:
    assert request_of(headers, query_string=query).last_event_id == expected


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    request = BaseRequest({}, _receive, _send)
    assert set(vars(request)) == {"scope", "_receive", "_send"}
