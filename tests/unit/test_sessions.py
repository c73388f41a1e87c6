"""Sessions: what a visitor's cookie holds, when it is written, and which cookies are none of ours."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, Any

import itsdangerous
import pytest

from asgineer import HttpRequest, Limits, UsageError, WebsocketRequest, _sessions, response_of, to_asgi
from asgineer._request import Settings
from asgineer.security import Session, Sessions

from .asgi import encode_pairs
from .asking import ask, ask_ws

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    import httpx2

    from .asgi import Message

OLD, NEW = "an old key of enough length", "a new key of enough length"
HOST = "__Host-session"
DAY = 86_400


class Time:
    """The wall clock of sessions, stopped."""

    now = 1_700_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(_sessions, "_now", time)
    return time


async def _receive() -> Message:
    raise AssertionError("nothing here reads")


async def _send(message: Message) -> None:
    raise AssertionError("nothing here sends")


def request_with(cookie: str = "", limits: Limits | None = None) -> HttpRequest:
    headers = encode_pairs({"cookie": cookie} if cookie else {})
    request = HttpRequest({"type": "http", "method": "GET", "path": "/", "headers": headers}, _receive, _send)
    if limits:
        request._settings = Settings(limits=limits)
    return request


def headers_of(sessions: Sessions, session: Session) -> dict[str, Any]:
    return sessions.save(session, "body")[1]


def cookie_of(headers: Mapping[str, Any]) -> str:
    """Return name and value of the one cookie that a response sets."""
    assert isinstance(headers["set-cookie"], str)
    return headers["set-cookie"].partition(";")[0]


def stored(sessions: Sessions, **values: Any) -> str:
    """Return the cookie of a session with `values`."""
    session = sessions.load(request_with())
    session.update(values)
    return cookie_of(headers_of(sessions, session))


def reload(sessions: Sessions, cookie: str) -> Session:
    return sessions.load(request_with(cookie))


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(NEW)


PRIVATE = {"vary": "Cookie", "cache-control": "private"}
DELETED = f"{HOST}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"


# Round trips


def test_what_was_set_is_there_again(sessions: Sessions) -> None:
    cookie = stored(sessions, user="ann", cart=[1, {"n": None}], text="é✓")
    assert dict(reload(sessions, cookie)) == {"user": "ann", "cart": [1, {"n": None}], "text": "é✓"}


def test_the_cookie_and_its_attributes(sessions: Sessions) -> None:
    session = sessions.load(request_with())
    session["a"] = 1
    headers = headers_of(sessions, session)
    value, _, attributes = headers["set-cookie"].partition("; ")
    assert value.startswith(f"{HOST}=1700000000.")
    assert attributes == f"Max-Age={14 * DAY}; Path=/; Secure; HttpOnly; SameSite=Lax"
    assert {name: headers[name] for name in PRIVATE} == PRIVATE


def test_without_https_the_prefix_goes() -> None:
    plain = Sessions(NEW, secure=False, max_age=60)
    session = plain.load(request_with())
    session["a"] = 1
    cookie = headers_of(plain, session)["set-cookie"]
    assert cookie.startswith("session=17")
    assert cookie.endswith("; Max-Age=60; Path=/; HttpOnly; SameSite=Lax")
    assert plain.cookie == "session"
    assert Sessions(NEW, cookie="__Secure-x", secure=False).cookie == "x"
    assert Sessions(NEW, cookie="x").cookie == "x"
    assert not reload(Sessions(NEW), cookie.replace("session=", f"{HOST}="))


def test_the_name_is_signed_too() -> None:
    cookie = stored(Sessions(NEW, cookie="preview"), admin=True)
    assert not reload(Sessions(NEW, cookie="session"), cookie.replace("preview", "session"))


# What touches and what changes


@pytest.mark.parametrize(
    "look",
    [
        lambda session: session.get("a"),
        lambda session: session["a"],
        lambda session: "a" in session,
        lambda session: "b" in session,
        len,
        bool,
        list,
        dict,
        lambda session: session == {},
        lambda session: session.id,
        lambda session: session.pop("b", None),
    ],
)
@pytest.mark.parametrize("shape", ["body", ({"X": "1"}, b""), (404, {}, "no"), (204, {}, None)])
def test_looking_makes_the_response_private(
    sessions: Sessions, look: Callable[[Session], object], shape: Any
) -> None:
    session = reload(sessions, stored(sessions, a=1))
    assert (session.touched, session.changed) == (False, False)
    look(session)
    assert (session.touched, session.changed) == (True, False)
    headers = sessions.save(session, shape)[1]
    assert "set-cookie" not in headers
    assert {name: headers[name] for name in PRIVATE} == PRIVATE


@pytest.mark.parametrize("cookie", ["", "other=1"])
def test_who_does_not_look_changes_nothing(sessions: Sessions, cookie: str) -> None:
    session = sessions.load(request_with(cookie))
    assert sessions.save(session, (201, {"X-A": "1"}, "x")) == (201, {"x-a": "1"}, "x")


def test_an_empty_session_sets_no_cookie(sessions: Sessions) -> None:
    session = sessions.load(request_with())
    assert not session
    session.renew()
    session.clear()
    assert headers_of(sessions, session) == PRIVATE


def test_a_value_that_changed_inside_is_saved(sessions: Sessions) -> None:
    session = reload(sessions, stored(sessions, cart=[1]))
    session["cart"].append(2)
    assert session.changed
    assert dict(reload(sessions, cookie_of(headers_of(sessions, session)))) == {"cart": [1, 2]}


def test_setting_what_is_there_writes_nothing(sessions: Sessions) -> None:
    session = reload(sessions, stored(sessions, a=1))
    session["a"] = 1
    assert headers_of(sessions, session) == PRIVATE


def test_emptied_it_is_deleted(sessions: Sessions) -> None:
    for empty in (Session.clear, lambda session: session.pop("a"), Session.popitem):
        session = reload(sessions, stored(sessions, a=1))
        empty(session)
        assert headers_of(sessions, session)["set-cookie"] == DELETED


def test_its_text_tells_no_values(sessions: Sessions) -> None:
    session = sessions.load(request_with())
    session["secret"] = "word"
    assert repr(session) == "<Session with 1 values>"


# The identity


def test_renew_gives_another_id_and_cookie(sessions: Sessions) -> None:
    cookie = stored(sessions, a=1)
    session = reload(sessions, cookie)
    first = session.id
    assert len(first) == 22
    session.renew()
    assert session.id != first
    renewed = cookie_of(headers_of(sessions, session))
    again = reload(sessions, renewed)
    assert (again.id, dict(again)) == (session.id, {"a": 1})
    assert reload(sessions, cookie).id == first


def test_what_comes_after_clear_is_another_session(sessions: Sessions) -> None:
    session = reload(sessions, stored(sessions, a=1))
    first = session.id
    session.clear()
    session["b"] = 1
    assert session.id != first


def test_a_cookie_of_before_the_logout_still_works_unless_the_server_forgot_it(sessions: Sessions) -> None:
    logins = set()
    session = sessions.load(request_with())
    session["user"] = "ann"
    logins.add(session.id)
    cookie = cookie_of(headers_of(sessions, session))

    session = reload(sessions, cookie)
    logins.discard(session.id)
    session.clear()
    assert headers_of(sessions, session)["set-cookie"] == DELETED

    replayed = reload(sessions, cookie)
    assert replayed["user"] == "ann"  # a signature can't be taken back
    assert replayed.id not in logins  # but what it names can be


# Time


def test_it_ends_after_max_age(sessions: Sessions, time: Time) -> None:
    cookie = stored(sessions, a=1)
    time.now += 14 * DAY - 1
    assert reload(sessions, cookie)
    time.now += 1
    assert headers_of(sessions, reload(sessions, cookie)) == {**PRIVATE, "set-cookie": DELETED}


def test_clocks_may_differ_a_little(sessions: Sessions, time: Time) -> None:
    cookie = stored(sessions, a=1)
    time.now -= 60
    assert reload(sessions, cookie)
    time.now -= 1
    assert not reload(sessions, cookie)


def test_it_is_refreshed_while_it_is_in_use(sessions: Sessions, time: Time) -> None:
    cookie = stored(sessions, a=1)
    time.now += 14 * DAY // 10 - 1
    session = reload(sessions, cookie)
    assert session
    assert "set-cookie" not in headers_of(sessions, session)
    time.now += 1
    assert headers_of(sessions, reload(sessions, cookie)) == {}
    session = reload(sessions, cookie)
    assert session
    refreshed = cookie_of(headers_of(sessions, session))
    time.now += 13 * DAY
    assert reload(sessions, refreshed)
    assert not reload(sessions, cookie)


def test_now_is_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("time.time", lambda: 3.9)
    assert _sessions._now() == 3


# Keys


def test_the_newest_key_signs_and_all_are_accepted(sessions: Sessions) -> None:
    cookie = stored(Sessions([OLD]), a=1)
    assert not reload(sessions, cookie)
    both = Sessions([NEW, OLD.encode()])
    session = reload(both, cookie)
    assert not session.touched
    headers = headers_of(both, session)  # untouched: the old key may go the sooner
    assert {name: headers[name] for name in PRIVATE} == PRIVATE
    resigned = cookie_of(headers)
    assert dict(reload(sessions, resigned)) == {"a": 1}
    assert headers_of(both, reload(both, resigned)) == {}


def test_a_short_key_is_told(caplog: pytest.LogCaptureFixture) -> None:
    Sessions([NEW, "x" * 16])
    assert not caplog.records
    Sessions([NEW, "x" * 15])
    assert [record.levelname for record in caplog.records] == ["WARNING"]


# Cookies that are none of ours


def sign(text: bytes, key: str = NEW, salt: str = f"asgineer.session.{HOST}") -> str:
    import hashlib

    return (
        itsdangerous.Signer(key, salt, key_derivation="hmac", digest_method=hashlib.sha256)
        .sign(text)
        .decode("latin-1")
    )


def pack(data: bytes, when: int = Time.now) -> bytes:
    return b"%d.%s" % (when, base64.urlsafe_b64encode(data).rstrip(b"="))


GOOD = b'["id",{"a":1}]'


def test_the_helpers_above_make_good_cookies(sessions: Sessions) -> None:
    session = reload(sessions, f"{HOST}={sign(pack(GOOD))}")
    assert (session.id, dict(session)) == ("id", {"a": 1})


BAD_TOKENS = {
    "empty": "",
    "text": "x",
    "dots": "....",
    "quoted": f'"{sign(pack(GOOD))}"',
    "other key": sign(pack(GOOD), key=OLD),
    "other salt": sign(pack(GOOD), salt="asgineer.session.session"),
    "unsigned": pack(GOOD).decode(),
    "expired": sign(pack(GOOD, Time.now - 14 * DAY)),
    "of the future": sign(pack(GOOD, Time.now + 61)),
    "far future": sign(pack(GOOD, 10**15)),
    "no time": sign(GOOD),
    "bad time": sign(b"x." + pack(GOOD).partition(b".")[2]),
    "huge time": sign(b"9" * 3000 + b".x"),
    "bad base64": sign(b"1700000000.\xff\xfe!"),
    "base64 length": sign(b"1700000000.abcde"),
    "no JSON": sign(pack(b"\x80\x04K\x01.")),
    "not UTF-8": sign(pack(b'["\xff",{}]')),
    "other JSON": sign(pack(b'{"a":1}')),
    "other list": sign(pack(b'["id",{},1]')),
    "other types": sign(pack(b'[1,{"a":1}]')),
    "nothing": sign(b""),
    "other bytes": "\xff\xfe.\xa0",
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_what_is_not_ours_is_no_session_and_deleted(sessions: Sessions, name: str) -> None:
    session = reload(sessions, f"{HOST}={BAD_TOKENS[name]}")
    assert headers_of(sessions, session) == {**PRIVATE, "set-cookie": DELETED}
    assert dict(session) == {}


def test_every_flipped_bit_and_every_cut_is_found(sessions: Sessions) -> None:
    token = stored(sessions, a=1).removeprefix(f"{HOST}=")
    for end in range(len(token)):
        assert not reload(sessions, f"{HOST}={token[:end]}")
    for place in range(len(token)):
        for bit in range(7):
            flipped = chr(ord(token[place]) ^ 1 << bit)
            assert not reload(sessions, f"{HOST}={token[:place]}{flipped}{token[place + 1 :]}"), (place, bit)
    assert reload(sessions, f"{HOST}={token}")


def test_a_bad_cookie_gives_way_to_a_new_session(sessions: Sessions) -> None:
    session = reload(sessions, f"{HOST}=forged")
    session["a"] = 1
    assert dict(reload(sessions, cookie_of(headers_of(sessions, session)))) == {"a": 1}


def test_of_two_cookies_only_the_first_is_looked_at(sessions: Sessions) -> None:
    good = stored(sessions, a=1)
    assert reload(sessions, f"{good}; {HOST}=x")
    assert not reload(sessions, f"{HOST}=x; {good}")
    assert not reload(sessions, f"\xa0{good}; ={good}")


def test_a_huge_cookie_is_no_session(sessions: Sessions) -> None:
    limits = Limits(cookies=None, headers=None)
    assert not sessions.load(request_with(f"{HOST}={'x' * 2**20}", limits))


# Size and types


def test_too_large_is_told_when_it_is_set(sessions: Sessions) -> None:
    session = sessions.load(request_with())
    fits = next(size for size in range(3100, 2900, -1) if _fits(session, size))
    cookie = cookie_of(headers_of(sessions, session))
    assert 4090 <= len(cookie) - 1 <= 4096
    assert len(reload(sessions, cookie)["a"]) == fits
    with pytest.raises(ValueError, match="The session is too large: 409[7-9] bytes, and a cookie holds 4096"):
        sessions.load(request_with())["a"] = "x" * (fits + 1)


def _fits(session: Session, size: int) -> bool:
    try:
        session["a"] = "x" * size
    except ValueError:
        assert "a" not in session
        return False
    return True


def test_too_large_inside_is_told_when_it_is_saved(sessions: Sessions) -> None:
    session = sessions.load(request_with())
    session["a"] = []
    session["a"].append("x" * 4096)
    with pytest.raises(ValueError, match="The session is too large"):
        sessions.save(session, "x")


@pytest.mark.parametrize(("key", "value"), [(1, "x"), (None, "x"), ("a", object()), ("a", {1: object()})])
def test_what_a_session_can_not_hold(sessions: Sessions, key: Any, value: Any) -> None:
    session = sessions.load(request_with())
    with pytest.raises(TypeError):
        session[key] = value
    assert not session


# Responses


async def stream() -> AsyncIterator[str]:
    yield "x"


def test_every_shape_of_a_response(sessions: Sessions) -> None:
    body = stream()
    shapes: list[tuple[Any, Any]] = [
        ("x", (200, "x")),
        (("x",), (200, "x")),
        (({"X-A": "1"}, {"b": 2}), (200, {"b": 2})),
        ((404, {"x-a": "1"}, b"x"), (404, b"x")),
        ((204, {}, None), (204, None)),
        (body, (200, body)),
    ]
    for shape, rest in shapes:
        session = sessions.load(request_with())
        session["a"] = 1
        status, headers, out = sessions.save(session, shape)
        assert (status, out) == rest
        assert cookie_of(headers).startswith(HOST)


def test_a_dict_that_was_given_stays_as_it_is(sessions: Sessions) -> None:
    headers: dict[str, str | list[str]] = {
        "Set-Cookie": ["a=1", f"{HOST}=old; Path=/", "b=2"],
        "Vary": "Origin",
    }
    before = {name: list(value) if isinstance(value, list) else value for name, value in headers.items()}
    session = sessions.load(request_with())
    session["a"] = 1
    saved = sessions.save(session, (headers, "x"))
    again = sessions.save(session, saved)
    assert headers == before
    assert saved[1]["set-cookie"][:2] == ["a=1", "b=2"]
    assert len(saved[1]["set-cookie"]) == 3
    assert saved[1]["vary"] == "Origin, Cookie"
    assert again == saved


@pytest.mark.parametrize(
    ("given", "combined"),
    [
        ("max-age=60", "private, max-age=60"),
        ("public, max-age=60 , S-MaxAge=9, immutable", "private, max-age=60, immutable"),
        ("no-cache", "private, no-cache"),
        ("no-store", "no-store"),
        ("Private, max-age=5", "Private, max-age=5"),
        ('private="set-cookie, x", public', "private, no-cache"),
        (["public", "max-age=1"], "private, max-age=1"),
        ("", "private"),
    ],
)
def test_cache_control(sessions: Sessions, given: Any, combined: str) -> None:
    session = sessions.load(request_with())
    len(session)
    assert sessions.save(session, ({"Cache-Control": given}, "x"))[1]["cache-control"] == combined


@pytest.mark.parametrize(
    ("given", "combined"),
    [
        ("*", "*"),
        ("cookie", "cookie"),
        ("Accept , Origin", "Accept, Origin, Cookie"),
        (["Accept", "Origin"], "Accept, Origin, Cookie"),
        (["a, *"], ["a, *"]),
        ("", "Cookie"),
    ],
)
def test_vary(sessions: Sessions, given: Any, combined: Any) -> None:
    session = sessions.load(request_with())
    len(session)
    assert sessions.save(session, ({"Vary": given}, "x"))[1]["vary"] == combined


def test_a_bad_response_is_an_error(sessions: Sessions) -> None:
    bad: Any = (200, {}, "x", 4)
    with pytest.raises(TypeError):
        sessions.save(sessions.load(request_with()), bad)


# In an app


SESSIONS = Sessions(NEW)


@to_asgi
async def counter(request: HttpRequest) -> Any:
    session = SESSIONS.load(request)
    response = await response_of(request, count(request, session))
    return SESSIONS.save(session, response)


async def count(request: HttpRequest, session: Session) -> Any:
    if request.path == "/public":
        return "for all"
    session["count"] = session.get("count", 0) + 1
    if request.path == "/late":
        return late(session)
    if request.path == "/sent":
        await request.accept(200, {"content-type": "text/plain"})
        await request.send("sent")
        return None
    if request.path == "/sent-with":
        await request.accept(200, SESSIONS.headers(session, {"Content-Type": "text/plain"}))
        await request.send("sent")
        return None
    return str(session["count"])


async def late(session: Session) -> AsyncIterator[str]:
    yield "before "
    session["late"] = True
    yield "after"


def test_a_counter() -> None:
    first = ask(counter)
    second = ask(counter, headers={"cookie": cookie_of(first.headers)})
    assert (first.text, second.text) == ("1", "2")
    assert second.headers["cache-control"] == "private"
    assert dict(ask(counter, "/public").headers).keys() == {"content-type", "content-length"}


def test_an_error_saves_too() -> None:
    @to_asgi
    async def main(request: HttpRequest) -> Any:
        session = SESSIONS.load(request)
        return SESSIONS.save(session, await response_of(request, fail(session)))

    async def fail(session: Session) -> Any:
        from asgineer import HTTPError

        session["tried"] = 1
        raise HTTPError(401)

    answer = ask(main)
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, True)


def run_with_errors(path: str) -> tuple[httpx2.Response, list[BaseException]]:
    """Return the answer and what was logged."""
    extensions: dict[str, Any] = {"asgineer.errors": []}
    request: list[HttpRequest] = []

    @to_asgi
    async def main(incoming: HttpRequest) -> Any:
        incoming.scope["extensions"] = extensions
        request.append(incoming)
        return await counter.asgineer_handler(incoming)

    return ask(main, path), extensions["asgineer.errors"]


def test_a_change_by_a_stream_comes_too_late(caplog: pytest.LogCaptureFixture) -> None:
    answer, [error] = run_with_errors("/late")
    assert answer.text == "before after"
    assert isinstance(error, UsageError)
    assert "A session was changed after it was saved: the change is lost" in caplog.text
    assert "GET /late, request " in caplog.text
    assert 'session["late"] = True' in caplog.text  # the line that did it


def test_a_change_that_was_not_sent_is_told(caplog: pytest.LogCaptureFixture) -> None:
    answer, [error] = run_with_errors("/sent")
    assert answer.text == "sent"
    assert "set-cookie" not in answer.headers
    assert "without sessions.headers(session)" in str(error)
    assert str(error) in caplog.text


def test_headers_for_accept() -> None:
    answer, errors = run_with_errors("/sent-with")
    assert errors == []
    assert answer.headers["content-type"] == "text/plain"
    assert dict(reload(SESSIONS, cookie_of(answer.headers))) == {"count": 1}


def test_a_change_inside_after_the_headers_is_told(
    sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    session = sessions.load(request_with())
    session["cart"] = []
    sessions.headers(session)
    sessions.save(session, None)
    assert not caplog.records
    session["cart"].append(1)
    sessions.save(session, None)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("change", [Session.clear, Session.renew, lambda session: session.pop("a")])
def test_each_change_after_save_is_told(
    sessions: Sessions, caplog: pytest.LogCaptureFixture, change: Callable[[Session], object]
) -> None:
    session = reload(sessions, stored(sessions, a=1))
    sessions.save(session, "x")
    change(session)
    assert "after it was saved" in caplog.text


def test_a_websocket_sets_the_cookie_with_its_handshake() -> None:
    @to_asgi
    async def main(request: WebsocketRequest) -> None:
        session = SESSIONS.load(request)
        session["seen"] = True
        await request.accept(headers=SESSIONS.headers(session))

    headers = dict(ask_ws(main).sent[0]["headers"])
    assert headers[b"set-cookie"].startswith(HOST.encode())


# How it is built


def test_without_itsdangerous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    with pytest.raises(ImportError, match=r"itsdangerous.* not installed\. Try: pip install "):
        Sessions(NEW)


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ([], {}),
        ("", {}),
        ([NEW, b""], {}),
        (NEW, {"cookie": "a b"}),
        (NEW, {"cookie": ""}),
        (NEW, {"max_age": 0}),
        (NEW, {"max_age": -1}),
    ],
)
def test_arguments_that_can_not_be(keys: Any, options: Any) -> None:
    with pytest.raises(ValueError, match=r"key|Cookie name|max_age"):
        Sessions(keys, **options)


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        (None, {}),
        ([None], {}),
        ([3], {}),
        (NEW, {"max_age": 1.5}),
        (NEW, {"max_age": True}),
        (NEW, {"max_age": None}),
    ],
)
def test_arguments_of_another_type(keys: Any, options: Any) -> None:
    with pytest.raises(TypeError):
        Sessions(keys, **options)
