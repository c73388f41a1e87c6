"""utils.redirect: where it leads, and what it refuses because browsers would go elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from asgineer import to_asgi
from asgineer.utils import redirect

from .asking import ask


def test_it_is_a_response() -> None:
    @to_asgi
    async def main(request: Any) -> Any:
        return redirect("/login")

    answer = ask(main)
    assert (answer.status_code, answer.headers["location"], answer.text) == (303, "/login", "See Other")


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("/", "/"),
        ("/a/b?c=d&e=%2F#f", "/a/b?c=d&e=%2F#f"),
        ("login", "login"),
        ("../up", "../up"),
        ("?page=2", "?page=2"),
        ("#here", "#here"),
        ("/a b", "/a%20b"),
        ("/käse?ö=ü#ß", "/k%C3%A4se?%C3%B6=%C3%BC#%C3%9F"),
        ("/\N{LINE SEPARATOR}", "/%E2%80%A8"),
        ('/<a>"`{|}^', "/%3Ca%3E%22%60%7B%7C%7D%5E"),
        ("/a?next=//evil.example", "/a?next=//evil.example"),
        ("/a?path=C:\\temp", "/a?path=C:%5Ctemp"),
        ("/a:b", "/a:b"),
        ("/.//evil.example", "/.//evil.example"),  # dots go after the host was found: this site
    ],
)
def test_on_this_site(url: str, location: str) -> None:
    assert redirect(url)[1] == {"location": location}


BAD = [
    "",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/a\\..\\b",
    "/\t/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\r\nset-cookie: a=b",
    "/a\x00",
    "/\x7f",
    "/\x85",
    "/\ud800",
    "http:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "a:b",
    "https://good.example@evil.example/",
    "https://good.example:x/",
    "https://good.example:99999/",
    "https://gööd.example/",
]


@pytest.mark.parametrize("url", [*BAD, "https://evil.example/", "HTTPS://EVIL.EXAMPLE"])
def test_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"redirect|https://host|host;|surrogates"):
        redirect(url)


@pytest.mark.parametrize("url", BAD)
def test_refused_also_when_other_sites_are_allowed(url: str) -> None:
    for options in ({"external": True}, {"allow_origins": ["https://good.example"]}):
        with pytest.raises(ValueError, match=r"redirect|https://host|host;|surrogates"):
            redirect(url, **options)


def test_external() -> None:
    assert redirect("https://other.example/ä?b", 302, external=True)[:2] == (
        302,
        {"location": "https://other.example/%C3%A4?b"},
    )
    assert redirect("http://[::1]:8080/", external=True)[1] == {"location": "http://[::1]:8080/"}


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://id.example/login", True),
        ("HTTPS://ID.example:443?x", True),
        ("https://id.example", True),
        ("http://plain.example:8080/", True),
        ("http://id.example/", False),
        ("https://id.example:8443/", False),
        ("https://id.example.evil.example/", False),
        ("https://sub.id.example/", False),
        ("http://plain.example/", False),
    ],
)
def test_allow_origins(url: str, allowed: bool) -> None:
    origins = ["https://id.example", "http://PLAIN.example:8080"]
    if allowed:
        assert redirect(url, allow_origins=origins)[1] == {"location": url}
    else:
        with pytest.raises(ValueError, match="another site"):
            redirect(url, allow_origins=origins)


@pytest.mark.parametrize("origin", ["id.example", "https://id.example/", "*", "ftp://id.example", "https://"])
def test_an_origin_that_is_none(origin: str) -> None:
    with pytest.raises(ValueError, match=r"https://host|valid host"):
        redirect("/", allow_origins=[origin])


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="list of origins"):
        redirect("/", allow_origins="https://id.example")
    with pytest.raises(TypeError, match="not bytes"):
        redirect(b"/")  # type: ignore[arg-type]  # the mistake that is tested
    with pytest.raises(TypeError, match="not NoneType"):
        redirect(None)  # type: ignore[arg-type]  # the mistake that is tested


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_status(status: int) -> None:
    assert redirect("/", status)[0] == status


@pytest.mark.parametrize("status", [200, 300, 304, 305, 306, 309, 404, "303"])
def test_status_that_redirects_nowhere(status: Any) -> None:
    with pytest.raises(ValueError, match="301, 302, 303, 307 or 308"):
        redirect("/", status)
