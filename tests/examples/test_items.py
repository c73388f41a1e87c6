"""`examples/items.py`, the JSON API, asked in-process as its users' tests would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asgineer.testing import TestClient
from examples import items

if TYPE_CHECKING:
    from collections.abc import Iterator

LAMP = {"name": "Lamp", "price": 12.5}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(items, "items", {})
    with TestClient(items.main) as client:
        yield client


def test_an_item_is_made_changed_and_removed(client: TestClient) -> None:
    made = client.post("/items", json=LAMP)
    assert made.status_code == 201
    place = made.headers["location"]
    assert client.get(place).json() == made.json() == {"id": made.json()["id"], "tags": [], **LAMP}
    assert client.put(place, json=LAMP | {"tags": ["new"]}).json()["tags"] == ["new"]
    assert client.delete(place).status_code == 204
    assert client.get(place).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [({"price": 1}, "name"), (LAMP | {"price": -1}, "price"), (LAMP | {"colour": "red"}, "colour")],
)
def test_what_is_wrong_is_told(client: TestClient, body: object, field: str) -> None:
    answer = client.post("/items", json=body)
    assert answer.status_code == 422
    assert field in answer.text


def test_a_list_has_pages(client: TestClient) -> None:
    for number in range(5):
        client.post("/items", json={"name": str(number), "price": number})
    names, place = [], "/items?limit=2"
    while place:
        answer = client.get(place)
        names += [item["name"] for item in answer.json()["items"]]
        place = answer.links["next"]["url"] if "next" in answer.links else ""
    assert names == ["0", "1", "2", "3", "4"]
    assert client.get("/items?limit=1000").status_code == 422


def test_errors_are_json(client: TestClient) -> None:
    assert client.get("/items/999").json() == {"error": "Not Found", "fields": {}}
    assert client.patch("/items/1").headers["allow"] == "GET, HEAD, PUT, DELETE"


def test_it_describes_itself(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    schema = described["components"]["schemas"]["NewItem"]
    assert schema["required"] == ["name", "price"]
    assert schema["additionalProperties"] is False
