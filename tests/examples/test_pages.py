"""Examples that are pages and forms, clicked through in a real browser."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import FilePayload

    from tests.examples.conftest import Example, Picture

    RunExample = Callable[[str], Example]
    NewPage = Callable[[str], Page]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("browser")]


# Asks for something now and then, until half of a plot is there.
BUSY = """() => {
  if (Math.random() < 0.7) fetch("/work");
  return document.querySelector("#rate polyline").points.numberOfItems >= 30;
}"""


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def enter(page: Page, name: str, password: str, how: str) -> None:
    page.locator("[name=name]").fill(name)
    page.locator("[name=password]").fill(password)
    press(page, how)


def test_todo_is_a_list_for_each_user(run_example: RunExample, new_page: NewPage, picture: Picture) -> None:
    url = run_example("todo").url
    page = new_page(url)
    enter(page, "Ann!", "short", "Join")
    expect(page.locator("small")).to_have_text(
        ["From 2 to 30 small letters and digits", "At least 8 characters"]
    )
    expect(page.locator("[name=name]")).to_have_value("Ann!")
    enter(page, "ann", "correct horse", "Join")
    expect(page.locator(".flash")).to_have_text("Welcome, ann")
    page.get_by_placeholder("What next?").fill("Buy <b>tea</b>")
    press(page, "Add")
    expect(page.locator("li span")).to_have_text(["Buy <b>tea</b>"])
    expect(page.locator(".flash")).to_have_count(0)  # shown once
    press(page, "Add")
    expect(page.locator("small")).to_have_text("From 1 to 200 characters")
    press(page, "Done")
    expect(page.locator("li.done")).to_have_count(1)
    picture(page, "todo")

    other = new_page(url)
    enter(other, "ann", "another password", "Join")
    expect(other.locator("small")).to_have_text("Somebody has this name already")
    enter(other, "bob", "correct horse", "Join")
    expect(other.locator("li")).to_have_count(0)

    press(page, "Remove")
    expect(page.locator(".flash")).to_have_text("Removed: Buy <b>tea</b>")
    press(page, "Log out")
    enter(page, "ann", "another password", "Log in")
    expect(page.locator("small")).to_have_text("Name and password don't belong together")
    enter(page, "ann", "correct horse", "Log in")
    expect(page.locator(".flash")).to_have_text("Welcome, ann")


def test_dashboard_shows_what_the_server_does(
    run_example: RunExample, new_page: NewPage, picture: Picture
) -> None:
    example = run_example("dashboard")
    page, other = new_page(example.url), new_page(example.url)
    for shown in (page, other):
        expect(shown.locator("#state")).to_have_text("live")
        expect(shown.locator("#process")).to_have_text(str(example.process.pid))
    expect(page.locator("#open_streams b")).to_have_text("2")
    expect(page.locator("#subscribers b")).to_have_text("2")
    other.close()
    expect(page.locator("#open_streams b")).to_have_text("1")
    expect(page.locator("#disconnects b")).to_have_text("1")
    page.request.get(example.url + "/work")
    expect(page.locator("#rate b")).not_to_have_text("0")
    again = new_page(example.url)  # gets the minute before at once
    expect(again.locator("#rate polyline")).to_have_attribute("points", re.compile(r"( [\d.]+,[\d.]+){2}"))
    picture(again, "dashboard", BUSY)

    assert example.stop() == 0
    expect(page.locator("#state")).to_have_text("reconnecting …")
    example.start()
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#process")).to_have_text(str(example.process.pid))


def test_upload_shows_how_far_it_is(run_example: RunExample, new_page: NewPage, picture: Picture) -> None:
    page = new_page(run_example("upload").url)
    content = bytes(3_000_000)
    files: list[FilePayload] = [
        {"name": "zeros.bin", "mimeType": "application/octet-stream", "buffer": content},
        {"name": "<b>.txt", "mimeType": "text/plain", "buffer": b"hello"},
    ]
    page.locator("input").set_input_files(files)
    press(page, "Send")
    expect(page.locator("output")).to_have_text("done")
    expect(page.locator("progress")).to_have_js_property("value", 1)
    picture(page, "upload")
    expect(page.locator("li")).to_have_text(
        [
            f"zeros.bin: 3000000 bytes, SHA-256 {sha256(content).hexdigest()}",
            f"<b>.txt: 5 bytes, SHA-256 {sha256(b'hello').hexdigest()}",
        ]
    )
