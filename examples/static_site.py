"""A small site of files: a page, a style sheet, a script, a picture, and a film that can be seeked.

What the page needs is served from memory, by names with a hash of the content in them, so a
browser keeps it for a year and never asks again. The page itself has no such name: a
browser asks each time, and is told that nothing changed. The film comes from the disk, in
the pieces that the browser asks for.

    python examples/static_site.py [HOST:PORT]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import asgineer
from asgineer import HTTPError, HttpRequest, Response
from asgineer.utils import make_asset_handler, send_file

FOLDER = Path(__file__).parent / "static_site"

assets = make_asset_handler(FOLDER / "assets")


def render_page() -> str:
    """Return the page, with the names of assets as they are kept by browsers."""
    text = (FOLDER / "page.html").read_text(encoding="utf-8")
    return re.sub(r'(?<="assets/)[^"]+', lambda match: assets.url(match[0]), text)


pages = make_asset_handler({"": render_page()})


@asgineer.to_asgi
async def main(request: HttpRequest) -> Response:
    match request.verb, *request.parts:
        case ("GET",):
            return await pages(request, "")
        case "GET", "assets", *name:
            return await assets(request, name)
        case "GET", "media", *name:
            return await send_file(request, name, root=FOLDER / "media", max_age=3600)
        case _:
            raise HTTPError(404)


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080", access_log=True)
