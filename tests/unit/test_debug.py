"""The debug page: who gets it, what it shows, what it hides, and that nothing breaks it."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import subprocess
import sys
import textwrap
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import HTTPError, Limits, response_of, to_asgi
from asgineer import _debug as module
from asgineer._debug import prefers_html

from .asking import ask, ask_ws
from .turns import errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
PAGE_HEADERS = {"content-type", "content-security-policy", "cache-control", "referrer-policy"}


def raising(error: BaseException, /, **options: Any) -> Any:
    async def main(request: Any) -> Any:
        raise error

    return to_asgi(main, debug=True, **options)


def show(
    app: Any, target: str = "/", headers: dict[str, str] | None = None, **options: Any
) -> httpx2.Response:
    return ask(app, target, headers={"accept": BROWSER, **(headers or {})}, **options)


def page_of(error: BaseException, *args: Any, **options: Any) -> str:
    """Return the page for `error`, which is well-formed."""
    answer = show(raising(error), *args, **options)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    check_well_formed(answer.text)
    return answer.text


class Checker(HTMLParser):
    """Sees that every element is closed in its order, and is one that the page is made of."""

    ELEMENTS = frozenset(
        [
            *["html", "head", "title", "style", "body", "header", "main", "footer", "h1", "h2", "p"],
            *["span", "i", "mark", "meta"],
        ]
        + ["details", "summary", "code", "pre", "table", "tr", "td"]
    )

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert tag in self.ELEMENTS, tag
        assert {name for name, _ in attrs} <= {"lang", "charset", "name", "content", "class", "open"}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_well_formed(page: str) -> None:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []


def visible(page: str) -> str:
    """Return the text that a reader sees."""
    return html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)))


# Who gets it


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML ; q=0.5", True),
        ("text/html;level=1;q=0.4", True),
        ("application/json;q=0.9, text/html", True),
        ("application/json, text/html", True),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=0.5, text/plain;q=0.6", False),
        ("text/html;q=0", False),
        ("text/html;q=1.1.1", False),
        ("text/htmlx", False),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        (",;,", False),
        ("", False),
    ],
)
def test_prefers_html(accept: str, expected: bool) -> None:
    assert prefers_html(accept) is expected
    text = ask(raising(ValueError("mine")), headers={"accept": accept}).text
    assert text.startswith("<!doctype html>") is expected


def test_a_client_without_the_header_gets_text() -> None:
    answer = ask(raising(ValueError("mine")))
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(
        "ValueError in request handler: mine\n\nTraceback (most recent call last):\n"
    )
    assert answer.text.endswith("raise error\nValueError: mine")


@pytest.mark.parametrize("debug", [False, None])
def test_never_without_debug(debug: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASGINEER_DEBUG", raising=False)
    app = raising(ValueError("mine"))
    app.asgineer_settings.debug = debug
    answer = show(app)
    assert (answer.status_code, answer.text) == (500, "Internal server error")


def test_a_mistake_of_the_client_is_answered_as_ever() -> None:
    assert show(raising(HTTPError(404, "Not here"))).text == "Not here"


def test_a_websocket_is_denied_with_text() -> None:
    socket = ask_ws(raising(ValueError("mine")), headers={"accept": BROWSER}, denial=True)
    assert socket.denial[0] == 500
    assert socket.denial[1].startswith(b"ValueError in websocket handler: mine\n\nTraceback")


def test_the_renderer_of_the_app_is_for_others() -> None:
    app = raising(ValueError("mine"), error=lambda request, error: {"told": error.body})
    assert show(app).text.startswith("<!doctype html>")
    assert ask(app).text.startswith('{"told":"ValueError in request handler: mine\\n\\nTraceback')


def test_it_is_not_loaded_before() -> None:
    program = """
        import asyncio, sys, asgineer
        @asgineer.to_asgi(debug=True)
        async def main(request):
            return "fine"
        async def send(message): pass
        asyncio.run(main({"type": "http", "method": "GET", "path": "/", "headers": []}, None, send))
        print("asgineer._debug" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


# The document


def test_headers() -> None:
    answer = show(raising(ValueError("mine")))
    assert answer.headers.keys() >= PAGE_HEADERS
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    )
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.endswith(f"; style-src 'sha256-{digest}'")
    assert answer.headers["cache-control"] == "no-store"


def test_nothing_from_outside() -> None:
    page = page_of(ValueError("mine"))
    assert not re.search(r"<(?:script|link|img|iframe|object|base|form|a)\b", page)
    assert not re.search(r"\b(?:src|href|on\w+|style)=|url\(|@import|https?:", page)


def test_what_it_tells() -> None:
    text = visible(page_of(ValueError("no tea left"), "/drinks/t%C3%A4?page=2", method="POST"))
    assert "ValueError" in text
    assert "no tea left" in text
    assert "POST /drinks/tä" in text
    assert re.search(r"page\s+2\b", text)
    assert re.search(r"test_debug.py:\d+", text)
    assert "root path" not in text
    assert re.search(r"root path\s+/site", visible(page_of(ValueError(), "/site/x", root_path="/site")))


def test_source_around_the_line() -> None:
    page = page_of(ValueError("mine"))
    assert re.search(r"<span class=hit><i>\d+</i>        raise error</span>", page)
    assert "def raising(error: BaseException" in visible(page)
    assert "<details class=own open><summary><code>" in page
    assert re.search(r"<details class=library><summary><code>asgineer.?/_app.py:\d+", page)


def test_the_part_that_failed_is_marked() -> None:
    async def main(request: Any) -> Any:
        nothing: dict[str, int] = {}
        return len("ä <b>") + nothing["ö <i>"] + 1

    page = show(to_asgi(main, debug=True)).text
    check_well_formed(page)
    assert "<mark>nothing[&quot;ö &lt;i&gt;&quot;]</mark> + 1" in page


def test_a_part_of_several_lines_is_marked_to_the_end_of_the_first() -> None:
    async def main(request: Any) -> Any:
        return 1 + int(
            "no number"
        )  # fmt: skip

    assert "return 1 + <mark>int(</mark></span>" in show(to_asgi(main, debug=True)).text


def test_a_flawed_result_shows_the_handler() -> None:
    async def main(request: Any) -> Any:
        return 42

    page = show(to_asgi(main, debug=True)).text
    check_well_formed(page)
    text = visible(page)
    assert "Body cannot be int" in text
    assert "async def main(request: Any)" in text
    assert re.search(r"<details class=library open><summary><code>asgineer.?/_response.py:\d+", page)


class Handler:
    """A handler that is an object."""

    async def __call__(self, request: Any) -> Any:
        return 42


def test_a_flawed_result_of_an_object() -> None:
    assert "async def __call__" in visible(show(to_asgi(Handler(), debug=True)).text)


def test_a_handler_without_code() -> None:
    assert list(module._show_handler(3)) == []


def test_a_stream_that_fails_first() -> None:
    async def stream() -> AsyncIterator[str]:
        raise ValueError("before its first chunk")
        yield ""

    async def main(request: Any) -> Any:
        return stream()

    text = visible(show(to_asgi(main, debug=True)).text)
    assert "before its first chunk" in text


def test_through_response_of() -> None:
    async def part(request: Any) -> Any:
        raise ValueError("mine")

    async def main(request: Any) -> Any:
        return await response_of(request, part(request))

    answer = show(to_asgi(main, debug=True))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")


def test_head_has_no_body() -> None:
    answer = show(raising(ValueError("mine")), method="HEAD")
    assert (answer.status_code, answer.content) == (500, b"")


# Chains and groups


def chained(
    error: BaseException, cause: BaseException | None, context: BaseException | None
) -> BaseException:
    error.__context__ = context
    if cause is not None:
        error.__cause__ = cause
    return error


def test_cause() -> None:
    text = visible(page_of(chained(ValueError("outer"), KeyError("inner"), TypeError("hidden"))))
    assert text.index("outer") < text.index("Caused by KeyError") < text.index("'inner'")
    assert "Raised while handling" not in text


def test_context() -> None:
    text = visible(page_of(chained(ValueError("outer"), None, KeyError("inner"))))
    assert "Raised while handling KeyError" in text


def test_context_that_is_suppressed() -> None:
    error = chained(ValueError("outer"), None, KeyError("inner"))
    error.__suppress_context__ = True
    assert "inner" not in visible(page_of(error))


def test_group_and_notes() -> None:
    group = ExceptionGroup("several", [ValueError("one"), ExceptionGroup("more", [TypeError("two")])])
    group.add_note("a note")
    text = visible(page_of(group))
    assert "several (2 sub-exceptions)\na note" in text
    assert re.search(r"In the group: ValueError\s+one\b", text)
    assert re.search(r"In the group: TypeError\s+two\b", text)


def test_a_long_chain_is_cut() -> None:
    error: BaseException = ValueError("number 0")
    for number in range(1, 100):
        error = chained(ValueError(f"number {number}"), error, None)
    page = page_of(error)
    text = visible(page[: page.index("As text")])
    assert "number 92" in text
    assert "number 91" not in text
    assert "Further exceptions are left out" in text


def test_a_cycle_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "Caused by ValueError" in visible(page_of(first))


def test_a_deep_recursion_is_cut() -> None:
    def deeper(depth: int) -> int:
        return deeper(depth + 1)

    async def main(request: Any) -> Any:
        deeper(0)

    page = show(to_asgi(main, debug=True)).text
    check_well_formed(page)
    assert page.count("<details") == module.MAX_FRAMES + 1
    assert page.count("calls between are left out") == 1
    assert len(page) < 200_000


def test_frames_are_counted_over_all_exceptions() -> None:
    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ValueError("inner")

    async def main(request: Any) -> Any:
        try:
            fail(100)
        except ValueError as error:
            error.__traceback__, inner = error.__traceback__, error
            try:
                fail(100)
            except ValueError as outer:
                raise outer from inner

    page = show(to_asgi(main, debug=True)).text
    assert page.count("<details") == module.MAX_FRAMES + 1
    assert "Further exceptions are left out" in page


def test_a_syntax_error_shows_its_place(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("x = (\n1 +* 2)", "made_up.py", "exec")
    text = visible(page_of(caught.value))
    assert 'File "made_up.py", line 2' in text
    assert "invalid syntax" in text


# What is foreign


EVIL = "<script>alert('x')</script>&\"\u202e\x00\x1b\ud800"


def test_everything_is_escaped() -> None:
    error = type("<script>", (ValueError,), {"__module__": "builtins"})(EVIL)
    error.add_note(EVIL)
    error.__cause__ = KeyError(EVIL)
    headers = {"x-header": "<script>alert('x')</script>&\"", "<script>": "1"}
    target = "/%3Cscript%3E%00%E2%80%AE?%3Cscript%3E=%3Cscript%3E%1B&b=<script>"
    answer = show(raising(error), target, headers)
    page = answer.text
    check_well_formed(page)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", page)


SECRETS = [
    ("authorization", "header"),
    ("Proxy-Authorization", "header"),
    ("cookie", "header"),
    ("set-cookie", "header"),
    ("x-api-key", "header"),
    ("X-Auth-Token", "header"),
    ("x-csrf", "header"),
    ("my-secret-thing", "header"),
    ("password", "query"),
    ("new_password2", "query"),
    ("client_secret", "query"),
    ("access_token", "query"),
    ("apiKey", "query"),
    ("SESSION", "query"),
    ("sid", "query"),
    ("sig", "query"),
    ("X-Amz-Signature", "query"),
]


@pytest.mark.parametrize(("name", "place"), SECRETS)
def test_secrets_are_masked(name: str, place: str) -> None:
    value = "hunter2hunter2"
    target, headers = ("/", {name: value}) if place == "header" else (f"/?a=b&{name}={value}&c=d", {})
    page = page_of(ValueError("mine"), target, headers)
    assert value not in page
    assert f"<td>{name.lower() if place == 'header' else name}</td><td>{module.MASK}</td>" in page


def test_a_query_in_a_referer_is_masked() -> None:
    page = page_of(ValueError(), "/", {"referer": "https://a.example/x?token=hunter2", "x-why": "really?"})
    assert "hunter2" not in page
    assert f"<td>https://a.example/x?{module.MASK}</td>" in page
    assert "<td>really?</td>" in page


def test_local_variables_are_not_shown() -> None:
    async def main(request: Any) -> Any:
        mine = "-".join(["hunter", "2"])
        raise ValueError(len(mine))

    text = show(to_asgi(main, debug=True)).text
    assert "raise ValueError(len(mine))" in text
    assert re.search(r"hunter\W2", text) is None


def test_names_that_are_no_secrets() -> None:
    headers = {"user-agent": "Firefox", "host": "localhost", "accept-language": "de"}
    text = visible(page_of(ValueError(), "/?page=3&signed=yes", headers))
    for value in ("Firefox", "localhost", "de", "3", "yes"):
        assert re.search(rf"\s{value}\s", text)


def test_its_size_is_bounded() -> None:
    headers = {f"x-{number}": "<" * 400 for number in range(120)}
    query = b"&".join(b"a%d=" % number + b"%3C" * 200 for number in range(2000))
    page = page_of(ValueError("<" * 10_000_000), "/" + "ä" * 5000, headers, query_string=query)
    assert len(page) < 700_000
    assert page.count("Further ones are left out") == 2


def test_headers_over_the_limit_cost_the_page_only(caplog: pytest.LogCaptureFixture) -> None:
    app = raising(ValueError("mine"), limits=Limits(header_count=1))
    text = show(app, headers={"x-a": "b"}).text
    assert text.startswith(
        "ValueError in request handler: mine\n\n(The debug page could not be made: HeadersTooLarge)"
    )
    assert len(errors(caplog)) == 1


# What can't be shown


class Broken(Exception):
    """An exception that can't tell of itself."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Closed(Exception):
    """An exception that answers no question. (Not through pytest's own hands: it asks.)"""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class WrongNotes(ValueError):
    """An exception whose notes are none."""

    __notes__ = 3  # type: ignore[assignment]  # the mistake that is tested


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
@pytest.mark.parametrize(
    "error", [Broken("x"), ValueError(Broken("x")), WrongNotes("x")], ids=["itself", "in it", "notes"]
)
def test_a_broken_exception(error: Exception, accept: str) -> None:
    answer = ask(raising(error), headers={"accept": accept})
    assert answer.status_code == 500
    assert type(error).__name__ in answer.text
    assert answer.text.startswith("<!doctype html>") is (accept == BROWSER)


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
def test_an_exception_that_answers_nothing(accept: str) -> None:
    answer = ask(raising(Closed("mine")), headers={"accept": accept})
    assert (answer.status_code, "mine" in answer.text, "Closed" in answer.text) == (500, True, True)


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
def test_a_page_that_can_not_be_made(accept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "make_page", lambda *args: 1 / 0)
    text = ask(raising(ValueError("mine")), headers={"accept": accept}).text
    assert text.startswith("ValueError in request handler: mine")
    assert ("could not be made: ZeroDivisionError" in text) is (accept == BROWSER)


def test_code_without_a_source() -> None:
    space: dict[str, Any] = {}
    exec(compile("async def main(request):\n    raise ValueError('made up')", "<made up>", "exec"), space)
    page = show(to_asgi(space["main"], debug=True)).text
    check_well_formed(page)
    assert "The source is not to be had" in page
    assert "&lt;made up&gt;:2" in page


def test_a_very_long_line(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text(
        f"async def main(request):\n\treturn 1 + {{}}['x'] + {'+' * 100_000}1\n", encoding="utf-8"
    )
    space: dict[str, Any] = {}
    exec(compile("async def main(request):\n\treturn 1 + {}['x'] + 1\n", str(path), "exec"), space)
    page = show(to_asgi(space["main"], debug=True)).text
    check_well_formed(page)
    assert len(page) < 50_000
    assert "    return 1 + <mark>{}[&#x27;x&#x27;]</mark> + ++++" in page


@pytest.mark.parametrize(
    ("filename", "shown", "library"),
    [
        (f"{module.PACKAGE}/_app.py", "asgineer/_app.py", True),
        (f"{module.STDLIB}/asyncio/tasks.py", "asyncio/tasks.py", True),
        ("/x/lib/python3/site-packages/starlette/routing.py", "starlette/routing.py", True),
        ("/usr/lib/python3/dist-packages/flask/app.py", "flask/app.py", True),
        ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>", True),
        ("/srv/shop/main.py", "/srv/shop/main.py", False),
        ("<string>", "<string>", False),
    ],
)
def test_file_names(filename: str, shown: str, library: bool) -> None:
    assert (module._short(filename), module._is_library(filename)) == (shown, library)


def test_file_name_in_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert module._short(str(tmp_path / "shop" / "main.py")) == "shop/main.py"
