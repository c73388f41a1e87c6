"""The multipart decoder: bodies good and bad, in pieces of any size, and its limits. Pure."""

from __future__ import annotations

import os

import pytest

from asgineer import BadRequest, BodyTooLarge, Limits
from asgineer._multipart import (
    MAX_FILENAME,
    MAX_PART_HEADER_BYTES,
    MAX_PART_HEADERS,
    MultipartDecoder,
    PartHead,
    clean_filename,
    parse_boundary,
    parse_parameters,
    read_head,
)

from .form_corpus import BAD, CHUNKS, END, GOOD, decode, outcome, part, pieces, refuse, upload


def heads(body: bytes) -> list[tuple[str, str | None, str]]:
    return [(head.name, head.filename, head.content_type) for head, _ in decode([body])]


def values(body: bytes) -> list[bytes]:
    return [data for _, data in decode([body])]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("size", CHUNKS)
def test_good_bodies_in_pieces(name: str, size: int) -> None:
    assert decode(pieces(GOOD[name], size)) == decode([GOOD[name]])


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("size", CHUNKS)
def test_every_prefix_is_the_whole_or_an_error(name: str, size: int) -> None:
    whole = decode([GOOD[name]])
    for length in range(len(GOOD[name]) + 1):
        assert outcome(pieces(GOOD[name][:length], size)) in (whole, None), length


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("size", CHUNKS)
def test_bad_bodies(name: str, size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(pieces(BAD[name], size))
    assert caught.value.status == 400
    assert len(caught.value.body) < 60


@pytest.mark.parametrize("name", [name for name in BAD if len(BAD[name]) < 500])
@pytest.mark.parametrize("size", CHUNKS)
def test_every_prefix_of_a_bad_body_is_bad(name: str, size: int) -> None:
    for length in range(len(BAD[name]) + 1):
        assert outcome(pieces(BAD[name][:length], size)) is None, length


def test_data_of_the_parts() -> None:
    assert values(GOOD["empty"]) == []
    assert values(GOOD["field and file"]) == [b"1", b"data"]
    assert values(GOOD["empty field"]) == [b""]
    assert values(GOOD["preamble"]) == values(GOOD["epilogue"]) == [b"v"]
    assert values(GOOD["near misses"]) == [b"\r\n--b-\r\n--b-\r--b-0\r\n-\r\n\r\n--c"]
    assert values(GOOD["line ends"]) == [b"\r\n\r\r\n\n\r", b"\r\n"]
    assert values(GOOD["binary"]) == [bytes(range(256))]


def test_nothing_is_decoded_that_says_it_is_encoded() -> None:
    body = part("dmFsdWU=", 'form-data; name="a"', "Content-Transfer-Encoding: base64") + END
    assert values(body) == [b"dmFsdWU="]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one field", [("a", None, "text/plain")]),
        ("field and file", [("a", None, "text/plain"), ("f", "f.txt", "text/plain")]),
        ("no type", [("f", "x", "application/octet-stream")]),
        ("escapes", [('a"b\r\nc%', None, "text/plain"), ("f", "c.txt", "text/plain")]),
        ("no quotes", [("abc", "def", "application/octet-stream")]),
        ("ends with a backslash", [("f", "", "application/octet-stream")]),
        ("semicolon at the end", [("a", None, "text/plain")]),
        ("other ways to write", [("a", "b", "application/octet-stream")]),
        ("starred", [("a", None, "text/plain")]),
        ("not ASCII", [("ü", "ü😀.txt", "application/octet-stream")]),
        ("empty name", [("", None, "text/plain")]),
        ("file left empty", [("f", "", "text/plain")]),
    ],
)
def test_heads(name: str, expected: list[tuple[str, str | None, str]]) -> None:
    assert heads(GOOD[name]) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("Image/PNG", "image/png"),
        ("text/plain; charset=zlib_codec", "text/plain"),
        ("text/html;x=y", "text/html"),
        ("multipart/related; boundary=x", "multipart/related"),  # a saved web page; only fields can't nest
        ("", "application/octet-stream"),
        ("nonsense", "application/octet-stream"),
        ("a/b\x7f", "application/octet-stream"),
        ("text/<script>", "application/octet-stream"),
        ("a/ü", "application/octet-stream"),
    ],
)
def test_content_type_of_a_file(sent: str, expected: str) -> None:
    disposition = 'form-data; name="f"; filename="f"'
    assert heads(part("x", disposition, f"Content-Type: {sent}") + END) == [("f", "f", expected)]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        (r"C:\Users\x\a.png", "a.png"),
        (r"\\host\share\a.png", "a.png"),
        (r"a/b\c/d.txt", "d.txt"),
        ("a\x00.png", "a.png"),
        ("a\r\nb\x1b[31m\x85.txt", "ab[31m.txt"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("a\u2028b", "ab"),
        ("", ""),
        (".", ""),
        ("..", ""),
        ("a/..", ""),
        ("dir/", ""),
        ("  a.txt ", "a.txt"),
        (".htaccess", ".htaccess"),
        ("CON", "CON"),
        ("ü😀.txt", "ü😀.txt"),
        ("x" * 255, "x" * 255),
        ("x" * 256, "x" * 255),
        ("x" * 5000 + ".tar.gz", "x" * 252 + ".gz"),
        ("ü" * 200 + ".jpeg", "ü" * 125 + ".jpeg"),
        ("x." + "y" * 5000, ("x." + "y" * 5000)[:255]),
        ("x" * 254 + " y", "x" * 254),
        ("." + "y" * 300, "." + "y" * 254),
    ],
)
def test_filenames(sent: str, expected: str) -> None:
    assert clean_filename(sent) == expected
    assert len(expected.encode()) <= MAX_FILENAME


def test_filename_of_a_part_is_clean() -> None:
    assert heads(upload("x", "../a\0b.txt") + END) == [("f", "ab.txt", "text/plain")]


@pytest.mark.parametrize("value", ["form-data", 'form-data; x="; name=a"', "name=a", "", "; name=a"])
def test_head_that_names_no_field(value: str) -> None:
    with pytest.raises(BadRequest):
        read_head([("Content-Disposition", value)])


# Limits


@pytest.mark.parametrize(("count", "fits"), [(2, True), (3, True), (4, False)])
@pytest.mark.parametrize("kind", [part, upload])
def test_number_of_parts(count: int, fits: bool, kind: object) -> None:
    body = (part() if kind is part else upload()) * count + END
    limits = Limits(form_fields=3 if kind is part else 0, form_files=3 if kind is upload else 0)
    if fits:
        assert len(decode([body], limits)) == count
    else:
        with pytest.raises(BodyTooLarge, match="Too many form fields" if kind is part else "Too many files"):
            decode([body], limits)


def test_number_of_parts_by_default_and_without_limit() -> None:
    decode([part() * 1000 + upload() * 100 + END])
    for body in (part() * 1001, upload() * 101):
        with pytest.raises(BodyTooLarge):
            decode([body])
    decode([part() * 1001 + upload() * 101 + END], Limits(form_fields=None, form_files=None))


def test_too_many_parts_are_refused_while_they_come() -> None:
    decoder = MultipartDecoder(b"b-0", Limits(form_fields=3), refuse)
    with pytest.raises(BodyTooLarge):
        list(decoder.feed(part() * 4))  # and no end yet


@pytest.mark.parametrize(("count", "fits"), [(-1, True), (0, True), (1, False)])
def test_number_of_headers(count: int, fits: bool) -> None:
    more = [f"X-{number}: y" for number in range(MAX_PART_HEADERS + count - 1)]
    assert (outcome([part("v", 'form-data; name="a"', *more) + END]) is not None) == fits


@pytest.mark.parametrize(("count", "fits"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("lines", [1, 4])
@pytest.mark.parametrize("size", [1, 10_000])
def test_size_of_headers(count: int, fits: bool, lines: int, size: int) -> None:
    disposition = 'Content-Disposition: form-data; name="a"'
    room = MAX_PART_HEADER_BYTES + count - len(disposition) - 2
    headers = ["X-0: " + "z" * (room - 7 - 16 * (lines - 1))]
    headers += [f"X-{number}: " + "z" * 9 for number in range(1, lines)]
    assert sum(len(line) + 2 for line in [disposition, *headers]) == MAX_PART_HEADER_BYTES + count
    body = part("v", disposition.partition(": ")[2], *headers) + END
    assert (outcome(pieces(body, size)) is not None) == fits


def test_little_is_kept_between_pieces() -> None:
    decoder = MultipartDecoder(b"b-0", Limits(), refuse)
    for _ in range(100):
        assert list(decoder.feed(b"\r\n" * 5000)) == []
    assert len(decoder._preamble or b"") < 10
    assert [type(event) for event in decoder.feed(b"\r\n" + part("v") + END)] == [
        PartHead,
        bytes,
        type(None),
    ]
    for _ in range(100):
        assert list(decoder.feed(os.urandom(10_000))) == []
    decoder.finish()


# Boundaries and parameters


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;BOUNDARY="a b"', b"a b"),
        ("multipart/form-data; charset=utf-8; boundary=----=_Part_1/2'()+?:,.x", b"----=_Part_1/2'()+?:,.x"),
        ("multipart/form-data; boundary=" + "x" * 70, b"x" * 70),
        ("multipart/form-data; boundary=x", b"x"),
        ("multipart/form-data; boundary=abc ", b"abc"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary", None),
        ("multipart/form-data; boundary=", None),
        ('multipart/form-data; boundary=""', None),
        ("multipart/form-data; boundary=" + "x" * 71, None),
        ('multipart/form-data; boundary="abc "', None),
        ('multipart/form-data; boundary="a\r\nb"', None),
        ('multipart/form-data; boundary="a%0D%0Ab"', None),
        ("multipart/form-data; boundary=a*b", None),
        ("multipart/form-data; boundary=ü", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary=a b", None),
        ('multipart/form-data; boundary="a', None),
    ],
)
def test_boundary(value: str, expected: bytes | None) -> None:
    if expected is None:
        with pytest.raises(BadRequest, match="boundary"):
            parse_boundary(parse_parameters(value, "Bad multipart boundary")[1])
    else:
        assert parse_boundary(parse_parameters(value, "")[1]) == expected


def test_longest_boundary_in_pieces() -> None:
    boundary = b"x" * 70
    body = (part("v") + part("w") + END).replace(b"b-0", boundary)
    for size in CHUNKS:
        assert [data for _, data in decode(pieces(body, size), boundary=boundary)] == [b"v", b"w"]
