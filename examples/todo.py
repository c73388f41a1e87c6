"""A list of things to do for each user: SQLite, accounts, messages shown once, errors beside the field.

    pip install aiosqlite htpy itsdangerous
    SESSION_KEY=… TODO_DB=todo.sqlite python examples/todo.py [host:port]

Without TODO_DB the lists are kept in memory, and are gone with the program. Pages are made by htpy, which
escapes all text.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Annotated, Any

import aiosqlite
import htpy as h
from msgspec import Meta

import asgineer
from asgineer import HTTPError, HttpRequest, MethodNotAllowed, Response, param, response_of
from asgineer.security import SecureHeaders, Session, Sessions, check_origin
from asgineer.utils import redirect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

SCHEMA = """
create table if not exists users (
    id integer primary key, name text unique not null, salt blob not null, key blob not null);
create table if not exists items (
    id integer primary key, user integer not null references users, text text not null,
    done integer not null default 0);
create index if not exists items_of_user on items (user);
"""
STYLE = """\
body { font-family: system-ui, sans-serif; margin: 3em auto; max-width: 30em; padding: 0 1em; color: #223 }
header { display: flex; justify-content: space-between; align-items: baseline }
input, button { font: inherit; padding: .4em .6em }
label { display: block; margin-bottom: 1em }
label input { display: block; margin-top: .3em; width: 100%; box-sizing: border-box }
ul { list-style: none; padding: 0 } li { display: flex; gap: .5em; align-items: center; padding: .2em 0 }
li span { flex: 1 } li.done span { text-decoration: line-through; color: #889 }
form { margin: 0 } .add { display: flex; gap: .5em } .add input { flex: 1 }
small { color: #b3261e; display: block }
.flash { background: #e6f3ec; border-radius: .3em; padding: .5em .8em }
"""


@dataclass
class Credentials:
    """What the form of the first page asks for."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9]{2,30}$")]
    password: Annotated[str, Meta(min_length=8, max_length=200)]


@dataclass
class NewItem:
    text: Annotated[str, Meta(min_length=1, max_length=200)]


@dataclass
class User:
    id: int
    name: str


WRONG = {
    "name": "From 2 to 30 small letters and digits",
    "password": "At least 8 characters",
    "text": "From 1 to 200 characters",
}


@asynccontextmanager
async def lifespan() -> AsyncGenerator[Mapping[str, object]]:
    """Open the database with the server, and close it after the last request."""
    async with aiosqlite.connect(os.environ.get("TODO_DB", ":memory:")) as db:
        await db.executescript(SCHEMA)
        yield {"db": db}


sessions = Sessions(os.environ.get("SESSION_KEY") or secrets.token_urlsafe(32), secure=False)
# For a site served by https, leave out secure=False.
secure_headers = SecureHeaders(csp="default-src 'self'; img-src 'self' data:")


@asgineer.to_asgi(lifespan=lifespan)
async def main(request: HttpRequest) -> Response | None:
    session = sessions.load(request)
    response = await response_of(request, site(request, session))
    return secure_headers(request, sessions.save(session, response))


async def site(request: HttpRequest, session: Session) -> Response:
    check_origin(request)  # no page of another site changes anything
    match request.verb, *request.parts:
        case "GET", "style.css":
            return {"content-type": "text/css"}, STYLE
        case "POST", "join" | "login" as how:
            return await enter(request, session, new=how == "join")
        case _:
            pass  # all else is for who is logged in
    user = await find_user(request, session)
    if user is None:
        if request.verb != "GET":
            raise HTTPError(401)
        return show_entrance(session)
    match request.verb, *request.parts:
        case ("GET",):
            return await show_items(request, session, user)
        case "POST", "items":
            return await add_item(request, session, user)
        case "POST", "items", number, "done" | "remove" as what:
            return await change_item(request, session, user, param(number, int), what)
        case "POST", "logout":
            session.clear()
            return redirect("/")
        case _, "items" | "logout":
            raise MethodNotAllowed("POST")
        case _:
            raise HTTPError(404)


# Who it is


async def find_user(request: HttpRequest, session: Session) -> User | None:
    rows = await fetch(request, "select id, name from users where id = ?", session.get("user", 0))
    return User(*rows[0]) if rows else None


async def enter(request: HttpRequest, session: Session, new: bool) -> Response:
    form = await request.get_form()
    credentials, errors = form.check(Credentials)
    if credentials is None:
        texts = {field: WRONG.get(field, text) for field, text in errors.items()}
        return 422, {}, show_entrance(session, form.text("name", ""), texts)
    user = await (join if new else login)(request, credentials)
    if user is None:
        text = "Somebody has this name already" if new else "Name and password don't belong together"
        return 422, {}, show_entrance(session, credentials.name, {"name": text})
    session["user"] = user
    session["flash"] = f"Welcome, {credentials.name}"
    session.renew()  # what was known of the session before is worth nothing now
    return redirect("/")


async def join(request: HttpRequest, credentials: Credentials) -> int | None:
    salt = secrets.token_bytes(16)
    key = await derive_key(credentials.password, salt)
    sql = "insert into users (name, salt, key) values (?, ?, ?) on conflict do nothing returning id"
    rows = await fetch(request, sql, credentials.name, salt, key)
    return int(rows[0][0]) if rows else None


async def login(request: HttpRequest, credentials: Credentials) -> int | None:
    rows = await fetch(request, "select id, salt, key from users where name = ?", credentials.name)
    number, salt, key = rows[0] if rows else (0, b"nobody", b"")  # as much work for a name that isn't there
    is_right = compare_digest(await derive_key(credentials.password, salt), key)
    return number if is_right else None


async def derive_key(password: str, salt: bytes) -> bytes:
    """Return what is kept of a password; slow on purpose, so in a thread."""
    return await asyncio.to_thread(hashlib.scrypt, password.encode(), salt=salt, n=2**14, r=8, p=1)


# What is to do


async def add_item(request: HttpRequest, session: Session, user: User) -> Response:
    form = await request.get_form()
    item, _ = form.check(NewItem)
    if item is None:
        return 422, {}, await show_items(request, session, user, form.text("text", ""), WRONG["text"])
    await fetch(request, "insert into items (user, text) values (?, ?)", user.id, item.text)
    return redirect("/")


async def change_item(request: HttpRequest, session: Session, user: User, number: int, what: str) -> Response:
    if what == "done":
        sql = "update items set done = not done where id = ? and user = ? returning text"
    else:
        sql = "delete from items where id = ? and user = ? returning text"
    rows = await fetch(request, sql, number, user.id)
    if not rows:
        raise HTTPError(404)
    if what == "remove":
        session["flash"] = f"Removed: {rows[0][0]}"
    return redirect("/")


async def fetch(request: HttpRequest, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Run one statement, for good; return its rows."""
    db: aiosqlite.Connection = request.state["db"]
    async with db.execute(sql, values) as cursor:
        rows = [tuple(row) for row in await cursor.fetchall()]
    await db.commit()
    return rows


# Pages


def show_entrance(session: Session, name: str = "", errors: Mapping[str, str] | None = None) -> h.Element:
    errors = errors or {}
    return page(
        session,
        "Things to do",
        h.form(method="post", action="/login")[
            h.label["Name", h.input(name="name", value=name, autocomplete="username"), wrong(errors, "name")],
            h.label[
                "Password",
                h.input(name="password", type="password", autocomplete="current-password"),
                wrong(errors, "password"),
            ],
            h.button["Log in"],
            " ",
            h.button(formaction="/join")["Join"],
        ],
    )


async def show_items(
    request: HttpRequest, session: Session, user: User, text: str = "", error: str = ""
) -> h.Element:
    rows = await fetch(request, "select id, text, done from items where user = ? order by id", user.id)
    return page(
        session,
        "Things to do",
        h.form(".add", method="post", action="/items")[
            h.input(name="text", value=text, placeholder="What next?", autofocus=True), h.button["Add"]
        ],
        h.small[error] if error else None,
        h.ul[(show_item(number, text, bool(done)) for number, text, done in rows)],
        user=user,
    )


def show_item(number: int, text: str, done: bool) -> h.Element:
    return h.li(class_={"done": done})[
        h.form(method="post", action=f"/items/{number}/done")[
            h.button(aria_label="Done", aria_pressed=str(done).lower())["✓"]
        ],
        h.span[text],
        h.form(method="post", action=f"/items/{number}/remove")[h.button(aria_label="Remove")["✕"]],
    ]


def wrong(errors: Mapping[str, str], field: str) -> h.Element | None:
    return h.small[errors[field]] if field in errors else None


def page(session: Session, title: str, *content: h.Node, user: User | None = None) -> h.Element:
    """Return a whole page; what the session has to say once, it shows."""
    flash = session.pop("flash", None)
    return h.html(lang="en")[
        h.head[
            h.meta(charset="utf-8"),
            h.meta(name="viewport", content="width=device-width"),
            h.title[title],
            h.link(rel="icon", href="data:,"),
            h.link(rel="stylesheet", href="/style.css"),
        ],
        h.body[
            h.header[
                h.h1[title], h.form(method="post", action="/logout")[h.button["Log out"]] if user else None
            ],
            h.p(".flash")[flash] if flash else None,
            content,
        ],
    ]


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
