"""What a developer sees of an error where debug is on: a page for a browser, text for others.

Loaded with the first error in debug mode, never before. The page is one self-contained
document: no script, nothing from outside, and a policy that allows neither. What a client or
the application chose is escaped and capped, so the page has a largest size; what looks like a
secret (`SECRET`) is masked; local variables are not shown at all, as nothing tells which of
them are secrets. An object whose own `__str__` fails costs its text, not the page. Nothing is
sent or logged from here.
"""

from __future__ import annotations

import base64
import hashlib
import html
import linecache
import os
import platform
import re
import sysconfig
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from ._log import escape, format_traceback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._request import BaseRequest

MAX_EXCEPTIONS = 8  # of a chain, or of the groups in it
MAX_FRAMES = 60  # on a page; of each exception the first few and the last
FIRST_FRAMES = 5
MAX_FIELDS = 100  # headers, or fields of the query
MAX_VALUE = 400  # characters of one
MAX_MESSAGE = 4000  # characters of the text of an exception
MAX_LINE = 200  # characters of a source line
MAX_TEXT = 16_384  # characters of a traceback
AROUND = 4  # source lines before and after the one

MASK = "••••••"
# Names of headers and query fields; by part, since everybody names them otherwise.
SECRET = re.compile(
    r"auth|cookie|passw|passphrase|pwd|secret|token|key|session|credential|signature|csrf|xsrf|jwt|^sig$|^sid$",
    re.IGNORECASE,
)

PACKAGE = os.path.dirname(__file__)
STDLIB = sysconfig.get_path("stdlib")
_INSTALLED = re.compile(r"[\\/](?:site|dist)-packages[\\/]")
_RANGE = re.compile(r"[ \t]*([^ \t;]+)[ \t]*(?:;.*?\bq=([0-9.]{1,5}))?", re.IGNORECASE)

STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1c1e21; --soft: #667; --line: #dde; --panel: #f6f7f9;
  --hit: #fdecea; --mark: #f5b5ae; --red: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --back: #16181c; --text: #e3e5e8; --soft: #99a; --line: #333842;
  --panel: #1f2228; --hit: #3d2322; --mark: #7d322c; --red: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2rem; }
h1 { margin: 0; font-size: 1.6rem; color: var(--red); overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .6rem; font-size: 1.1rem; overflow-wrap: anywhere; }
.message { margin: .3rem 0 0; font-size: 1.15rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
code, pre, td { font: 13px/1.55 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; }
details { margin: .4rem 0; border: 1px solid var(--line); border-radius: 6px; overflow: hidden; }
summary { padding: .4rem .8rem; cursor: pointer; font-size: 13px; background: var(--panel);
  overflow-wrap: anywhere; }
.library > summary { color: var(--soft); }
pre { margin: 0; padding: .5rem 0; overflow-x: auto; }
pre.whole { padding: .6rem .8rem; }
pre span { display: block; padding: 0 .8rem; width: max-content; min-width: 100%; }
pre i { display: inline-block; width: 3.2em; margin-right: 1.2em; text-align: right; font-style: normal;
  color: var(--soft); user-select: none; }
pre .hit { background: var(--hit); }
mark { background: var(--mark); color: inherit; border-radius: 2px; }
table { border-collapse: collapse; width: 100%; }
td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
td:first-child { width: 14rem; color: var(--soft); }
footer { margin: 2rem auto; font-size: .85rem; color: var(--soft); }
"""

_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    f"frame-ancestors 'none'; style-src 'sha256-{_HASH}'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def explain(request: BaseRequest, error: BaseException, story: str, place: str) -> Any:
    """Return what the client of `request` sees of `error`: a response for a browser, else a text.

    Args:
        story: the line that the log has.
        place: file and line where it was raised, or of the handler whose result is flawed.
    """
    try:
        if request.scope["type"] == "http" and prefers_html(request.headers.get("accept", "")):
            return 500, dict(HEADERS), make_page(request, error, story, place)
    except Exception as failure:  # of an object that takes itself for an exception, say; the story is told
        story += f"\n\n(The debug page could not be made: {type(failure).__name__})"
    return make_text(error, story)


def prefers_html(accept: str) -> bool:
    """Say whether an Accept header is a browser's that shows a page: one that names HTML and nothing better.

    `*/*`, which curl and `fetch` send, names nothing.
    """
    weights: dict[str, float] = {}
    for item in accept.split(","):
        match = _RANGE.match(item)
        if match is not None:
            weights.setdefault(match[1].lower(), _weight(match[2]))
    page = weights.get("text/html", 0)
    return page > 0 and page >= max(weights.get("application/json", 0), weights.get("text/plain", 0))


def _weight(text: str | None) -> float:
    try:
        return float(text or 1)
    except ValueError:  # "1.1.1"
        return 0


def make_text(error: BaseException, story: str) -> str:
    """Return the story and the traceback, printable and capped."""
    return f"{story}\n\n{_printable(format_traceback(error), MAX_TEXT)}"


def _printable(text: str, limit: int) -> str:
    """Return `text` with its lines, what is between them escaped; over the limit the middle is left out."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}\n…\n{text[-limit // 2 :]}"
    return "\n".join([escape(line.expandtabs(4), limit) for line in text.split("\n")]).rstrip("\n")


# The page


def make_page(request: BaseRequest, error: BaseException, story: str, place: str) -> str:
    """Return the page as HTML."""
    told = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    kind, message = _split(told)
    title = _text(f"{kind}: {message}", 100)
    parts = [
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>",
        '<meta name=viewport content="width=device-width"><meta name=robots content=noindex>',
        f"<style>{STYLE}</style></head><body><header>",
        f"<h1>{_text(kind)}</h1><p class=message>{_lines(message)}</p>",
        f"<p class=soft><code>{_text(request.method)} {_text(request.path)}</code> · {_text(place)}</p>",
        "</header><main>",
        *_show_exceptions(told, request._settings.handler),
        *_show_request(request),
        f"<h2>As text</h2><details><summary>For a search or a report</summary>"
        f"<pre class=whole>{_escape(make_text(error, story))}</pre></details>",
        "</main><footer>This page is shown because debug is on; the public sees “Internal server error”. "
        f"Python {platform.python_version()}</footer></body></html>",
    ]
    return "".join(parts)


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _text(text: Any, limit: int = MAX_VALUE) -> str:
    return _escape(escape(str(text), limit))


def _lines(text: str) -> str:
    return _escape(_printable(text, MAX_MESSAGE))


def _split(told: traceback.TracebackException) -> tuple[str, str]:
    """Return the name of the exception, and its text and notes, as Python prints them below a traceback."""
    lines = "".join(told.format_exception_only()).rstrip("\n").split("\n")
    # A SyntaxError shows the place first, indented.
    start = next((number for number, line in enumerate(lines) if not line.startswith(" ")), 0)
    name, _, first = lines[start].partition(": ")
    return name, "\n".join([*lines[:start], first, *lines[start + 1 :]])


def _show_exceptions(told: traceback.TracebackException, handler: Any) -> Iterator[str]:
    """Show the exception, then what it came from; within a budget of frames for all."""
    frames = MAX_FRAMES
    for number, (relation, one) in enumerate(_unfold(told)):
        if number == MAX_EXCEPTIONS or frames <= 0:
            yield "<p class=soft>Further exceptions are left out.</p>"
            return
        if relation:
            kind, message = _split(one)
            yield f"<h2>{relation} {_text(kind)}</h2><p class=message>{_lines(message)}</p>"
        else:
            if all(_is_library(frame.filename) for frame in one.stack):
                yield from _show_handler(handler)
            yield "<h2>Traceback, the newest call last</h2>"
        shown = list(_cut(one.stack, frames))
        frames -= len(shown)
        yield from _show_frames(shown)


def _show_handler(handler: Any) -> Iterator[str]:
    """Show where the handler begins, for a flawed result: then no call of the application's failed."""
    code = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    if code is not None:
        yield "<h2>The handler</h2>"
        yield from _show_frames([traceback.FrameSummary(code.co_filename, code.co_firstlineno, code.co_name)])


def _unfold(
    told: traceback.TracebackException, relation: str = ""
) -> Iterator[tuple[str, traceback.TracebackException]]:
    """Yield the exception, and with their relation to it those behind it and in it."""
    yield relation, told
    for inner in told.exceptions or ():
        yield from _unfold(inner, "In the group:")
    if told.__cause__ is not None:
        yield from _unfold(told.__cause__, "Caused by")
    elif told.__context__ is not None:  # a suppressed one was left out with `compact`
        yield from _unfold(told.__context__, "Raised while handling")


def _cut(frames: list[traceback.FrameSummary], limit: int) -> Iterable[traceback.FrameSummary | None]:
    """Return `frames`, or the first and the last of them around a None."""
    if len(frames) <= limit:
        return frames
    first = min(FIRST_FRAMES, limit // 2)
    return [*frames[:first], None, *frames[first - limit :]]


def _show_frames(frames: list[traceback.FrameSummary | None]) -> Iterator[str]:
    own = any(frame is not None and not _is_library(frame.filename) for frame in frames)
    for number, frame in enumerate(frames, 1):
        if frame is None:
            yield "<p class=soft>… calls between are left out …</p>"
            continue
        library = _is_library(frame.filename)
        # What is the application's is open; where nothing is, the place where it was raised.
        is_open = " open" if not library or (not own and number == len(frames)) else ""
        yield f"<details class={'library' if library else 'own'}{is_open}>"
        yield f"<summary><code>{_text(_short(frame.filename))}:{frame.lineno}</code>"
        yield f" <span class=soft>in</span> <code>{_text(frame.name)}</code></summary>"
        yield from _show_source(frame)
        yield "</details>"


def _is_library(filename: str) -> bool:
    return (
        filename.startswith((PACKAGE + os.sep, STDLIB + os.sep, "<frozen"))
        or _INSTALLED.search(filename) is not None
    )


def _short(filename: str) -> str:
    """Return `filename` as somebody who knows the project would name it."""
    installed = _INSTALLED.search(filename)
    if installed is not None:
        return filename[installed.end() :]
    for base in (os.path.dirname(PACKAGE), STDLIB, os.getcwd()):
        if filename.startswith(base + os.sep):
            return filename[len(base) + 1 :]
    return filename


def _show_source(frame: traceback.FrameSummary) -> Iterator[str]:
    lineno = frame.lineno or 0
    lines = linecache.getlines(frame.filename)
    if not 0 < lineno <= len(lines):
        yield "<pre class=whole>The source is not to be had.</pre>"
        return
    yield "<pre>"
    for number in range(max(1, lineno - AROUND), min(len(lines), lineno + AROUND) + 1):
        line = lines[number - 1].rstrip("\n")
        if number == lineno:
            yield f"<span class=hit><i>{number}</i>{_mark(line, frame)}</span>"
        else:
            yield f"<span><i>{number}</i>{_source(line) or ' '}</span>"
    yield "</pre>"


def _source(text: str, limit: int = MAX_LINE) -> str:
    return _escape(escape(text.expandtabs(4), limit))


def _mark(line: str, frame: traceback.FrameSummary) -> str:
    """Return the source line with the part marked that was being evaluated, unless that is all of it."""
    if frame.colno is None or frame.end_colno is None:
        return _source(line)
    data = line.encode()  # Python counts columns in bytes
    end = len(data) if frame.end_lineno != frame.lineno else frame.end_colno
    before, marked, after = (
        part.decode(errors="replace") for part in (data[: frame.colno], data[frame.colno : end], data[end:])
    )
    if not before.strip() and not after.strip():
        return _source(line)
    return f"{_source(before)}<mark>{_source(marked)}</mark>{_source(after)}"


# The request


def _show_request(request: BaseRequest) -> Iterator[str]:
    yield "<h2>Request</h2>"
    mounted = [("root path", request.root_path)] if request.root_path else []
    yield from _show_table(
        [
            ("method", request.method),
            *mounted,
            ("path", request.path),
            ("HTTP version", request.http_version),
            ("client", request.client[0]),
            ("id", request.id),
        ]
    )
    query = request.scope.get("query_string", b"").decode("utf-8", "replace")
    if query:
        yield "<h2>Query</h2>"
        fields = query.split("&", MAX_FIELDS + 1)[: MAX_FIELDS + 1]
        yield from _show_table(_masked(parse_qsl("&".join(fields), keep_blank_values=True)))
    yield "<h2>Headers</h2>"
    yield from _show_table(_masked([_without_query(name, value) for name, value in request.headers.items()]))


def _masked(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, MASK if SECRET.search(name) else value) for name, value in pairs]


def _without_query(name: str, value: str) -> tuple[str, str]:
    """Return a header; a query in a URL in it is masked, as there is no telling its fields' names apart."""
    url, separator, _ = value.partition("?")
    return (name, f"{url}?{MASK}") if separator and "://" in url else (name, value)


def _show_table(pairs: list[tuple[str, str]]) -> Iterator[str]:
    yield "<table>"
    for name, value in pairs[:MAX_FIELDS]:
        yield f"<tr><td>{_text(name, 100)}</td><td>{_text(value)}</td></tr>"
    yield "</table>"
    if len(pairs) > MAX_FIELDS:
        yield "<p class=soft>Further ones are left out.</p>"
