"""Ending what can't end well: which `send` is recognised, and what is done with it.

The shapes are those of the servers, made by hand; that they are is the contract suite's work.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest

from asgineer._abort import abort, close_code, denies_by_exception


class Transport:
    def __init__(self) -> None:
        self.aborted = 0

    def abort(self) -> None:
        self.aborted += 1


class Cycle:
    """As uvicorn's: `send` is a method of an object that has the transport."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    async def send(self, message: Any) -> None: ...


class Channel:
    def __init__(self) -> None:
        self.lost = 0

    def loseConnection(self) -> None:
        self.lost += 1


class HttpProtocol:
    """As daphne's for HTTP: the connection stands behind it."""

    def __init__(self) -> None:
        self.channel = Channel()


class WebsocketProtocol:
    """As daphne's for websockets: it is the connection."""

    def __init__(self) -> None:
        self.dropped = 0

    def dropConnection(self) -> None:
        self.dropped += 1


class DaphneServer:
    async def handle_reply(self, protocol: Any, message: Any) -> None: ...


DaphneServer.__module__ = "daphne.server"


class OtherServer:
    async def handle_reply(self, protocol: Any, message: Any) -> None: ...


async def plain(message: Any) -> None: ...


def test_uvicorn() -> None:
    transport = Transport()
    assert abort(Cycle(transport).send)
    assert transport.aborted == 1


def test_daphne_http() -> None:
    protocol = HttpProtocol()
    assert abort(functools.partial(DaphneServer().handle_reply, protocol))
    assert protocol.channel.lost == 1


def test_daphne_websocket() -> None:
    protocol = WebsocketProtocol()
    assert abort(functools.partial(DaphneServer().handle_reply, protocol))
    assert protocol.dropped == 1


@pytest.mark.parametrize(
    "send",
    [
        plain,
        functools.partial(plain),
        Cycle(None).send,
        Cycle(object()).send,
        functools.partial(OtherServer().handle_reply, HttpProtocol()),
        functools.partial(DaphneServer().handle_reply),
        functools.partial(DaphneServer().handle_reply, object()),
    ],
)
def test_unknown(send: Any) -> None:
    assert not abort(send)


@pytest.mark.parametrize(
    ("code", "on_daphne"),
    [(1000, 1000), (1001, 4001), (1008, 4008), (1011, 4011), (3000, 3000), (4999, 4999)],
)
def test_close_code(code: int, on_daphne: int) -> None:
    assert close_code(plain, code) == code
    assert close_code(functools.partial(DaphneServer().handle_reply, WebsocketProtocol()), code) == on_daphne


def test_denies_by_exception() -> None:
    assert denies_by_exception(functools.partial(DaphneServer().handle_reply, WebsocketProtocol()))
    assert not denies_by_exception(Cycle(Transport()).send)
    assert not denies_by_exception(plain)
