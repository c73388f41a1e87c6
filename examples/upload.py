"""Upload a file of any size, with a progress bar in the page; nothing of it is kept in memory.

    python examples/upload.py [host:port]

The parts of the form are read as they come in. Here each file is only measured and hashed; `part.save(path)`
would write it to a disk, in a thread.
"""

from __future__ import annotations

import hashlib
import sys

import asgineer
from asgineer import HTTPError, HttpRequest, MethodNotAllowed, Response
from asgineer.security import check_origin

MAX_UPLOAD = 2 * 1024**3  # bytes
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Upload</title>
<link rel="icon" href="data:,">
<style>
  body { font-family: system-ui, sans-serif; margin: 3em auto; max-width: 34em; padding: 0 1em; color: #223 }
  progress { width: 100%; height: 1.2em } li { margin-bottom: .6em; overflow-wrap: anywhere }
</style>
<h1>Upload</h1>
<form><input type="file" name="files" multiple required> <button>Send</button></form>
<p><progress value="0" max="1"></progress> <output>nothing sent yet</output></p>
<ul></ul>
<script>
  const form = document.querySelector("form"), bar = document.querySelector("progress");
  const said = document.querySelector("output"), list = document.querySelector("ul");
  form.onsubmit = (event) => {
    event.preventDefault();
    const request = new XMLHttpRequest();  // fetch can't tell how far an upload is
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => {
      bar.value = loaded / total;
      said.textContent = `${Math.round(100 * loaded / total)} %`;
    };
    request.onerror = () => { said.textContent = "the connection was lost"; };
    request.onload = () => {
      said.textContent = request.status === 200 ? "done" : `refused: ${request.status}`;
      for (const file of request.response?.files ?? []) {
        const item = document.createElement("li");
        item.textContent = `${file.name}: ${file.size} bytes, SHA-256 ${file.sha256}`;
        list.append(item);
      }
    };
    request.open("POST", "/files");
    request.send(new FormData(form));
  };
</script>
</html>
"""


@asgineer.to_asgi
async def main(request: HttpRequest) -> Response:
    check_origin(request)  # no page of another site uploads in a visitor's name
    match request.verb, *request.parts:
        case ("GET",):
            return PAGE
        case "POST", "files":
            return {"files": await measure_files(request)}
        case _, "files":
            raise MethodNotAllowed("POST")
        case _:
            raise HTTPError(404)


async def measure_files(request: HttpRequest) -> list[dict[str, str | int]]:
    """Return name, size and hash of each file, reading each piece once."""
    found: list[dict[str, str | int]] = []
    async for part in request.iter_form(limit=MAX_UPLOAD):
        if part.filename is None:
            continue
        digest, size = hashlib.sha256(), 0
        async for chunk in part:
            digest.update(chunk)
            size += len(chunk)
        found.append({"name": part.filename, "size": size, "sha256": digest.hexdigest()})
    return found


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
