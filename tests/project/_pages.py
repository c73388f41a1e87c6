"""The pages of the documentation, taken apart into their code blocks. Nothing is run here.

A fenced block has a language and a place. `<!-- not run: reason -->` on the line above the
fence marks one that can't be run; the reason is for the reader of the page's source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(
    r"(?P<mark><!-- not run: [^\n]+ -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_URL = re.compile(r"^https?://[^/]+")


@dataclass(frozen=True)
class Block:
    """One code block of a page; `line` is where its text starts, from 1."""

    page: Path
    line: int
    language: str
    text: str
    run: bool

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Exchange:
    """One curl command of a `console` block, and what the page says it prints."""

    command: str
    output: str


def read_blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0, f"{page}: a fence is not closed"
    return [
        Block(
            page=page,
            line=text.count("\n", 0, match.start("text")) + 1,
            language=match["language"],
            text=match["text"],
            run=match["mark"] is None,
        )
        for match in _FENCE.finditer(text)
    ]


def read_exchanges(block: Block) -> list[Exchange]:
    assert block.text.startswith("$ "), f"{block.place}: a console block starts with a command"
    pieces = ("\n" + block.text).split("\n$ ")[1:]
    return [
        Exchange(command, output.rstrip("\n")) for command, _, output in (p.partition("\n") for p in pieces)
    ]


def strip_origin(url: str) -> str:
    """Return path and query of `url`."""
    return _URL.sub("", url) or "/"
