"""Examples that a page asks by links, scripts and websockets: the guide, the API, the one that moves over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.examples.conftest import Example

    RunExample = Callable[[str], Example]
    NewPage = Callable[[str], Page]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("browser")]

SEND = """async ([path, value]) => {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(value) });
  return [answer.status, answer.headers.get("location"), await answer.json()];
}"""

# Goes from page to page of the list, by what each says of the next one.
WALK = """async () => {
  const names = [];
  for (let path = "/items?limit=2"; path; ) {
    const page = await (await fetch(path)).json();
    names.push(page.items.map((item) => item.name));
    path = page.next;
  }
  return names;
}"""

SPEAK = """(text) => new Promise((resolve, reject) => {
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/echo");
  socket.onopen = () => socket.send(text);
  socket.onmessage = (event) => resolve(event.data);
  socket.onclose = (event) => reject(`closed, ${event.code}`);
})"""


def test_guide_leads_on_and_talks(run_example: RunExample, new_page: NewPage) -> None:
    page = new_page(run_example("guide").url)
    for link, shown in (
        ("A page that shows its path", "You requested /hello/you"),
        ("A list from the API", '[{"number":1,"name":"tea"}'),
        ("one of it", '{"name":"coffee"}'),
        ("A stream", "line 9"),
    ):
        page.get_by_role("link", name=link).click()
        expect(page.locator("body")).to_contain_text(shown)
        page.go_back()
    page.get_by_label("Say something").fill("tea?")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#log")).to_contain_text('< {"echo":"tea?","length":4}')


def test_api_is_used_by_a_page(run_example: RunExample, new_page: NewPage) -> None:
    page = new_page(run_example("items").url + "/items")
    expect(page.locator("body")).to_have_text('{"items":[]}')
    status, _, answer = page.evaluate(SEND, ["/items", {"name": "Lamp", "price": -1}])
    assert status == 422
    assert "at `$.price`" in answer["fields"][""]
    made: list[Any] = [
        page.evaluate(SEND, ["/items", {"name": name, "price": 1}]) for name in ("Lamp", "Chair", "Table")
    ]
    assert [status for status, _, _ in made] == [201, 201, 201]
    assert page.evaluate(WALK) == [["Lamp", "Chair"], ["Table"]]
    page.goto(run_example("items").url + made[1][1])
    expect(page.locator("body")).to_contain_text('"name":"Chair"')


def test_moved_and_unmoved_paths_are_one_site(run_example: RunExample, new_page: NewPage) -> None:
    url = run_example("move_fastapi").url
    page = new_page(url + "/drinks/tea")
    expect(page.locator("body")).to_have_text('{"name":"tea","left":3,"by":"Asgineer"}')
    page.goto(url + "/drinks/water")
    expect(page.locator("body")).to_have_text('{"name":"water","left":100,"by":"FastAPI"}')
    assert page.evaluate(SPEAK, "through both") == "through both"
