"""Models of pydantic, the real one: as what a body must be, and as a body."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from pydantic import BaseModel, Field, field_validator

from asgineer import HttpRequest, WebsocketRequest, to_asgi

from .asgi import Websocket
from .asking import ask
from .turns import errors, run


class Place(BaseModel):
    city: str


class Order(BaseModel):
    drink: str
    count: int = Field(default=1, gt=0, le=100)
    place: Place | None = None
    due: datetime.date | None = None
    extras: list[Place] = []

    @field_validator("drink")
    @classmethod
    def check_drink(cls, value: str) -> str:
        if value == "mud":
            raise ValueError("we have no mud")
        return value


@to_asgi
async def take(request: HttpRequest) -> Any:
    order = await request.get_json(type=Order)
    assert type(order) is Order
    return order


def post(body: bytes) -> Any:
    return ask(take, method="POST", body=body, headers={"content-type": "application/json"})


def test_there_and_back() -> None:
    given = {
        "drink": "tea",
        "count": 2,
        "place": {"city": "Bonn"},
        "due": "2026-11-22",
        "extras": [{"city": "x"}],
    }
    answer = post(json.dumps(given).encode())
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert json.loads(answer.content) == given


def test_defaults() -> None:
    assert json.loads(post(b'{"drink":"tea"}').content)["count"] == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "drink: Field required"),
        (b'{"drink":"tea","count":0}', "count: Input should be greater than 0"),
        (
            b'{"drink":"tea","extras":[{"city":"x"},{"city":1}]}',
            "extras.1.city: Input should be a valid string",
        ),
        (b'{"drink":"mud"}', "drink: Value error, we have no mud"),
        (b'{"count":"x"}', "drink: Field required\ncount: Input should be a valid integer"),
        (b"[]", "Input should be an object"),
        (b"null", "Input should be an object"),
    ],
)
def test_another_shape_is_422(body: bytes, text: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = post(body)
    assert answer.status_code == 422
    assert text in answer.text
    assert "pydantic" not in answer.text
    assert errors(caplog) == []


def test_of_many_mistakes_the_first_are_told() -> None:
    body = json.dumps({"drink": "tea", "extras": [{"city": number} for number in range(1000)]})
    assert len(post(body.encode()).text.splitlines()) == 20


@pytest.mark.parametrize("body", [b"", b"{", b"{}{}", b"\xff", b'{"drink":NaN}', b"[" * 100_000])
def test_no_json_is_400(body: bytes) -> None:
    assert post(body).status_code == 400


@pytest.mark.parametrize(
    "wrap",
    [
        lambda order: order,
        lambda order: (201, {"x-a": "b"}, order),
        lambda order: {"order": order},
        lambda order: [order, order],
    ],
)
def test_as_a_body(wrap: Any) -> None:
    async def main(request: HttpRequest) -> Any:
        return wrap(Order(drink="tea", due=datetime.date(2026, 11, 22)))

    answer = ask(to_asgi(main))
    assert answer.headers["content-type"] == "application/json"
    assert b'"due":"2026-11-22"' in answer.content
    json.loads(answer.content)


def test_over_a_websocket() -> None:
    @to_asgi
    async def main(request: WebsocketRequest) -> None:
        await request.accept()
        order = await request.receive_json(type=Order)
        await request.send(order.drink)
        await request.receive_json(type=Order)

    async def talk() -> Websocket:
        socket = Websocket(main)
        socket.text('{"drink":"tea"}')
        socket.text('{"drink":3}')
        socket.start()
        await socket.finish()
        return socket

    socket = run(talk())
    assert (socket.messages, socket.close_code) == (["tea"], 1007)
