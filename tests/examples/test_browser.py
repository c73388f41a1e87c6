"""The examples as a person meets them: in a real browser, through restarts of the server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

from tests.examples.event_cases import CASES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.examples.conftest import Example, Picture

    RunExample = Callable[[str], Example]
    NewPage = Callable[[str], Page]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("browser")]

PATIENCE = 15_000  # milliseconds; a browser waits up to five seconds before it reconnects
expect.set_options(timeout=PATIENCE)


def say(page: Page, name: str, text: str) -> None:
    page.get_by_placeholder("Name").fill(name)
    page.get_by_placeholder("Message").fill(text)
    page.get_by_role("button", name="Send").click()


def expect_messages(page: Page, *texts: str) -> None:
    expect(page.locator("#messages li")).to_have_text(list(texts))


def test_chat_pages_see_each_other_and_come_back(
    run_example: RunExample, new_page: NewPage, picture: Picture
) -> None:
    example = run_example("chat")
    pages = [new_page(example.url + way) for way in ("/", "/websocket", "/polling")]
    first, second, third = pages
    for page in pages:
        expect(page.locator("#state")).to_have_text("live")
    say(first, "Ann", "Is it <b>tea</b> time?")
    for page in pages:
        expect_messages(page, "AnnIs it <b>tea</b> time?")
    say(second, "Bob", "It is")
    say(third, "Cy", "Always")
    for page in pages:
        expect(page.locator("#messages li")).to_have_count(3)
    first.reload()
    for page in pages:
        expect(page.locator("#messages li")).to_have_count(3)
        expect(page.locator("#messages li").first).to_have_text("AnnIs it <b>tea</b> time?")
    picture(first, "chat")

    assert example.stop() == 0
    for page in pages:
        expect(page.locator("#state")).to_have_text("reconnecting …")
    example.start()
    for page in pages:
        expect(page.locator("#state")).to_have_text("live")
    for page, name in zip(pages, ("Ann", "Bob", "Cy"), strict=True):
        say(page, name, "Back again")
    for page in pages:  # another log: what the old one had is gone
        expect(page.locator("#messages li")).to_have_count(3)
        expect(page.locator("#messages")).to_contain_text("AnnBack again")
        expect(page.locator("#messages")).not_to_contain_text("tea")


def test_ticker_moves_and_comes_back(run_example: RunExample, new_page: NewPage, picture: Picture) -> None:
    example = run_example("ticker")
    page = new_page(example.url)
    price, points = page.locator("#APL .price"), page.locator("#APL polyline")
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("tr")).to_have_count(4)
    expect(price).to_have_text(re.compile(r"^\d+\.\d\d$"))
    expect(points).to_have_attribute("points", re.compile(r"( [\d.]+,[\d.]+){3}"))
    late = new_page(example.url)  # gets what came before it at once
    expect(late.locator("#APL polyline")).to_have_attribute("points", re.compile(r"( [\d.]+,[\d.]+){3}"))
    picture(page, "ticker", "document.querySelector('#APL polyline').points.numberOfItems >= 60")

    assert example.stop() == 0
    expect(page.locator("#state")).to_have_text("reconnecting …")
    seen = price.inner_text()
    example.start()
    expect(page.locator("#state")).to_have_text("live")
    expect(price).not_to_have_text(seen)
    expect(page.locator("tr")).to_have_count(4)


def test_clock_ticks_and_comes_back(run_example: RunExample, new_page: NewPage) -> None:
    example = run_example("clock")
    page = new_page(example.url)
    time, state = page.locator("#time"), page.locator("#state")
    expect(state).to_have_text("live")
    expect(time).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    seen = time.inner_text()
    expect(time).not_to_have_text(seen)
    assert example.stop() == 0
    expect(state).to_have_text("reconnecting …")
    seen = time.inner_text()
    example.start()
    expect(state).to_have_text("live")
    expect(time).not_to_have_text(seen)


def test_signup_shows_errors_then_signs_up(
    run_example: RunExample, new_page: NewPage, picture: Picture, tmp_path: Path
) -> None:
    page = new_page(run_example("signup").url)
    portrait = tmp_path / "me.png"
    page.screenshot(path=portrait)
    page.get_by_label("Name").fill("A")
    page.get_by_label("Email").fill('"ann"<script>')
    page.get_by_role("button", name="Sign up").click()
    errors = page.locator("small")
    expect(errors).to_have_text(
        ["Your name, at least two letters", "An address such as ann@example.com", "A number, 16 or more"]
    )
    expect(page.get_by_label("Email")).to_have_value('"ann"<script>')
    picture(page, "signup")

    page.get_by_label("Name").fill("Ann <b>")
    page.get_by_label("Email").fill("ann@example.com")
    page.get_by_label("Age").fill("30")
    page.get_by_label("A picture").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": b"no"}
    )
    page.get_by_label("I keep to the rules").check()
    page.get_by_role("button", name="Sign up").click()
    expect(errors).to_have_text(["A PNG or JPEG of at most 2 MB"])

    page.get_by_label("A picture").set_input_files(portrait)
    page.get_by_label("I keep to the rules").check()
    page.get_by_role("button", name="Sign up").click()
    page.reload()
    expect(page.locator("p").first).to_have_text("Welcome, Ann <b>. We write to ann@example.com.")
    assert page.get_by_alt_text("Your picture").evaluate("picture => picture.naturalWidth") == 720


def test_signup_is_refused_from_another_site(run_example: RunExample, new_page: NewPage) -> None:
    target = run_example("signup").url
    page = new_page(run_example("clock").url.replace("127.0.0.1", "localhost"))
    with page.expect_navigation() as navigation:
        page.evaluate(
            """target => {
                const form = document.createElement("form");
                form.method = "post";
                form.action = target + "/leave";
                document.body.append(form);
                form.submit();
            }""",
            target,
        )
    assert navigation.value is not None
    assert navigation.value.status == 403
    assert "Cross-site request refused" in page.content()


# `wait_for_function` takes the promise of an async function for a yes; `evaluate` awaits it.
UNTIL_LEFT = """async () => {
  const open = async () => (await (await fetch("/model/open")).json()).open;
  while (await open() > 0) await new Promise((done) => setTimeout(done, 50));
}"""


def test_model_is_left_when_the_page_stops_it(
    run_example: RunExample, new_page: NewPage, picture: Picture
) -> None:
    page = new_page(run_example("llm_proxy").url)
    answer = page.locator("#answer")
    page.get_by_role("button", name="Ask").click()
    expect(answer).to_contain_text("It repeats")
    picture(page, "llm_proxy", "document.getElementById('answer').textContent.length > 120")
    page.get_by_role("button", name="Stop").click()
    expect(answer).to_contain_text("[stopped]")
    page.evaluate(UNTIL_LEFT)


COLLECT = """
async ([url, names, count]) => {
  const events = [];
  const source = new EventSource(url);
  await new Promise((resolve) => {
    const note = ({ type, data, lastEventId }) => {
      events.push([type, data, lastEventId]);
      if (events.length === count) resolve();
    };
    for (const name of new Set([...names, "message"])) source.addEventListener(name, note);
  });
  source.close();
  return events;
}
"""


def test_event_source_reads_what_we_write(new_page: NewPage, events_url: str) -> None:
    page = new_page(events_url + "/page")
    expected = [[event.name or "message", event.text, event.id_then] for event in CASES if event.seen]
    names = [name for name, _, _ in expected]
    result: Any = page.evaluate(COLLECT, [events_url + "/events", names, len(expected)])
    assert result == expected


def test_event_source_comes_back_with_its_last_id(new_page: NewPage, events_url: str) -> None:
    page = new_page(events_url + "/page")
    result: Any = page.evaluate(COLLECT, [events_url + "/resume", [], 4])
    assert [data for _, data, _ in result] == ["after None", "1", "after position 1", "2"]
    headers: dict[str, str] = page.request.get(events_url + "/head").headers
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-store"
