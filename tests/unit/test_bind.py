"""bind strings, and the sockets that come of them."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest

from asgineer import _bind
from asgineer._bind import Bind, bound, parse_bind

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "bind", "url"),
    [
        ("localhost:8080", Bind("localhost", 8080), "http://localhost:8080"),
        ("127.0.0.1:0", Bind("127.0.0.1", 0), "http://127.0.0.1:0"),
        ("[::1]:8080", Bind("::1", 8080), "http://[::1]:8080"),
        ("[fe80::1%eth0]:1", Bind("fe80::1%eth0", 1), "http://[fe80::1%eth0]:1"),
        (":8080", Bind("", 8080), "http://localhost:8080"),
        ("0.0.0.0:80", Bind("0.0.0.0", 80), "http://localhost:80"),
        ("[::]:80", Bind("::", 80), "http://localhost:80"),
        ("my-host.example:65535", Bind("my-host.example", 65535), "http://my-host.example:65535"),
        ("unix:/run/web.sock", Bind(path="/run/web.sock"), "unix:/run/web.sock"),
        ("unix:web.sock", Bind(path="web.sock"), "unix:web.sock"),
    ],
)
def test_parse_bind(text: str, bind: Bind, url: str) -> None:
    assert parse_bind(text) == bind
    assert str(bind) == text
    assert bind.url() == url


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "localhost",
            "8080",
            "localhost:",
            "localhost:http",
            "localhost:65536",
            "localhost:-1",
            "unix:",
        ),
        *(
            "::1:8080",
            "[::1]",
            "[localhost]:80",
            "http://localhost:80",
            "localhost:80/",
            "a b:80",
            "localhost:٣",
        ),
    ],
)
def test_parse_bind_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid bind") as caught:
        parse_bind(text)
    assert repr(text) in str(caught.value)


def test_a_url_can_be_secure() -> None:
    assert Bind("example.org", 443).url("https") == "https://example.org:443"


def test_port_0_becomes_a_real_one_and_the_sockets_are_closed() -> None:
    with bound(Bind("127.0.0.1", 0), keep=True) as (bind, [sock]):
        assert bind.port == sock.getsockname()[1] > 0
        assert not sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        )  # a client is refused until it serves
    assert sock.fileno() == -1


def test_a_server_that_binds_by_itself_gets_a_number_and_a_free_port() -> None:
    with bound(Bind("localhost", 0), keep=False) as (bind, sockets):
        assert (bind.host, sockets) == ("127.0.0.1", ())
        socket.create_server((bind.host, bind.port)).close()


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_every_address_is_one_socket_for_each_kind_on_the_same_port() -> None:
    with bound(Bind("", 0), keep=True) as (bind, sockets):
        found = [(sock.family, sock.getsockname()[:2]) for sock in sockets]
    assert found == [(socket.AF_INET, ("0.0.0.0", bind.port)), (socket.AF_INET6, ("::", bind.port))]
    with bound(Bind("", 0), keep=False) as (bind, _):
        assert bind.host == "::"


def test_ipv6_is_left_out_where_the_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_ipv6(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return _tcp_socket(family, host, port)

    _tcp_socket = _bind._tcp_socket
    monkeypatch.setattr(_bind, "_tcp_socket", without_ipv6)
    with bound(Bind("", 0), keep=True) as (_, sockets):
        assert [sock.family for sock in sockets] == [socket.AF_INET]
    with bound(Bind("", 0), keep=False) as (bind, _):
        assert bind.host == "0.0.0.0"
    with pytest.raises(OSError, match="not supported"), bound(Bind("::1", 0), keep=True):
        pass


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_a_port_that_is_taken_on_one_of_the_addresses_is_taken() -> None:
    with (
        socket.create_server(("::1", 0), family=socket.AF_INET6) as other,
        pytest.raises(OSError, match=r"Cannot listen on :\d+: Address already in use"),
        bound(Bind("", other.getsockname()[1]), keep=True),
    ):
        pass


@pytest.mark.parametrize("keep", [True, False])
def test_a_port_in_use_names_the_place(keep: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = Bind("127.0.0.1", other.getsockname()[1])
        with pytest.raises(OSError, match="Address already in use") as caught, bound(bind, keep=keep):
            pass
    assert caught.value.strerror == f"Cannot listen on {bind}: Address already in use"
    assert caught.value.errno == errno.EADDRINUSE


def test_a_host_that_is_not_known_names_the_place() -> None:
    with (
        pytest.raises(OSError, match="Cannot listen on nowhere.invalid:80: "),
        bound(Bind("nowhere.invalid", 80), keep=True),
    ):
        pass


def test_the_file_of_a_unix_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with bound(Bind(path=str(path)), keep=True) as (bind, [sock]):
        assert bind == Bind(path=str(path))
        assert sock.family == socket.AF_UNIX
        assert path.is_socket()
    assert not path.exists()
    with bound(Bind(path=str(path)), keep=False) as (_, sockets):
        assert sockets == ()
        assert not path.exists()


def test_a_unix_socket_that_somebody_listens_on_is_in_use(tmp_path: Path) -> None:
    path = str(tmp_path / "web.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with (
            pytest.raises(OSError, match=f"Cannot listen on unix:{path}: Address already in use"),
            bound(Bind(path=path), keep=True),
        ):
            pass
    with bound(Bind(path=path), keep=True):  # now it is stale
        pass


def test_a_file_is_not_replaced_by_a_unix_socket(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("dear diary")
    with pytest.raises(OSError, match="Address already in use"), bound(Bind(path=str(file)), keep=True):
        pass
    assert file.read_text() == "dear diary"


@pytest.mark.parametrize("path", ["/nowhere/web.sock", "/tmp/" + "long" * 50])
def test_a_unix_socket_that_cannot_be_made(path: str) -> None:
    with pytest.raises(OSError, match=f"Cannot listen on unix:{path}: "), bound(Bind(path=path), keep=True):
        pass


def test_a_datagram_socket_is_not_taken_for_a_stale_one(tmp_path: Path) -> None:
    path = str(tmp_path / "log.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        assert not _bind._is_stale(path)
