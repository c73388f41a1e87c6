"""iter_form: parts as they come in, read once, in order, saved whole or not at all."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from asgineer import (
    BadRequest,
    BodyTooLarge,
    DisconnectedError,
    HttpRequest,
    Limits,
    Part,
    RequestTimeout,
    UnsupportedMediaType,
    UsageError,
    to_asgi,
)
from asgineer.testing._fakeclock import FakeClock, fake_clock

from .asgi import Http, converse
from .form_corpus import BAD, CHUNKS, END, GOOD, TYPE, decode, part, pieces, upload
from .form_requests import BIG, QUERY_TYPE, answer, nothing_left, outcome
from .turns import advance, run, settle

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["nothing_left"]  # a fixture that each test here goes through


async def read_all(request: HttpRequest) -> list[tuple[str, str | None, str, bytes]]:
    return [(p.name, p.filename, p.content_type, await p.read()) async for p in request.iter_form()]


@pytest.mark.parametrize("name", GOOD)
def test_good_bodies(name: str) -> None:
    expected = [(h.name, h.filename, h.content_type, data) for h, data in decode([GOOD[name]])]
    assert outcome(read_all, list(pieces(GOOD[name], 5))) == expected


@pytest.mark.parametrize("name", BAD)
def test_bad_bodies(name: str) -> None:
    assert isinstance(outcome(read_all, BAD[name]), BadRequest)


@pytest.mark.parametrize("name", ["preamble", "near misses", "field and file"])
@pytest.mark.parametrize("size", CHUNKS)
async def test_every_prefix(name: str, size: int) -> None:
    async def one(body: bytes) -> Any:
        found: list[Any] = []

        async def handler(request: HttpRequest) -> str:
            try:
                found.append(await read_all(request))
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


@pytest.mark.parametrize("size", [1000, 65_535, 65_536, 100_000, 2**22])
def test_iteration_in_chunks(size: int) -> None:
    async def work(request: HttpRequest) -> Any:
        return [[chunk async for chunk in p] async for p in request.iter_form()]

    first, second, third = outcome(work, list(pieces(upload(BIG) + upload("") + part("1") + END, size)))
    assert b"".join(first) == BIG
    assert all(len(chunk) >= 65_536 for chunk in first[:-1])
    assert (second, third) == ([], [b"1"])


async def test_parts_come_before_the_whole() -> None:
    async def handler(request: HttpRequest) -> str:
        async for p in request.iter_form():
            seen.append(p.name)
        return "done"

    seen: list[str] = []
    exchange = Http.begin(
        to_asgi(handler), method="POST", headers={"content-type": TYPE}, body=part("1"), rest=True
    )
    await settle()
    assert seen == ["a"]
    exchange.feed(upload()[:-3])
    await settle()
    assert seen == ["a", "f"]
    exchange.feed(upload()[-3:] + END, more=False)
    await exchange.finish()
    assert exchange.status == 200


def test_an_unread_part_is_skipped() -> None:
    async def work(request: HttpRequest) -> Any:
        found = []
        async for p in request.iter_form():
            if p.name == "b":
                found.append(await p.read())
            elif p.name == "c":
                async for _ in p:
                    break
        return found

    body = upload(BIG, "x", "a") + upload("1", "y", "b") + upload(BIG, "z", "c") + upload("2", "y", "b") + END
    assert outcome(work, list(pieces(body, 50_000))) == [b"1", b"2"]


def test_a_part_is_read_once_and_in_its_turn() -> None:
    async def work(request: HttpRequest) -> None:
        kept = []
        async for p in request.iter_form():
            if p.name == "a":
                assert await p.read() == b"1"
            for again in (p.read(), anext(aiter(p)), p.save("nowhere")) if p.name == "a" else ():
                with pytest.raises(UsageError, match="already read"):
                    await again
            kept.append(p)
        with pytest.raises(UsageError, match="skipped"):
            await kept[1].read()

    assert outcome(work, part("1") + upload() + END) is None


def test_what_a_part_prints() -> None:
    async def work(request: HttpRequest) -> Any:
        return [repr(p) async for p in request.iter_form() if isinstance(p, Part)]

    assert outcome(work, part("secret") + upload("x", "f.txt") + END) == [
        "<Part 'a'>",
        "<Part 'f' file 'f.txt'>",
    ]


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        (QUERY_TYPE, UnsupportedMediaType),
        ("text/plain", UnsupportedMediaType),
        (None, UnsupportedMediaType),
        ("multipart/form-data", BadRequest),
    ],
)
def test_what_it_does_not_read(content_type: str | None, error: type[Exception]) -> None:
    assert type(outcome(read_all, b"a=1", content_type)) is error


def test_the_body_is_there_once() -> None:
    async def work(request: HttpRequest) -> None:
        assert len(await read_all(request)) == 1
        for read in (read_all, HttpRequest.get_form, HttpRequest.get_body):
            with pytest.raises(UsageError, match="already consumed"):
                await read(request)

    assert outcome(work, part("1") + END) is None


def test_after_the_end_comes_nothing() -> None:
    async def work(request: HttpRequest) -> Any:
        parts = request.iter_form()
        first = [p.name async for p in parts]
        return first, [p.name async for p in parts]

    assert outcome(work, part() + END) == (["a"], [])


@pytest.mark.parametrize("read", [True, False])
def test_an_error_stays(read: bool) -> None:
    async def work(request: HttpRequest) -> None:
        parts = request.iter_form()
        p = await anext(parts)
        with pytest.raises(BadRequest, match="Truncated"):
            await (p.read() if read else anext(parts))
        for _ in range(2):
            with pytest.raises(BadRequest, match="Truncated"):
                await anext(parts)

    assert outcome(work, part("1")[:-2]) is None


async def test_an_interrupted_form_cannot_go_on() -> None:
    async def handler(request: HttpRequest) -> str:
        parts = request.iter_form()
        p = await anext(parts)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await p.read()
        with pytest.raises(UsageError, match="interrupted"):
            await anext(parts)
        return "done"

    exchange = Http.begin(
        to_asgi(handler), method="POST", headers={"content-type": TYPE}, body=part("1"), rest=True
    )
    await exchange.finish()
    assert exchange.text == "done"


# Limits


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("build", [part, upload])
def test_limit_of_reading_a_part(more: int, fits: bool, build: Any) -> None:
    async def given(request: HttpRequest) -> Any:
        return [len(await p.read(100)) async for p in request.iter_form()]

    async def by_default(request: HttpRequest) -> Any:
        return [len(await p.read()) async for p in request.iter_form()]

    for work, limits in ((given, Limits()), (by_default, Limits(form_field=100))):
        for size in (7, 1000):
            body = list(pieces(build("x" * (100 + more)) + END, size))
            found = outcome(work, body, limits=limits)
            assert found == [100 + more] if fits else isinstance(found, BodyTooLarge)
    if not fits:
        assert str(found) == f"413 {'Form field' if build is part else 'File'} too large"


def test_reading_without_limit() -> None:
    async def work(request: HttpRequest) -> Any:
        return [len(await p.read(None)) async for p in request.iter_form()]

    assert outcome(work, list(pieces(upload(BIG) + END, 2**16))) == [len(BIG)]
    assert outcome(work, upload("x" * 200) + END, limits=Limits(form_field=100)) == [200]


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("declared", [True, False])
def test_limit_of_the_body(more: int, fits: bool, declared: bool) -> None:
    body = upload("x" * 1000) + END

    async def given(request: HttpRequest) -> Any:
        return len([p async for p in request.iter_form(len(body) - more)])

    async def by_default(request: HttpRequest) -> Any:
        return len([p async for p in request.iter_form()])

    headers = {"content-type": TYPE, **({"content-length": str(len(body))} if declared else {})}
    for work, limits in ((given, Limits()), (by_default, Limits(body=len(body) - more))):
        found = outcome(work, list(pieces(body, 10)), headers=headers, limits=limits)
        assert found == 1 if fits else isinstance(found, BodyTooLarge)


def test_body_of_any_size() -> None:
    async def work(request: HttpRequest) -> Any:
        return [sum([len(chunk) async for chunk in p]) async for p in request.iter_form(limit=None)]

    body = list(pieces(upload(BIG * 5) + END, 2**18))
    assert outcome(work, body) == [len(BIG) * 5]
    assert isinstance(outcome(read_all, body), BodyTooLarge)


@pytest.mark.parametrize("limits", [{"form_fields": 1}, {"form_files": 1}])
def test_limit_of_parts(limits: dict[str, int]) -> None:
    body = (part() if "form_fields" in limits else upload()) * 2 + END
    assert isinstance(outcome(read_all, body, limits=Limits(**limits)), BodyTooLarge)
    assert len(outcome(read_all, body)) == 2


def test_a_limit_cannot_be_swallowed() -> None:
    async def work(request: HttpRequest) -> str:
        async for p in request.iter_form():
            try:
                await p.read(2)
            except BodyTooLarge:
                continue  # the part is skipped then
        return "all is well"

    assert answer(work, part("12") + END).status_code == 200
    exchange = answer(work, part("123") + part("1") + END)
    assert (exchange.status_code, exchange.text) == (413, "Form field too large")


# Saving


@pytest.mark.parametrize("size", [0, 1, 2**18, 2**18 + 1, len(BIG)])
def test_save(size: int, tmp_path: Path) -> None:
    place = tmp_path / "saved"
    place.write_bytes(b"what was there before")
    told: list[int] = []

    async def work(request: HttpRequest) -> None:
        async for p in request.iter_form():
            await p.save(str(place), told.append)

    assert outcome(work, list(pieces(upload(BIG[:size]) + END, 2**16))) is None
    assert place.read_bytes() == BIG[:size]
    assert sorted(os.listdir(tmp_path)) == ["saved", "temporary"]
    assert told == sorted(told)
    assert told[-1:] == ([size] if size else [])
    assert all(later - earlier >= 2**18 for earlier, later in zip(told, told[1:-1], strict=False))


def test_progress_may_be_awaited(tmp_path: Path) -> None:
    async def work(request: HttpRequest) -> None:
        await request.accept()
        async for p in request.iter_form():
            await p.save(tmp_path / "saved", progress(request))

    def progress(request: HttpRequest) -> Any:
        async def tell(size: int) -> None:
            await request.send(f"{size}\n")

        return tell

    exchange = answer(work, list(pieces(upload(BIG[: 2**18 + 5]) + END, 2**16)))
    assert exchange.text.splitlines()[-1] == str(2**18 + 5)


@pytest.mark.parametrize("kind", ["leave", "bad", "large", "progress", "place"])
def test_half_a_file_is_removed(kind: str, tmp_path: Path) -> None:
    """100 times: the client leaves, or something else goes wrong, in the middle of a file."""
    place = tmp_path / "saved"

    async def main() -> None:
        for _ in range(100):
            body = list(pieces(upload(BIG[: 2**19])[:-2], 2**16))
            app = to_asgi(handler, limits=Limits(body=2**19 if kind == "large" else 2**20))
            exchange = Http(app, method="POST", headers={"content-type": TYPE}, body=body, rest=True)
            exchange.feed(b"\r\n--b-0xx" if kind == "bad" else b"x" * 2**17)
            exchange.start()
            if kind == "leave":
                await exchange.handed_over(len(body) + 1)
                exchange.leave()
            await exchange.finish()
            assert os.listdir(tmp_path) == ["temporary"]
        assert found == [expected] * 100

    async def handler(request: HttpRequest) -> str:
        try:
            async for p in request.iter_form():
                await p.save(tmp_path / "nowhere" / "x" if kind == "place" else place, progress)
        except Exception as error:
            found.append(type(error))
            raise DisconnectedError from None
        return "done"

    def progress(size: int) -> None:
        if kind == "progress":
            raise ZeroDivisionError

    expected = {
        "leave": DisconnectedError,
        "bad": BadRequest,
        "large": BodyTooLarge,
        "progress": ZeroDivisionError,
        "place": FileNotFoundError,
    }[kind]
    found: list[type] = []
    run(main(), 30)


@pytest.mark.parametrize("turns", range(0, 60, 3))
@pytest.mark.parametrize("twice", [False, True])
def test_half_a_file_is_removed_when_the_handler_is_cancelled(
    turns: int, twice: bool, tmp_path: Path
) -> None:
    async def handler(request: HttpRequest) -> str:
        async for p in request.iter_form():
            await p.save(tmp_path / "saved")
        return "done"

    async def main() -> None:
        body = list(pieces(upload(BIG), 2**16))
        exchange = Http.begin(
            to_asgi(handler), method="POST", headers={"content-type": TYPE}, body=body, rest=True
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        exchange.task.cancel()
        if twice:
            await asyncio.sleep(0)
            exchange.task.cancel()
        await asyncio.wait([exchange.task])

    run(main())  # to its end: threads may still work on the file
    assert os.listdir(tmp_path) == ["temporary"]


async def test_client_that_leaves_is_told_while_a_part_is_read() -> None:
    async def handler(request: HttpRequest) -> str:
        try:
            await read_all(request)
        except Exception as error:
            found.append(type(error))
            raise
        return "done"

    found: list[type] = []
    exchange = Http.begin(
        to_asgi(handler), method="POST", headers={"content-type": TYPE}, body=upload(), rest=True
    )
    await settle()
    exchange.leave()
    await exchange.finish()
    assert exchange.sent == []
    assert found == [DisconnectedError]


def test_body_that_stops_coming(tmp_path: Path) -> None:
    async def main(clock: FakeClock) -> None:
        exchange = Http.begin(
            to_asgi(handler), method="POST", headers={"content-type": TYPE}, body=upload(), rest=True
        )
        await settle()
        await advance(clock, 31)
        await exchange.finish()
        assert exchange.status == 408
        assert os.listdir(tmp_path) == ["temporary"]

    async def handler(request: HttpRequest) -> str:
        part = await anext(request.iter_form())
        with pytest.raises(RequestTimeout):
            await part.save(tmp_path / "saved")
        raise RequestTimeout

    with fake_clock() as clock:
        run(main(clock))


def test_a_form_that_is_left_early_is_let_go() -> None:
    async def work(request: HttpRequest) -> Any:
        async for p in request.iter_form():
            return p.name

    assert outcome(work, part() + upload(), rest=True) == "a"  # `run` finds no task that is left
