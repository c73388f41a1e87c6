"""What every application of `compare.py` answers with, and what it is asked. The standard library only.

Each of them runs in its own environment, so nothing here may import a package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXT = "Hello, world"
SMALL: dict[str, Any] = {"message": TEXT, "numbers": [1, 2, 3], "ok": True}
ITEM: dict[str, Any] = {
    "id": 1234,
    "name": "A thing to sell",
    "price": 12.5,
    "tags": ["red", "round"],
    "in_stock": True,
}
LARGE: dict[str, Any] = {"items": [{**ITEM, "id": 1000 + number} for number in range(115)]}  # 10 KB of JSON
PAGE = (
    "<!doctype html>\n<title>A page</title>\n" + "<p>The quick brown fox jumps over the lazy dog.</p>\n" * 200
)
CHUNK = "The quick brown fox jumps over the lazy dog. " * 23  # 1 KB
CHUNKS = 10  # of a streamed response
STYLE = "".join(f".item-{number} {{ color: #123456; margin: {number}px }}\n" for number in range(400))
STYLE_NAME = "style.css"
SECRET = "-a-secret-that-is-only-for-this-comparison-"
FILE_SIZE = 1_048_576

FILES = Path(__file__).parent.parent / ".environments" / "files"  # where `compare.py` puts STYLE
