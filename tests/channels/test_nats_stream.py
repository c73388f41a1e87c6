"""How channels lie in NATS: URLs, subjects, configurations, messages. Pure."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from asgineer.channels._nats_stream import Layout, Settings, escape, pack, seconds_of, unpack
from asgineer.errors import ChannelError


def config(**changes: Any) -> dict[str, Any]:
    return {**Settings("nats://h").config("tok", 500, 300.0), **changes}


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("nats://h", ["nats://h:4222"]),
        ("nats://h:1", ["nats://h:1"]),
        ("nats://", ["nats://127.0.0.1:4222"]),
        ("nats://a:1,b", ["nats://a:1", "nats://b:4222"]),
        ("nats://me:pw@a,b:2", ["nats://me:pw@a:4222", "nats://me:pw@b:2"]),
        ("nats://tok@a", ["nats://tok@a:4222"]),
        ("nats://[::1]", ["nats://[::1]:4222"]),
        ("nats://[::1]:7", ["nats://[::1]:7"]),
        ("tls://h", ["tls://h:4222"]),
    ],
)
def test_servers_of_a_url(url: str, servers: list[str]) -> None:
    assert Settings(url).servers == servers


def test_options_of_a_url() -> None:
    settings = Settings("nats://h?stream=s&replicas=3&storage=memory&bytes=5&durable=1&credentials=/c")
    assert (settings.stream, settings.replicas, settings.storage) == ("s", 3, "memory")
    assert (settings.bytes, settings.durable, settings.credentials) == (5, True, "/c")


def test_defaults_of_a_url() -> None:
    settings = Settings("nats://h")
    assert (settings.stream, settings.replicas, settings.storage) == ("asgineer", 1, "file")
    assert (settings.bytes, settings.durable, settings.credentials) == (256 * 1024**2, False, None)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nats://h?replicas=x", "are numbers"),
        ("nats://h?bytes=", "are numbers"),
        ("nats://h?stream=a.b", "a.b"),
        ("nats://h?stream=", "A stream's name"),
        ("nats://h?storage=disk", "file or memory, not 'disk'"),
        ("nats://h?strem=x", "Unknown in the URL of a NATS bus: strem"),
    ],
)
def test_a_url_that_is_wrong_says_what(url: str, text: str) -> None:
    with pytest.raises(ChannelError, match=text):
        Settings(url)


def test_what_is_shown_has_no_password() -> None:
    assert Settings("nats://me:secret@a,b:2").shown == "a:4222, b:2"


def test_a_layout_reads_what_a_bus_wrote() -> None:
    layout = Layout(config())
    assert (layout.token, layout.history, layout.ttl) == ("tok", 500, 300.0)
    assert layout.log_of("room") == "asgineer.log.tok.c.room"
    assert layout.live_of("room") == "asgineer.live.tok.c.room"


@pytest.mark.parametrize(
    "changes",
    [
        {"subjects": None},
        {"subjects": ["other.>"]},
        {"subjects": ["asgineer.log.a.b.>"]},
        {"republish": None},
        {"republish": {"src": "asgineer.log.tok.>", "dest": "asgineer.live.other.>"}},
        {"allow_direct": False},
    ],
)
def test_a_stream_that_no_bus_made_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ChannelError, match="that is no bus"):
        Layout(config(**changes))


@pytest.mark.parametrize(
    ("history", "ttl", "covered"),
    [(500, 300.0, True), (1, 0.1, True), (501, 300.0, False), (500, 301.0, False)],
)
def test_what_a_stream_covers(history: int, ttl: float, covered: bool) -> None:
    layout = Layout(config())
    assert layout.covers(history, ttl) == covered
    larger = Layout(layout.enlarged(history, ttl))
    assert larger.covers(history, ttl)
    assert larger.covers(500, 300.0)  # it never shrinks


def test_a_bound_that_an_operator_took_away_stays_away() -> None:
    layout = Layout(config(max_msgs_per_subject=-1, max_age=0))
    assert (layout.history, layout.ttl) == (inf, inf)
    enlarged = layout.enlarged(10, 5.0)
    assert (enlarged["max_msgs_per_subject"], enlarged["max_age"]) == (-1, 0)


def test_a_stream_for_one_message_retains_no_position_before_it() -> None:
    layout = Layout(config(max_msgs_per_subject=1))
    assert layout.history == 0
    assert Layout(layout.enlarged(1, 5.0)).history == 1


def test_enlarging_keeps_what_an_operator_set() -> None:
    assert Layout(config(description="ours", max_bytes=7)).enlarged(900, 5.0)["description"] == "ours"
    assert Layout(config(max_bytes=7)).enlarged(900, 5.0)["max_bytes"] == 7


def test_a_very_short_ttl_is_one_that_the_server_takes() -> None:
    assert config()["max_age"] == 300 * 10**9
    assert Settings("nats://h").config("t", 1, 0.001)["max_age"] == 10**8


@pytest.mark.parametrize(
    ("name", "escaped"),
    [("room-1_A", "room-1_A"), ("a.b", "a=2Eb"), ("*", "=2A"), (">", "=3E"), ("=", "=3D"), ("ü", "=C3=BC")],
)
def test_a_name_is_one_part_of_a_subject(name: str, escaped: str) -> None:
    assert escape(name) == escaped


@pytest.mark.parametrize("kind", ["t", "j", "b"])
def test_a_message_comes_back(kind: str) -> None:
    assert unpack(pack(kind, b"\x00data")) == (kind, b"\x00data")


@pytest.mark.parametrize("message", [b"", b"1", b"1x", b"2tdata", b"\x80\x04K\x01.", b"t1"])
def test_a_message_of_nobody_has_no_kind(message: bytes) -> None:
    assert unpack(message) == ("", b"")


def test_time_stamps_of_the_server() -> None:
    assert seconds_of("1970-01-01T00:00:01.5Z") == 1.5
    assert seconds_of("1970-01-01T00:00:01.500000001Z") == 1.5
