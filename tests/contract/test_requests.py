"""What a handler learns of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.contract.harness import Headers, Server


def about(server: Server, path: str, headers: Headers | None = None) -> Any:
    return server.get(path, headers).json()


def test_method_and_verb_are_told(server: Server) -> None:
    told = server.request("PATCH", "/about").json()
    assert (told["method"], told["verb"]) == ("PATCH", "PATCH")


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/about", ["about"]),
        ("/about/", ["about", ""]),
        ("/about//x", ["about", "", "x"]),
        ("/about/a%20b", ["about", "a b"]),
        ("/about/a%2Fb", ["about", "a/b"]),
        ("/about/a%2fb/c", ["about", "a/b", "c"]),
        ("/about/%C3%A9t%C3%A9", ["about", "été"]),
        ("/about/a+b", ["about", "a+b"]),
        ("/about/%25", ["about", "%"]),
        ("/about/a%252Fb", ["about", "a%2Fb"]),
        ("/about/a;b=c", ["about", "a;b=c"]),
    ],
)
def test_parts_are_split_before_they_are_decoded(server: Server, target: str, parts: list[str]) -> None:
    assert about(server, target)["parts"] == parts


def test_root_has_no_parts(server: Server) -> None:
    assert server.get("/").text == "index"


def test_path_is_decoded(server: Server) -> None:
    assert about(server, "/about/a%20%C3%A9")["path"] == "/about/a é"


def test_query_is_told_in_order(server: Server) -> None:
    told = about(server, "/about?a=1&b=%C3%A9+x&a=2&empty=")
    assert told["querylist"] == [["a", "1"], ["b", "é x"], ["a", "2"], ["empty", ""]]


def test_query_is_told_as_a_dict(server: Server) -> None:
    assert about(server, "/about?a=1&b=%26")["querydict"] == {"a": "1", "b": "&"}


def test_header_names_are_lower_case(server: Server) -> None:
    assert about(server, "/about", [("X-Mixed-Case", "Value")])["headers"]["x-mixed-case"] == "Value"


def test_repeated_headers_are_joined(server: Server) -> None:
    told = about(server, "/about", [("x-repeated", "a"), ("x-repeated", "b")])
    assert told["headers"]["x-repeated"] == "a, b"


def test_repeated_headers_are_told_apart(server: Server) -> None:
    assert about(server, "/about", [("x-repeated", "a"), ("x-repeated", "b")])["repeated"] == ["a", "b"]


def test_header_value_is_read_as_latin_1(server: Server) -> None:
    assert about(server, "/about", [("x-name", b"caf\xe9")])["headers"]["x-name"] == "café"


def test_client_is_a_tuple_of_address_and_port(server: Server) -> None:
    told = about(server, "/about")
    assert (told["client_type"], told["client"][0], type(told["client"][1])) == ("tuple", "127.0.0.1", int)


def test_host_is_told_without_the_port(server: Server) -> None:
    assert about(server, "/about", [("host", "example.com:8080")])["host"] == "example.com"


def test_port_is_told_apart(server: Server) -> None:
    assert about(server, "/about", [("host", "example.com:8080")])["port"] == 8080


def test_url_is_the_one_that_was_asked_for(server: Server) -> None:
    told = about(server, "/about/a%2Fb?x=%20y", [("host", "example.com:8080")])
    assert told["url"] == "http://example.com:8080/about/a%2Fb?x=%20y"


def test_http_version_is_told(server: Server) -> None:
    assert about(server, "/about")["http_version"] == "1.1"


def test_forwarded_headers_change_nothing(server: Server) -> None:
    told = about(server, "/about", [("x-forwarded-host", "evil.example")])
    assert told["host"] != "evil.example"


def test_state_of_the_scope_is_the_requests(server: Server) -> None:
    assert about(server, "/state") == {"state": "blue"}


@pytest.mark.parametrize("content", [b"", b"x", b"\x00\xff" * 100])
def test_body_arrives_as_sent(server: Server, content: bytes) -> None:
    assert server.post("/body/echo", content).body == content


def test_body_of_5_megabytes_arrives_whole(server: Server) -> None:
    assert server.post("/body/size", b"x" * 5_000_000).text == "5000000"


def test_body_of_5_megabytes_is_iterated(server: Server) -> None:
    assert server.post("/body/iterated", b"x" * 5_000_000).text == "5000000"


def test_body_in_chunks_arrives_whole(server: Server) -> None:
    chunks = (b"x" * 1000 for _ in range(50))
    assert server.request("POST", "/body/size", content=chunks).text == "50000"


def test_body_is_kept(server: Server) -> None:
    assert server.post("/body/twice", b"abc").json() == {"same": True}


def test_body_that_is_not_read_does_no_harm(server: Server) -> None:
    assert server.post("/body/unread", b"x" * 100_000).text == "not read"
    assert server.get("/result/text").status == 200


@pytest.mark.parametrize("value", [{"a": [1]}, [1, 2], "text", 3, None])
def test_json_is_decoded(server: Server, value: Any) -> None:
    import json

    reply = server.post("/body/json", json.dumps(value).encode(), [("content-type", "application/json")])
    assert reply.json() == {"got": value}


@pytest.mark.parametrize("content", [b"", b"{", b"{}{}", b"NaN", b"\xff", b"[" * 100_000])
def test_json_that_is_none_is_400(server: Server, content: bytes) -> None:
    reply = server.post("/body/json", content, [("content-type", "application/json")])
    assert (reply.status, server.all_errors()) == (400, [])


def test_json_error_says_nothing_of_the_inside(server: Server) -> None:
    reply = server.post("/body/json", b"{", [("content-type", "application/json")])
    assert "Error" not in reply.text
    assert "Traceback" not in reply.text


def test_body_within_the_limit_is_read(server: Server) -> None:
    assert server.post("/body/limit", b"x" * 10).body == b"x" * 10


def test_body_over_the_limit_is_413(server: Server) -> None:
    assert server.post("/body/limit", b"x" * 11).status == 413


def test_body_over_the_limit_in_chunks_is_413(server: Server) -> None:
    assert server.request("POST", "/body/limit", content=iter([b"x" * 6, b"x" * 6])).status == 413


def test_body_over_the_limit_is_not_logged(server: Server) -> None:
    server.post("/body/limit", b"x" * 11)
    assert server.all_errors() == []


def test_body_over_the_limit_cannot_be_swallowed(server: Server) -> None:
    assert server.post("/body/limit-swallowed", b"x" * 11).status == 413


def test_body_over_the_limit_may_have_another_4xx(server: Server) -> None:
    reply = server.post("/body/limit-own-answer", b"x" * 11)
    assert (reply.status, reply.text) == (400, "too much for me")
