"""Bodies of forms that are worth keeping, and the reading of them in pieces, for tests and for fuzzing.

What a fuzzer finds gets a name here; then every test run tries it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from asgineer import BadRequest, BodyTooLarge, Limits
from asgineer._multipart import MultipartDecoder, PartHead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BOUNDARY = "b-0"
CHUNKS = (1, 2, 7, 4096)
TYPE = f"multipart/form-data; boundary={BOUNDARY}"

Parts = list[tuple[PartHead, bytes]]


def part(data: bytes | str = b"", disposition: str = 'form-data; name="a"', *headers: str) -> bytes:
    """Return one part with the boundary before it."""
    if isinstance(data, str):
        data = data.encode()
    head = "".join(f"{line}\r\n" for line in (f"Content-Disposition: {disposition}", *headers))
    return b"--%s\r\n%s\r\n%s\r\n" % (BOUNDARY.encode(), head.encode(), data)


def upload(data: bytes | str = b"x", filename: str = "f.txt", name: str = "f") -> bytes:
    return part(data, f'form-data; name="{name}"; filename="{filename}"', "Content-Type: text/plain")


END = b"--%s--\r\n" % BOUNDARY.encode()

GOOD = {
    "empty": END,
    "one field": part("value") + END,
    "empty field": part() + END,
    "field and file": part("1") + upload("data") + END,
    "no type": part("data", 'form-data; name="f"; filename="x"') + END,
    "no final line end": part("v") + END[:-2],
    "preamble": b"This is a preamble\r\nof two lines.\r\n" + part("v") + END,
    "preamble that almost begins": b"--b-\r\n-\r\n--b\r\n" + part("v") + END,
    "preamble of line ends": b"\r\n" * 20 + part("v") + END,
    "epilogue": part("v") + END + b"This is an epilogue\r\n--b-0\r\nX: y",
    "epilogue alone": END + b"\r\n\r\n--b-0--\r\n",
    "near misses": part(b"\r\n--b-\r\n--b-\r--b-0\r\n-\r\n\r\n--c") + END,
    "line ends": part(b"\r\n\r\r\n\n\r") + part(b"\r\n") + END,
    "delimiter inside of a line": part(b"x--b-0--y") + END,
    "length": part("12345", 'form-data; name="a"', "Content-Length: 5") + END,
    "escapes": part("v", 'form-data; name="a%22b%0D%0Ac%"') + upload("w", r"a\"b\\c.txt") + END,
    "no quotes": part("v", "form-data; name=abc; filename=def") + END,
    "ends with a backslash": part("v", 'form-data; name="f"; filename="a\\"') + END,
    "semicolon at the end": part("v", 'form-data; name="a";') + END,
    "other ways to write": part("v", 'Form-Data ;NAME = "a" ; x=y; FileName="b"') + END,
    "starred": part("v", "form-data; name=\"a\"; filename*=utf-8''evil; name*=utf-8''b") + END,
    "not ASCII": part("æ€😀", 'form-data; name="ü"; filename="ü😀.txt"') + END,
    "binary": part(bytes(range(256)), 'form-data; name="f"; filename="b"') + END,
    "empty name": part("v", 'form-data; name=""') + END,
    "file left empty": upload(b"", "") + END,
}

BAD = {
    "nothing": b"",
    "no boundary": b"a=1&b=2",
    "only an epilogue": b"\r\nThis is an epilogue\r\n",
    "another boundary": (part("v") + END).replace(b"b-0", b"b-1"),
    "boundary in a line": b"x" + part("v") + END,
    "longer boundary": b"--b-0x\r\n" + part("v") + END,
    "no end": part("v"),
    "half an end": part("v") + END[:-3],
    "no line end after a boundary": b"--b-0\n" + part("v")[7:] + END,
    "bytes behind a boundary": part("v") + b"--b-0 x" + END,
    "no disposition": b"--b-0\r\nX-Y: z\r\n\r\nv\r\n" + END,
    "no header at all": b"--b-0\r\n\r\nv\r\n" + END,
    "other disposition": part("v", 'attachment; name="a"') + END,
    "no name": part("v", "form-data") + END,
    "file without a name of its field": part("v", 'form-data; filename="a"') + END,
    "name twice": part("v", 'form-data; name="a"; name="b"') + END,
    "name twice in other cases": part("v", 'form-data; name="a"; NAME="b"') + END,
    "filename twice": part("v", 'form-data; name="a"; filename="a"; filename="b"') + END,
    "disposition twice": part("v", 'form-data; name="a"', 'content-disposition: form-data; name="b"') + END,
    "type twice": part("v", 'form-data; name="a"', "Content-Type: a/b", "content-type: c/d") + END,
    "quote that isn't closed": part("v", 'form-data; name="a') + END,
    "quote inside of a text": part("v", 'form-data; name="a"b"') + END,
    "no equal sign": part("v", "form-data; name") + END,
    "header without a colon": part("v", 'form-data; name="a"', "X-Header") + END,
    "bad header name": part("v", 'form-data; name="a"', "X Y: z") + END,
    "header name of control characters": part("v", 'form-data; name="a"', "X\0: z") + END,
    "CR in a header": part("v", 'form-data; name="a\rb"') + END,
    "LF in a header": part("v", 'form-data; name="a\nb"') + END,
    "LF as line end": part("v").replace(b"\r\n", b"\n") + END,
    "folded header": part("v", 'form-data;\r\n name="a"') + END,
    "header that isn't UTF-8": part("v").replace(b'"a"', b'"\xff"') + END,
    "length that is too short": part("12345", 'form-data; name="a"', "Content-Length: 4") + END,
    "length that is too long": part("12345", 'form-data; name="a"', "Content-Length: 6") + END,
    "length that is no number": part("12345", 'form-data; name="a"', "Content-Length: +5") + END,
    "length of many digits": part("v", 'form-data; name="a"', "Content-Length: " + "9" * 5000) + END,
    "any header twice": part("v", 'form-data; name="a"', "X: y", "x: z") + END,
    "17 headers": part("v", 'form-data; name="a"', *[f"X-{n}: y" for n in range(16)]) + END,
    "long header": part("v", 'form-data; name="a"', "X-Y: " + "z" * 9000) + END,
    "long headers": part("v", 'form-data; name="a"', *[f"X-{n}: " + "z" * 3000 for n in range(3)]) + END,
    "endless header": b"--b-0\r\nX-Y: " + b"z" * 20_000,
    "nested": part("v", 'form-data; name="a"', "Content-Type: multipart/mixed; boundary=c") + END,
}

URLENCODED = {
    "nothing": b"",
    "pairs": b"a=1&b=2&a=3",
    "no value": b"a&b=&=c&=",
    "separators": b"&&a=1&&&b=2;c=3&",
    "escapes": b"a%20b=c+d%2B&%c3%bc=%E2%82%AC",
    "bad escapes": b"%=%g0&a=%&b=%4&c=%zz%41",
    "not UTF-8": b"a=%ff&b=%c3&\xff=\xc3\xbc",
    "zero": b"a=%00&\0=b",
    "more equal signs": b"a=b=c&==&a==",
}


def refuse(text: str) -> NoReturn:
    raise BodyTooLarge(text)


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def decode(chunks: Iterable[bytes], limits: Limits | None = None, boundary: bytes = b"b-0") -> Parts:
    """Return the parts of a body; BadRequest or BodyTooLarge as the decoder raises them."""
    decoder = MultipartDecoder(boundary, limits or Limits(), refuse)
    parts: Parts = []
    open_part = False
    for chunk in chunks:
        for event in decoder.feed(chunk):
            if isinstance(event, PartHead):
                assert not open_part
                parts.append((event, b""))
                open_part = True
            elif event is None:
                assert open_part
                open_part = False
            else:
                assert open_part
                assert event
                parts[-1] = parts[-1][0], parts[-1][1] + event
    decoder.finish()
    assert not open_part
    return parts


def outcome(chunks: Iterable[bytes]) -> Parts | None:
    """Return the parts of a body, None where it is refused."""
    try:
        return decode(chunks)
    except (BadRequest, BodyTooLarge):
        return None
