"""Forms that nobody thought of, read by ours and by others who share no code with it.

What encodes is urllib3; what reads too is werkzeug, python-multipart and urllib.parse. Bodies
that others read leniently may be refused by ours; one that ours takes has one meaning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlencode

import python_multipart
from hypothesis import example, given, settings
from hypothesis import strategies as st
from python_multipart.multipart import parse_options_header
from urllib3.fields import RequestField
from urllib3.filepost import encode_multipart_formdata
from werkzeug.sansio import multipart as werkzeug

from asgineer import BadRequest, to_asgi
from asgineer._multipart import BAD_HEAD, clean_filename, parse_parameters

from .asgi import converse
from .form_corpus import BAD, BOUNDARY, END, GOOD, decode, outcome, part, upload
from .form_requests import QUERY_TYPE
from .turns import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asgineer import HttpRequest

    Item = tuple[str, str | None, bytes]  # name, filename, data

# The same examples each time, and no more than the tests of a module should take; `scripts/fuzz` goes on.
# The fuzzers in scripts/fuzz look longer; here it is what fits in the default tests.
FEW = settings(deadline=None, max_examples=60, derandomize=True, database=None)
MANY = settings(FEW, max_examples=250)

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="%\\"), max_size=10)
items = st.lists(st.tuples(names, st.none() | names, st.binary(max_size=200)), max_size=6)
sizes = st.lists(st.integers(1, 50), min_size=1, max_size=20)

# What bodies are made of, near enough to a form that a wrong step matters.
FRAGMENTS = [
    b"--b-0",
    b"--b-0--",
    b"\r\n--b-0",
    b"\r\n",
    b"\r",
    b"\n",
    b"-",
    b"--",
    b"\r\n\r\n",
    b" ",
    b";",
    b'"',
    b"x",
    b"\0",
    b"\xff",
    b'Content-Disposition: form-data; name="a"',
    b'Content-Disposition: form-data; name="b"; filename="c"\r\n\r\n',
    b"Content-Type: text/plain",
    b"Content-Length: 1",
    part("v"),
    upload("w"),
    END,
]
bodies = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=14).map(b"".join)

# werkzeug takes any line end before a boundary; RFC 2046 section 5.1.1 wants CRLF, and so do the others.
LENIENT_DELIMITER = re.compile(rb"(?<!\r)\n--b-0|\r--b-0")


def cut(body: bytes, steps: Iterable[int]) -> list[bytes]:
    """Cut `body` into pieces of those sizes; what is left is the last piece."""
    found = []
    start = 0
    for step in steps:
        found.append(body[start : start + step])
        start += step
    return [piece for piece in [*found, body[start:]] if piece]


def encode(fields: Iterable[Item]) -> bytes:
    parts = []
    for name, filename, data in fields:
        field = RequestField(name, data, filename)
        field.make_multipart()
        parts.append(field)
    return encode_multipart_formdata(parts, boundary=BOUNDARY)[0]


def read_by_ours(body: bytes, steps: Iterable[int] = ()) -> list[Item] | None:
    found = outcome(cut(body, steps))
    return None if found is None else [(head.name, head.filename, data) for head, data in found]


def read_by_werkzeug(body: bytes) -> list[Item] | None:
    decoder = werkzeug.MultipartDecoder(BOUNDARY.encode())
    decoder.receive_data(body)
    decoder.receive_data(None)
    found: list[Item] = []
    try:
        while not isinstance(event := decoder.next_event(), (werkzeug.Epilogue, werkzeug.NeedData)):
            if isinstance(event, werkzeug.File):
                found.append((event.name, clean_filename(event.filename), b""))
            elif isinstance(event, werkzeug.Field):
                found.append((event.name, None, b""))
            elif isinstance(event, werkzeug.Data):
                name, filename, data = found[-1]
                found[-1] = name, filename, data + event.data
    except ValueError:
        return None
    return found


def read_by_python_multipart(body: bytes) -> list[Item] | None:
    found: list[list[Any]] = []  # headers and data of each part
    ended: list[bool] = []

    def add(place: int) -> Any:
        def callback(data: bytes, start: int, end: int) -> None:
            found[-1][place] += data[start:end]

        return callback

    parser = python_multipart.MultipartParser(
        BOUNDARY,
        {
            "on_part_begin": lambda: found.append([b"", b"", b"", {}]),
            "on_header_field": add(0),
            "on_header_value": add(1),
            "on_header_end": lambda: _keep_header(found[-1]),
            "on_part_data": add(2),
            "on_end": lambda: ended.append(True),
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except python_multipart.exceptions.FormParserError:
        return None
    if not ended:
        return None
    items: list[Item] = []
    for _, _, data, headers in found:
        _, options = parse_options_header(headers.get(b"content-disposition"))
        if b"name" not in options:
            return None
        filename = options.get(b"filename")
        items.append(
            (
                _unescape(options[b"name"]),
                None if filename is None else clean_filename(_unescape(filename)),
                data,
            )
        )
    return items


def _keep_header(part: list[Any]) -> None:
    part[3][part[0].lower()] = part[1]
    part[0] = part[1] = b""


def _unescape(value: bytes) -> str:
    """Undo what browsers do to a name; the others leave that to who asks."""
    return value.decode().replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


@FEW
@given(items, sizes)
@example([("", "", b"")], [1])
@example([('a"b', 'c\r\nd"', b"\r\n--b-0")], [1])
def test_what_is_encoded_is_read(fields: list[Item], steps: list[int]) -> None:
    body = encode(fields)
    if any(BOUNDARY.encode() in data for _, _, data in fields):
        return  # an encoder takes another boundary then
    expected = [
        (name, None if filename is None else clean_filename(filename), data)
        for name, filename, data in fields
    ]
    assert read_by_ours(body, steps) == read_by_ours(body) == expected


@FEW
@given(items)
def test_others_read_the_same(fields: list[Item]) -> None:
    body = encode(fields)
    if any(BOUNDARY.encode() in data for _, _, data in fields):
        return
    ours = read_by_ours(body)
    assert ours is not None
    if fields:  # the one wants at least one part, as RFC 2046 does; browsers send none for an empty form
        assert read_by_python_multipart(body) == ours


@MANY
@given(bodies, sizes)
def test_pieces_make_no_difference(body: bytes, steps: list[int]) -> None:
    whole = read_by_ours(body)
    # Refused in pieces, now and then: the library strips a line feed around a header's name if it sees
    # the whole line, and refuses it otherwise.
    assert read_by_ours(body, steps) in (whole, None)


@MANY
@given(bodies)
def test_what_ours_takes_has_one_meaning(body: bytes) -> None:
    ours = read_by_ours(body)
    if not ours:
        return
    assert read_by_python_multipart(body) in (ours, None)
    if not LENIENT_DELIMITER.search(body):
        assert read_by_werkzeug(body) == ours


@FEW
@given(st.sampled_from([*GOOD.values(), *BAD.values()]), st.integers(0, 10_000), st.binary(max_size=3), sizes)
def test_bodies_with_a_fault(body: bytes, place: int, fault: bytes, steps: list[int]) -> None:
    place %= len(body) + 1
    for broken in (
        body[:place] + fault + body[place:],
        body[:place] + body[place + 1 :],
        body[:place] + fault + body[place + len(fault) :],
    ):
        whole = read_by_ours(broken)
        assert read_by_ours(broken, steps) in (whole, None)


parameter_texts = st.lists(
    st.sampled_from([";", " ", "\t", '"', "\\", "=", "name", "filename", "a", "%22", "*", "ü", "form-data"]),
    max_size=20,
).map("".join)


@MANY
@given(parameter_texts)
def test_parameters(text: str) -> None:
    try:
        word, parameters = parse_parameters(text, BAD_HEAD)
    except BadRequest:
        return
    assert word == text.partition(";")[0].strip(" \t").lower()
    assert all(name and name == name.lower() for name in parameters)


@FEW
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
@example("../\x00")
def test_filenames(filename: str) -> None:
    name = clean_filename(filename)
    assert len(name.encode()) <= 255
    assert not set(name) & set("/\\\0\r\n")
    assert name not in (".", "..")
    assert clean_filename(name) == name


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
pairs = st.lists(st.tuples(texts, texts), max_size=8)
query_texts = st.lists(
    st.sampled_from([b"&", b"=", b"+", b"%", b"%41", b"%zz", b"%c3%bc", b"\xc3", b";", b"a", b"\0", b" "]),
    max_size=30,
).map(b"".join)


def read_urlencoded(body: bytes, steps: Iterable[int] = ()) -> dict[str, list[Any]]:
    found: list[dict[str, list[Any]]] = []

    async def handler(request: HttpRequest) -> str:
        form = await request.get_form()
        found.append({name: form.getlist(name) for name in form})
        return ""

    body_pieces = cut(body, steps) or [b""]
    run(converse(to_asgi(handler), method="POST", headers={"content-type": QUERY_TYPE}, body=body_pieces))
    return found[0]


def grouped(fields: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for name, value in fields:
        result.setdefault(name, []).append(value)
    return result


@FEW
@given(pairs)
def test_what_is_urlencoded_is_read(fields: list[tuple[str, str]]) -> None:
    assert read_urlencoded(urlencode(fields).encode()) == grouped(fields)


def unescape(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "replace")


@FEW
@given(query_texts, sizes)
def test_urlencoded_in_any_pieces(body: bytes, steps: list[int]) -> None:
    expected = [pair.partition(b"=") for pair in body.split(b"&") if pair]
    found = read_urlencoded(body, steps)
    assert sum(len(values) for values in found.values()) == len(expected)
    if body.isascii():  # else a byte beside an escape reads differently as text and as bytes
        assert found == grouped((unescape(name), unescape(value)) for name, _, value in expected)


def test_the_readers_read_at_all() -> None:
    body = part("1") + upload("2", "x") + END
    assert read_by_ours(body) == read_by_werkzeug(body) == read_by_python_multipart(body)
    assert read_by_ours(body) == [("a", None, b"1"), ("f", "x", b"2")]
    assert read_by_werkzeug(b"x") is None
    assert read_by_python_multipart(b"x") is None
    assert decode([body])
