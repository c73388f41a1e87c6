"""A site of files in a real browser: what it asks for the first time, the second time, and while it seeks."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Response

    from tests.examples.conftest import Example, Picture

    RunExample = Callable[[str], Example]
    NewPage = Callable[[str], Page]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("browser")]

HASHED = re.compile(r"/assets/[\w.]+\.[0-9a-f]{16}\.\w+")
SEEK = """async time => {
    const video = document.querySelector("video");
    const done = new Promise(resolve => video.addEventListener("seeked", resolve, {once: true}));
    video.currentTime = time;
    await done;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    return [video.currentTime, canvas.toDataURL()];
}"""


def requests_of(example: Example) -> list[str]:
    """Return what the server was asked for and answered: `/path status`."""
    lines = re.findall(r'"GET (\S+) HTTP/1.1" (\d+)', example.process.output)
    return [f"{path} {status}" for path, status in lines]


def test_second_visit_asks_for_nothing_that_is_kept(run_example: RunExample, new_page: NewPage) -> None:
    example = run_example("static_site")
    page = new_page(example.url)
    page.wait_for_function("document.querySelector('video').readyState >= 1")
    first = requests_of(example)
    hashed = [request for request in first if HASHED.match(request)]
    assert {re.sub(r"\.[0-9a-f]{16}", "", request) for request in hashed} >= {
        *("/assets/site.css 200", "/assets/site.js 200", "/assets/fractal.png 200")
    }
    assert first[0] == "/ 200"

    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(example.url + "/")
    page.wait_for_function("document.querySelector('video').readyState >= 1")
    page.reload()
    page.wait_for_function("document.querySelector('video').readyState >= 1")
    expect(page.locator("img")).to_be_visible()
    again = requests_of(example)[len(first) :]
    assert len(answers) >= 8
    assert [request for request in again if HASHED.match(request)] == [], "asked again"
    assert {request for request in again if not request.startswith("/media/")} == {"/ 304"}
    assert {request.rpartition(" ")[2] for request in again if request.startswith("/media/")} <= {
        "206",
        "304",
    }


def test_film_can_be_seeked(run_example: RunExample, new_page: NewPage, picture: Picture) -> None:
    example = run_example("static_site")
    page = new_page(example.url)
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    picture(page, "static_site")
    pictures = []
    for seconds in (0.5, 20, 7):
        time, picture = page.evaluate(SEEK, seconds)
        assert time == pytest.approx(seconds, abs=0.01)
        pictures.append(picture)
    assert len(set(pictures)) == 3
    page.get_by_role("button", name="End").click()
    expect(page.locator("#time")).to_have_text("22.0")
    assert any(request == "/media/film.webm 206" for request in requests_of(example))
    seekable: Any = page.evaluate(
        "[...Array(1)].map(() => document.querySelector('video').seekable.end(0))[0]"
    )
    assert seekable == pytest.approx(24, abs=0.5)


def test_parts_of_the_film(run_example: RunExample) -> None:
    url = run_example("static_site").url + "/media/film.webm"
    whole = httpx2.get(url)
    part = httpx2.get(url, headers={"range": "bytes=1000-1999", "if-range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[1000:2000])
    assert httpx2.get(run_example("static_site").url + "/media/..%2fpage.html").status_code == 404


def test_page_is_sent_in_the_encoding_that_is_asked_for(run_example: RunExample) -> None:
    url = run_example("static_site").url
    with httpx2.stream("GET", url, headers={"accept-encoding": "gzip"}) as answer:
        body = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert len(HASHED.findall(gzip.decompress(body).decode().replace('"assets', '"/assets'))) == 4
