"""Servers that listen elsewhere than on an IPv4 port, and apps that live below a prefix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.contract.harness import Server, Servers


def about(server: Server, path: str = "/about") -> Any:
    return server.get(path).json()


def test_unix_request_is_served(servers: Servers, setup: str) -> None:
    assert servers.get(setup, "unix").post("/body/echo", b"over a socket").body == b"over a socket"


def test_unix_websocket_is_served(servers: Servers, setup: str) -> None:
    with servers.get(setup, "unix").websocket("/ws/echo") as socket:
        socket.send("over a socket")
        assert socket.receive() == "over a socket"


def test_unix_client_is_a_tuple_too(servers: Servers, setup: str) -> None:
    told = about(servers.get(setup, "unix"))
    assert (told["client_type"], told["client"]) == ("tuple", ["", 0])


def test_ipv6_request_is_served(servers: Servers, setup: str) -> None:
    told = about(servers.get(setup, "ipv6"))
    assert (told["host"], told["client"][0], told["url"][:13]) == ("::1", "::1", "http://[::1]:")


def test_ipv6_websocket_is_served(servers: Servers, setup: str) -> None:
    with servers.get(setup, "ipv6").websocket("/ws/echo") as socket:
        socket.send("x")
        assert socket.receive() == "x"


def test_root_path_is_not_in_the_path(servers: Servers, setup: str) -> None:
    told = about(servers.get(setup, "root_path"), "/about/a%2Fb")
    assert (told["root_path"], told["path"], told["parts"]) == ("/sub", "/about/a/b", ["about", "a/b"])


def test_root_path_is_in_the_url(servers: Servers, setup: str) -> None:
    server = servers.get(setup, "root_path")
    assert about(server, "/about?x=1")["url"] == server.scheme_and_host + "/sub/about?x=1"


def test_root_path_ends_at_a_segment(servers: Servers, setup: str) -> None:
    assert servers.get(setup, "root_path").get("/subabout").status == 404


def test_root_path_is_not_in_a_websockets_path(servers: Servers, setup: str) -> None:
    with servers.get(setup, "root_path").websocket("/ws/about/x") as socket:
        told = json.loads(socket.receive())
    assert (told["path"], told["parts"]) == ("/ws/about/x", ["ws", "about", "x"])
