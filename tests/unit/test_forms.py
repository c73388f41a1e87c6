"""get_form: fields and files by name, typed values, limits, and that nothing is left on any way out."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
import pytest

from asgineer import (
    BadRequest,
    BodyTooLarge,
    DisconnectedError,
    Form,
    HTTPError,
    HttpRequest,
    InvalidData,
    Limits,
    RequestTimeout,
    UnsupportedMediaType,
    UploadFile,
    UsageError,
    to_asgi,
)
from asgineer._http import KEPT_PIECE
from asgineer.testing._fakeclock import FakeClock, fake_clock

from .asgi import Http, converse
from .form_corpus import BAD, CHUNKS, END, GOOD, TYPE, URLENCODED, decode, part, pieces, upload
from .form_requests import BIG, QUERY_TYPE, answer, nothing_left, outcome
from .turns import advance, errors, run, settle

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["nothing_left"]  # a fixture that each test here goes through


async def get(request: HttpRequest) -> Form:
    return await request.get_form()


async def contents(request: HttpRequest) -> dict[str, list[Any]]:
    """Return all that the form has; of a file its name, type, size and data."""
    form = await request.get_form()
    return {name: [await content(value) for value in form.getlist(name)] for name in form}


async def content(value: str | UploadFile) -> Any:
    if isinstance(value, str):
        return value
    return value.filename, value.content_type, value.size, await value.read()


# Both kinds of form


@pytest.mark.parametrize(
    "content_type", [QUERY_TYPE, "Application/X-WWW-Form-Urlencoded ; charset=x", QUERY_TYPE + ";"]
)
def test_urlencoded(content_type: str) -> None:
    body = b"a=1&b=two+words&a=3&c&d=%C3%BC"
    assert outcome(contents, body, content_type) == {
        "a": ["1", "3"],
        "b": ["two words"],
        "c": [""],
        "d": ["ü"],
    }


def test_multipart() -> None:
    body = part("1") + upload("data") + part("2") + upload(BIG, "b.bin") + part("ü", 'form-data; name="ä"')
    assert outcome(contents, list(pieces(body + END, 100_000))) == {
        "a": ["1", "2"],
        "f": [("f.txt", "text/plain", 4, b"data"), ("b.bin", "text/plain", len(BIG), BIG)],
        "ä": ["ü"],
    }


@pytest.mark.parametrize("name", GOOD)
def test_good_bodies(name: str) -> None:
    expected: dict[str, list[Any]] = {}
    for head, data in decode([GOOD[name]]):
        if head.filename is None:
            expected.setdefault(head.name, []).append(data.decode())
        elif head.filename or data:
            file = head.filename, head.content_type, len(data), data
            expected.setdefault(head.name, []).append(file)
    assert outcome(contents, list(pieces(GOOD[name], 5))) == expected


@pytest.mark.parametrize("name", BAD)
def test_bad_bodies(name: str) -> None:
    exchange = answer(get, BAD[name])
    assert exchange.status_code == 400
    assert len(exchange.text) < 60


@pytest.mark.parametrize("name", ["preamble", "near misses", "field and file"])
@pytest.mark.parametrize("size", CHUNKS)
async def test_every_prefix(name: str, size: int) -> None:
    async def one(body: bytes) -> Any:
        found: list[Any] = []

        async def handler(request: HttpRequest) -> str:
            try:
                found.append(await contents(request))
            except BadRequest as error:
                found.append(error)
            return ""

        body_pieces = list(pieces(body, size)) or [b""]
        await converse(to_asgi(handler), method="POST", headers={"content-type": TYPE}, body=body_pieces)
        return found[0]

    whole = await one(GOOD[name])
    for length in range(len(GOOD[name])):
        found = await one(GOOD[name][:length])
        assert found == whole or isinstance(found, BadRequest), length


@pytest.mark.parametrize("name", URLENCODED)
@pytest.mark.parametrize("size", CHUNKS)
async def test_every_prefix_of_a_urlencoded_form_is_read_as_a_query(name: str, size: int) -> None:
    async def handler(request: HttpRequest) -> str:
        expected: dict[str, list[str]] = {}
        for key, value in request.querylist:
            expected.setdefault(key, []).append(value)
        assert await contents(request) == expected
        return ""

    for length in range(len(URLENCODED[name]) + 1):
        body = URLENCODED[name][:length]
        head = {"content-type": QUERY_TYPE}
        body_pieces = list(pieces(body, size)) or [b""]
        await converse(to_asgi(handler), method="POST", headers=head, body=body_pieces, query_string=body)


def test_a_long_urlencoded_form_is_decoded_by_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    real = Form.__init__

    def parse(data: bytes) -> list[tuple[str, str]]:
        threads.append(threading.current_thread() is threading.main_thread())
        return [("a", str(len(data)))]

    monkeypatch.setattr("asgineer._http.parse_pairs", parse)
    for size in (65_536, 65_537):
        assert outcome(contents, b"a=" + b"x" * (size - 2), QUERY_TYPE) == {"a": [str(size)]}
    assert threads == [True, False]
    assert Form.__init__ is real


@pytest.mark.parametrize(
    ("headers", "error", "text"),
    [
        ({}, UnsupportedMediaType, "not a form"),
        ({"content-type": "application/json"}, UnsupportedMediaType, "not a form"),
        ({"content-type": "multipart/mixed; boundary=a"}, UnsupportedMediaType, "not a form"),
        ({"content-type": TYPE, "content-encoding": "gzip"}, UnsupportedMediaType, "Encoded"),
        ({"content-type": TYPE, "content-encoding": "Identity"}, None, ""),
        ([("content-type", TYPE), ("content-type", TYPE)], BadRequest, "More than one"),
        ({"content-type": "multipart/form-data"}, BadRequest, "boundary"),
        ({"content-type": "multipart/form-data; boundary=" + "x" * 71}, BadRequest, "boundary"),
        ({"content-type": "multipart/form-data; boundary=a; boundary=b"}, BadRequest, "boundary"),
    ],
)
def test_what_the_headers_say(headers: Any, error: type[HTTPError] | None, text: str) -> None:
    found = outcome(get, END, headers=headers)
    if error is None:
        assert dict(found) == {}
    else:
        assert type(found) is error
        assert text in found.body


@pytest.mark.parametrize("charset", ["utf-7", "zlib_codec", "none", "iso-8859-1"])
def test_text_is_utf8_whatever_is_said(charset: str) -> None:
    fields = part("ü", 'form-data; name="a"', f"Content-Type: text/plain; charset={charset}")
    fields += part(charset, 'form-data; name="_charset_"')
    assert outcome(contents, fields + END, f"{TYPE}; charset={charset}")["a"] == ["ü"]
    assert outcome(contents, b"a=%C3%BC", f"{QUERY_TYPE}; charset={charset}") == {"a": ["ü"]}


def test_text_that_is_no_utf8() -> None:
    found = outcome(get, part(b"\xff") + END)
    assert isinstance(found, BadRequest)
    assert found.body == "Form field is not UTF-8"
    assert outcome(contents, b"a=%ff", QUERY_TYPE) == {"a": ["\ufffd"]}  # as in a query


# The mapping


def test_form_is_a_mapping_of_the_last_values() -> None:
    form = Form({"a": ["1", "2"], "b": [""]})
    assert dict(form) == {"a": "2", "b": ""}
    assert (len(form), list(form), "a" in form, "c" in form) == (2, ["a", "b"], True, False)
    assert (form.get("b", "x"), form.get("c", "x")) == ("", "x")
    assert (form.getlist("a"), form.getlist("c")) == (["1", "2"], [])
    form.getlist("a").clear()
    assert form.getlist("a") == ["1", "2"]
    assert repr(form) == "<Form 'a', 'b'>"  # no values, they may be secrets


def test_text_and_file() -> None:
    file = UploadFile("f.txt", "text/plain")
    form = Form({"a": ["1", "2"], "f": [file], "b": [""]})
    assert (form.text("a"), form.text("b"), form.text("b", "x"), form.text("c", "x")) == ("2", "", "", "x")
    assert form.file("f") is file
    assert repr(file) == "<UploadFile 'f.txt' 0 bytes>"


@pytest.mark.parametrize(
    ("take", "errors"),
    [
        (lambda form: form["c"], {"c": "Required"}),
        (lambda form: form.text("c"), {"c": "Required"}),
        (lambda form: form.file("c"), {"c": "Required"}),
        (lambda form: form.text("f"), {"f": "Expected a text, got a file"}),
        (lambda form: form.text("f", "x"), {"f": "Expected a text, got a file"}),
        (lambda form: form.file("a"), {"a": "Expected a file, got a text"}),
    ],
)
def test_what_is_missing_is_the_clients_mistake(take: Any, errors: dict[str, str]) -> None:
    with pytest.raises(InvalidData) as caught:
        take(Form({"a": ["1"], "f": [UploadFile("f.txt", "text/plain")]}))
    assert caught.value.errors == errors
    ((name, text),) = errors.items()
    assert str(caught.value) == f"422 {name}: {text}"
    assert isinstance(caught.value, KeyError) == (text == "Required")


def test_missing_field_answers_422() -> None:
    async def work(request: HttpRequest) -> Any:
        return (await request.get_form())["c"]

    exchange = answer(work, b"a=1", QUERY_TYPE)
    assert (exchange.status_code, exchange.text) == (422, "c: Required")


def test_a_file_field_that_was_left_empty_is_missing() -> None:
    body = upload(b"", "") + upload(b"", "empty.txt", "g") + upload(b"x", "", "h") + END
    assert outcome(contents, body) == {
        "g": [("empty.txt", "text/plain", 0, b"")],
        "h": [("", "text/plain", 1, b"x")],
    }
    body = upload(b"x", "x") + upload(b"", "") + END
    assert [name for name, *_ in outcome(contents, body)["f"]] == ["x"]


def test_form_is_kept() -> None:
    async def work(request: HttpRequest) -> Any:
        form = await request.get_form()
        return form is await request.get_form(limit=0)

    assert outcome(work, GOOD["field and file"]) is True
    assert outcome(work, b"a=1", QUERY_TYPE) is True


@pytest.mark.parametrize("content_type", [TYPE, QUERY_TYPE])
def test_body_before_and_after_the_form(content_type: str) -> None:
    body = part("1") + upload(BIG[: 3 * KEPT_PIECE]) + END if content_type == TYPE else b"a=1"

    async def body_first(request: HttpRequest) -> Any:
        whole = await request.get_body()
        return whole == body, (await request.get_form())["a"]

    async def form_first(request: HttpRequest) -> Any:
        await request.get_form()
        return await request.get_body()

    assert outcome(body_first, body, content_type) == (True, "1")
    assert isinstance(outcome(form_first, body, content_type), UsageError)


# Typed values


@dataclass
class Order:
    name: str
    count: int
    photo: UploadFile
    paid: bool
    more: list[UploadFile] = field(default_factory=list)
    size: float | None = None


class Named(TypedDict):
    name: str


ORDER = part("3", 'form-data; name="count"') + part("", 'form-data; name="size"') + upload("p", "p", "photo")
NAME = part("tea", 'form-data; name="name"')


def test_check() -> None:
    async def work(request: HttpRequest) -> Any:
        order, errors = (await request.get_form()).check(Order)
        assert order is not None
        return (
            order.name,
            order.count,
            await order.photo.read(),
            order.paid,
            len(order.more),
            order.size,
            errors,
        )

    found = outcome(
        work, ORDER + NAME + upload("", "x", "more") * 2 + part("on", 'form-data; name="paid"') + END
    )
    assert found == ("tea", 3, b"p", True, 2, None, {})


def test_check_tells_all_errors() -> None:
    form = Form({"count": ["3x"], "photo": [""], "more": ["a text"], "size": ["big"]})
    value, errors = form.check(Order)
    assert value is None
    assert list(errors) == ["name", "count", "photo", "more", "size"]
    assert errors["photo"] == errors["name"] == "Required"
    assert "UploadFile" in errors["more"]


def test_get_form_with_a_type() -> None:
    async def work(request: HttpRequest) -> Any:
        named: Named = await request.get_form(type=Named)
        return named, (await request.get_form(Named))["name"]

    assert outcome(work, b"name=tea&x=y", QUERY_TYPE) == ({"name": "tea"}, "tea")


def test_get_form_with_a_type_raises_all_errors() -> None:
    async def work(request: HttpRequest) -> Any:
        return await request.get_form(type=Order)

    exchange = answer(work, b"count=x", QUERY_TYPE)
    assert exchange.status_code == 422
    assert exchange.text == "name: Required\ncount: Expected `int`, got `str`\nphoto: Required"
    found = outcome(work, b"count=x", QUERY_TYPE)
    assert isinstance(found, InvalidData)
    assert list(found.errors) == ["name", "count", "photo"]


# Limits: one below, at it, one above


def status_of(data: bytes, content_type: str = TYPE, /, **limits: Any) -> tuple[int, str]:
    async def work(request: HttpRequest) -> Any:
        await request.get_form()
        return "fits"

    for size in (len(data) or 1, 1000):
        exchange = answer(work, list(pieces(data, size)) or [b""], content_type, Limits(**limits))
        assert exchange.status_code in (200, 413)
    return exchange.status_code, exchange.text


def above(fits: bool, text: str) -> tuple[int, str]:
    return (200, "fits") if fits else (413, text)


STEPS = [(-1, True), (0, True), (1, False)]


@pytest.mark.parametrize(("more", "fits"), STEPS)
def test_limit_of_fields(more: int, fits: bool) -> None:
    expected = above(fits, "Too many form fields")
    assert status_of(part() * (20 + more) + END, form_fields=20) == expected
    assert status_of(b"&".join([b"a=1"] * (20 + more)), QUERY_TYPE, form_fields=20) == expected
    assert status_of(part() * more + END if more > 0 else END, form_fields=0)[0] == expected[0]
    assert status_of(b"a" * more, QUERY_TYPE, form_fields=0) == expected


@pytest.mark.parametrize(("more", "fits"), STEPS)
def test_limit_of_fields_by_default(more: int, fits: bool) -> None:
    assert (status_of(part() * (1000 + more) + END)[0] == 200) == fits
    assert (status_of(b"&" * (999 + more), QUERY_TYPE)[0] == 200) == fits


@pytest.mark.parametrize(("more", "fits"), STEPS)
def test_limit_of_files(more: int, fits: bool) -> None:
    assert status_of(upload() * (5 + more) + END, form_files=5) == above(fits, "Too many files")
    assert status_of(upload() * (100 + more) + END) == above(fits, "Too many files")


@pytest.mark.parametrize(("more", "fits"), STEPS)
def test_limit_of_a_field(more: int, fits: bool) -> None:
    expected = above(fits, "Form field too large")
    assert status_of(part("x" * (100 + more)) + END, form_field=100) == expected
    assert status_of(b"a=1&b=" + b"x" * (100 + more), QUERY_TYPE, form_field=100) == expected
    assert status_of(b"a=1&" + b"x" * (100 + more) + b"=1", QUERY_TYPE, form_field=100) == expected


@pytest.mark.parametrize(("more", "fits"), STEPS)
def test_limit_of_a_field_by_default(more: int, fits: bool) -> None:
    async def work(request: HttpRequest) -> Any:
        return len((await request.get_form()).text("a"))

    size = 2**20 + more
    for body, content_type in ((part("x" * size) + END, TYPE), (b"a=" + b"x" * size, QUERY_TYPE)):
        found = outcome(work, list(pieces(body, 2**16)), content_type)
        assert found == size if fits else isinstance(found, BodyTooLarge)


@pytest.mark.parametrize(("more", "fits"), STEPS)
def test_limit_of_all_fields(more: int, fits: bool) -> None:
    expected = above(fits, "Form fields too large")
    fields = [part("x" * 100)] * 9 + [part("x" * 50), part("x" * (50 + more))]
    assert status_of(b"".join(fields) + END, form_field=100) == expected
    fields = [b"a" * 99] * 9 + [b"b" * 50, b"c" * (49 + more)]
    assert status_of(b"&".join(fields), QUERY_TYPE, form_field=100) == expected
    whole = b"&".join(fields)
    for body in ([whole], list(pieces(whole, 64))):
        found = outcome(get, body, QUERY_TYPE, limits=Limits(form_field=100))
        assert isinstance(found, Form if fits else BodyTooLarge)


@pytest.mark.parametrize("body", [b"a=1&" * 20, b"x" * 1001])
def test_an_urlencoded_form_is_refused_while_it_comes(body: bytes) -> None:
    """The rest, which never comes, is not waited for."""

    async def main() -> list[Any]:
        limits = Limits(form_fields=20, form_field=100)
        app = to_asgi(limits=limits)(get_nothing)
        http = Http.begin(app, method="POST", headers={"content-type": QUERY_TYPE}, body=body, rest=True)
        await http.finish()
        return http.sent

    async def get_nothing(request: HttpRequest) -> str:
        await request.get_form()
        return "never"

    assert run(main())[0]["status"] == 413


def test_limits_of_fields_can_be_off_for_what_comes_in_pieces() -> None:
    limits = Limits(form_fields=None, form_field=None)
    form = outcome(get, [b"a=1&" * 2000, b"b=2"], QUERY_TYPE, limits=limits)
    assert (len(form.getlist("a")), form["b"]) == (2000, "2")


@pytest.mark.parametrize(("more", "fits"), STEPS)
@pytest.mark.parametrize("content_type", [TYPE, QUERY_TYPE])
@pytest.mark.parametrize("declared", [True, False])
def test_limit_of_the_body(more: int, fits: bool, content_type: str, declared: bool) -> None:
    body = part("v") + END if content_type == TYPE else b"a=1"

    async def work(request: HttpRequest) -> Any:
        return len(await request.get_form(limit=len(body) - more))

    headers = {"content-type": content_type, **({"content-length": str(len(body))} if declared else {})}
    for limits in (Limits(), Limits(body=0)):
        found = outcome(work, body, headers=headers, limits=limits)
        assert found == 1 if fits else isinstance(found, BodyTooLarge)
    app_wide = outcome(get, body, headers=headers, limits=Limits(body=len(body) - more))
    assert isinstance(app_wide, Form if fits else BodyTooLarge)


def test_limits_can_be_off() -> None:
    off = dict.fromkeys(["body", "form_fields", "form_files", "form_field", "spool"])
    many = part("x" * 2000) * 1001 + upload() * 101 + END
    assert status_of(many, TYPE, **off) == (200, "fits")
    assert status_of(b"a=1&" * 2000, QUERY_TYPE, **off) == (200, "fits")


@pytest.mark.parametrize(
    ("body", "content_type", "limits"),
    [
        (part() * 3 + END, TYPE, {"form_fields": 2}),
        (part("xxx") + END, TYPE, {"form_field": 2}),
        (b"a&b&c", QUERY_TYPE, {"form_fields": 2}),
        (b"a=xxx", QUERY_TYPE, {"form_field": 2}),
        (b"a=xxx", QUERY_TYPE, {"body": 2}),
    ],
)
def test_no_limit_can_be_swallowed(body: bytes, content_type: str, limits: Any) -> None:
    async def work(request: HttpRequest) -> Any:
        try:
            await request.get_form()
        except BodyTooLarge:
            return "all is well"

    assert answer(work, body, content_type, Limits(**limits)).status_code == 413


# Files, in memory and on a disk


async def where(request: HttpRequest) -> list[bool]:
    """Say of each file whether it is on a disk."""
    form = await request.get_form(limit=None)
    return [
        file._disk is not None for name in form for file in form.getlist(name) if not isinstance(file, str)
    ]


@pytest.mark.parametrize(("more", "on_disk"), [(-1, False), (0, False), (1, True)])
def test_limit_of_memory_for_a_file(more: int, on_disk: bool) -> None:
    for size in (100, 7):
        body = list(pieces(upload("x" * (100 + more)) + END, size))
        assert outcome(where, body, limits=Limits(spool=100)) == [on_disk]
    body = list(pieces(upload("x" * (2**20 + more)) + END, 2**16))
    assert outcome(where, body) == [on_disk]


def test_limit_of_memory_for_all_files() -> None:
    body = upload("x" * 100) * 9 + upload("x" * 51) + upload("x" * 50) + upload("x" * 49) + upload("x") + END
    assert outcome(where, body, limits=Limits(spool=100)) == [*[False] * 9, False, True, False, True]
    assert outcome(where, upload("x" * 5000) + END, limits=Limits(spool=None)) == [False]


def spooled(size: int) -> bytes:
    return BIG[:size]


@pytest.mark.parametrize("size", [0, 1, 1000, 2**20 + 1, len(BIG)])
def test_reading_a_file(size: int, tmp_path: Path) -> None:
    data = spooled(size)
    place = tmp_path / "saved"

    async def work(request: HttpRequest) -> None:
        file = (await request.get_form()).file("f")
        assert file.size == size
        assert await file.read(0) == b""
        assert await file.read(10) == data[:10]
        assert await file.read(10) == data[10:20]
        chunks = [chunk async for chunk in file]
        assert b"".join(chunks) == data
        assert all(len(chunk) >= 65_536 for chunk in chunks[:-1])
        assert await file.read() == data[20:]
        assert await file.read() == await file.read(5) == b""
        for _ in range(2):  # and over what is there
            await file.save(place)
            assert place.read_bytes() == data
        assert os.listdir(tmp_path / ".") in (["temporary", "saved"], ["saved", "temporary"])
        assert place.stat().st_mode & 0o777 == 0o666 & ~mask

    mask = os.umask(0)
    os.umask(mask)
    found = outcome(work, list(pieces(upload(data) + END, 2**16)))
    assert found is None, repr(found)


def test_disk_is_left_to_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from asgineer import _uploads

    seen = set()

    def watch(kind: type, name: str) -> None:
        real = getattr(kind, name)

        def method(*args: Any) -> Any:
            seen.add((name, threading.current_thread() is threading.main_thread()))
            return real(*args)

        monkeypatch.setattr(kind, name, method)

    for name in ("write", "read", "end"):
        watch(_uploads.TemporaryFile, name)
    for name in ("write", "finish", "discard"):
        watch(_uploads.FileAside, name)

    async def work(request: HttpRequest) -> None:
        file = (await request.get_form()).file("f")
        await file.read(1)
        await file.save(tmp_path / "saved")
        with pytest.raises(OSError, match="nowhere"):
            await file.save(tmp_path / "nowhere" / "saved")

    assert outcome(work, list(pieces(upload(BIG) + END, 2**16))) is None
    assert seen == {(name, False) for name in ("write", "read", "end", "finish", "discard")}


def test_saving_where_it_cannot_be_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    async def work(request: HttpRequest) -> None:
        file = (await request.get_form()).file("f")
        for place in (tmp_path / "nowhere" / "x", tmp_path / "folder", "/proc/nothing"):
            with pytest.raises(OSError):  # noqa: PT011 (which one is the system's)
                await file.save(place)

    assert outcome(work, upload() + END) is None
    assert sorted(os.listdir(tmp_path)) == ["folder", "temporary"]


@pytest.mark.parametrize("data", [b"x", BIG])
async def test_a_file_ends_with_the_handler(data: bytes) -> None:
    kept: list[UploadFile] = []

    async def handler(request: HttpRequest) -> str:
        kept.append((await request.get_form()).file("f"))
        return "done"

    exchange = await converse(
        to_asgi(handler), method="POST", headers={"content-type": TYPE}, body=upload(data) + END
    )
    assert exchange.status == 200
    for use in (kept[0].read(), kept[0].read(0), anext(aiter(kept[0]))):
        with pytest.raises(UsageError, match="handler has ended"):
            await use


def test_a_stream_may_read_the_file() -> None:
    async def work(request: HttpRequest) -> Any:
        return aiter((await request.get_form()).file("f"))

    assert answer(work, upload(BIG) + END).content == BIG


def test_form_can_be_closed_without_a_loop() -> None:
    """A request made by hand has nobody who ends it; and a loop may have ended before."""

    async def main() -> Form:
        messages = [{"type": "http.request", "body": upload(BIG) + END}]

        async def receive() -> Any:
            return messages.pop()

        async def send(message: Any) -> None: ...

        headers = [(b"content-type", TYPE.encode())]
        request = HttpRequest({"type": "http", "method": "POST", "headers": headers}, receive, send)
        return await request.get_form()

    form = run(main())
    assert form.file("f").size == len(BIG)
    form.close()
    form.close()


# The ways out


def test_failing_disk(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(*args: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    assert answer(get, upload(BIG) + END).status_code == 500
    assert "No space left" in errors(caplog)[0]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full disk")
@pytest.mark.parametrize("data", [BIG, b"fits into a buffer"])
def test_full_disk(data: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "r+b"))  # noqa: SIM115
    assert answer(get, upload(data) + END, TYPE, Limits(spool=10)).status_code == 500
    assert "No space left" in errors(caplog)[0]


@pytest.mark.parametrize("kind", ["read", "leave", "bad", "large", "raise"])
def test_nothing_is_left(kind: str) -> None:
    """100 times: see the fixture for what is looked at afterwards."""
    body = upload(BIG[: 2**16], "1", "one") + upload(BIG[: 2**17])

    async def main() -> None:
        for _ in range(100):
            app = to_asgi(handler, limits=Limits(spool=1000, form_files=2))
            rest = {"leave": b"", "bad": b"--b-0x", "large": upload()}.get(kind, END)
            exchange = Http(app, method="POST", headers={"content-type": TYPE}, body=body + rest, rest=True)
            if kind == "leave":
                exchange.leave()
            else:
                exchange.feed(b"", more=False)
            exchange.start()
            await exchange.finish()
            if kind != "leave":
                assert exchange.status == {"bad": 400, "large": 413, "raise": 404, "read": 200}[kind]
        assert found == ([DisconnectedError] * 100 if kind == "leave" else [])

    found: list[type] = []

    async def handler(request: HttpRequest) -> str:
        try:
            assert (await request.get_form()).file("f").size
        except DisconnectedError as error:
            found.append(type(error))
            raise
        if kind == "raise":
            raise HTTPError(404)
        return "done"

    run(main(), 30)


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_nothing_is_left_by_a_cancelled_handler(turns: int) -> None:
    async def handler(request: HttpRequest) -> str:
        await request.get_form()
        return "done"

    app = to_asgi(handler, limits=Limits(spool=1000))
    body = list(pieces(upload(BIG[: 2**18]) * 2 + END, 2**16))
    exchange = Http.begin(app, method="POST", headers={"content-type": TYPE}, body=body)
    for _ in range(turns):
        await asyncio.sleep(0)
    exchange.task.cancel()
    await asyncio.wait([exchange.task])


def test_body_that_stops_coming() -> None:
    async def main(clock: FakeClock) -> None:
        exchange = Http.begin(
            to_asgi(handler), method="POST", headers={"content-type": TYPE}, body=upload(), rest=True
        )
        await settle()
        await advance(clock, 31)
        await exchange.finish()
        assert exchange.status == 408

    async def handler(request: HttpRequest) -> str:
        with pytest.raises(RequestTimeout):
            await request.get_form()
        raise RequestTimeout

    with fake_clock() as clock:
        run(main(clock))


class Booking(msgspec.Struct):
    """What is made of the pairs of an urlencoded form at once."""

    name: str
    seats: int = 1


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"name=Ada&seats=2", (Booking("Ada", 2), {})),
        (b"name=Ada&seats=2&seats=3&other=%ff", (Booking("Ada", 3), {})),
        (b"name=Ada&seats=2&seats=", (Booking("Ada", 2), {})),
        (b"name=Ada&seats=", (Booking("Ada"), {})),
        (b"name=&other=", (Booking(""), {})),
        (b"seats=x", (None, {"name": "Required", "seats": "Expected `int`, got `str`"})),
    ],
)
def test_a_struct_of_an_urlencoded_form(body: bytes, found: Any) -> None:
    async def work(request: HttpRequest) -> Any:
        form = await request.get_form()
        return form.check(Booking), form.check(Booking), list(form)

    first, second, names = outcome(work, body, QUERY_TYPE)
    assert first == second == found
    assert sorted(names) == sorted({pair.partition("=")[0] for pair in body.decode().split("&")})
