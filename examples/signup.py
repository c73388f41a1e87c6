"""Sign up: a form with an upload, what is wrong with it told beside the fields, and a session.

    pip install itsdangerous
    SESSION_KEY=… python examples/signup.py [host:port]

Members are kept in memory, so they are gone with the program; a real one has a database.
"""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from html import escape
from typing import Annotated

from msgspec import Meta

import asgineer
from asgineer import Form, HTTPError, HttpRequest, MethodNotAllowed, Response, UploadFile, response_of
from asgineer.security import SecureHeaders, Session, Sessions, check_origin
from asgineer.utils import redirect

STYLE = """\
body { font-family: system-ui, sans-serif; margin: 3em auto; max-width: 28em; padding: 0 1em; color: #223 }
label { display: block; margin-bottom: 1em }
input:not([type=checkbox]) { display: block; box-sizing: border-box; width: 100%; margin-top: .3em }
input[type=file] { padding-inline: 0 }
input, button { font: inherit; padding: .4em .6em }
small { color: #b3261e }
img { max-width: 12em; max-height: 12em; border-radius: .5em; background: #eef1f5 }
"""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
<h1>{title}</h1>
{body}
</html>
"""

FORM = """<form method="post" enctype="multipart/form-data" novalidate>
<label>Name <input name="name" value="{name}" autocomplete="name"> {name_error}</label>
<label>Email <input name="email" type="email" value="{email}" autocomplete="email"> {email_error}</label>
<label>Age <input name="age" inputmode="numeric" value="{age}"> {age_error}</label>
<label>A picture, if you like
<input name="picture" type="file" accept="image/png,image/jpeg"> {picture_error}</label>
<label><input name="agreed" type="checkbox"> I keep to the rules {agreed_error}</label>
<button>Sign up</button>
</form>"""

WELCOME = """<p>Welcome, <b>{name}</b>. We write to {email}.</p>
{picture}
<form method="post" action="/leave"><button>Leave</button></form>"""

# What to say to a person, by field; anything else that is wrong is told as it was found.
WRONG = {
    "name": "Your name, at least two letters",
    "email": "An address such as ann@example.com",
    "age": "A number, 16 or more",
}
PICTURES = {b"\x89PNG\r\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}  # what such files begin with
MAX_PICTURE = 2 * 1024 * 1024  # bytes


@dataclass
class Application:
    """What the form asks for."""

    name: Annotated[str, Meta(min_length=2, max_length=80)]
    email: Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=200)]
    age: Annotated[int, Meta(ge=16, le=150)]
    agreed: bool
    picture: UploadFile | None = None


@dataclass
class Member:
    name: str
    email: str
    picture: bytes
    picture_type: str


members: dict[str, Member] = {}  # by a random key, which is in the member's session
sessions = Sessions(os.environ.get("SESSION_KEY") or secrets.token_urlsafe(32), secure=False)
# For a site served by https, leave out secure=False.
secure_headers = SecureHeaders(csp="default-src 'self'; img-src 'self' data:")


@asgineer.to_asgi
async def main(request: HttpRequest) -> Response | None:
    session = sessions.load(request)
    response = await response_of(request, site(request, session))
    return secure_headers(request, sessions.save(session, response))


async def site(request: HttpRequest, session: Session) -> Response:
    check_origin(request)  # no page of another site signs a visitor up, or out
    member = members.get(session.get("member", ""))
    match request.verb, *request.parts:
        case ("GET",):
            return show_member(member) if member else show_form()
        case ("POST",):
            return await sign_up(session, await request.get_form())
        case "POST", "leave":
            members.pop(session.get("member", ""), None)
            session.clear()
            return redirect("/")
        case "GET", "picture" if member:
            return {"content-type": member.picture_type}, member.picture
        case "GET", "style.css":
            return {"content-type": "text/css"}, STYLE
        case (_,):
            raise MethodNotAllowed("GET", "POST")
        case _, "leave":
            raise MethodNotAllowed("POST")
        case _:
            raise HTTPError(404)


async def sign_up(session: Session, form: Form) -> Response:
    application, errors = form.check(Application)
    if application is None:
        return 422, {}, show_form(form, {field: WRONG.get(field, text) for field, text in errors.items()})
    if not application.agreed:
        return 422, {}, show_form(form, {"agreed": "Please agree"})
    picture, picture_type = b"", ""
    if application.picture:
        picture = await application.picture.read(MAX_PICTURE + 1)
        picture_type = next((type for start, type in PICTURES.items() if picture.startswith(start)), "")
        if len(picture) > MAX_PICTURE or not picture_type:
            return 422, {}, show_form(form, {"picture": "A PNG or JPEG of at most 2 MB"})
    key = secrets.token_urlsafe(16)
    members[key] = Member(application.name, application.email, picture, picture_type)
    session["member"] = key
    session.renew()
    return redirect("/")  # so that a reload asks for the page, and doesn't send the form again


def show_form(form: Form | None = None, errors: dict[str, str] | None = None) -> str:
    """Return the page with the form, filled with what was sent, and with what is wrong in it."""
    fields = ("name", "email", "age")
    texts = {field: escape(form.text(field, "")) if form else "" for field in fields}
    for field in (*fields, "picture", "agreed"):
        error = (errors or {}).get(field)
        texts[f"{field}_error"] = f"<small>{escape(error)}</small>" if error else ""
    return PAGE.format(title="Sign up", body=FORM.format(**texts))


def show_member(member: Member) -> str:
    picture = "<p><img src='/picture' alt='Your picture'></p>" if member.picture else ""
    body = WELCOME.format(name=escape(member.name), email=escape(member.email), picture=picture)
    return PAGE.format(title="Your account", body=body)


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
