"""Every code block of the documentation runs, and every answer that it shows is the real one.

The `python` blocks of a page are run from top to bottom in one module, as a reader would type
them; functions named `test_…` are called. A `console` block shows curl commands and what they
print: each is made against the page's newest `main`. The commands of a `sh` block must exist.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from asgineer.testutils import MockTestServer

from ._pages import PAGES, ROOT, Block, read_blocks, read_exchanges, strip_origin

if TYPE_CHECKING:
    from asgineer.testutils import Response

BIN = Path(sys.executable).parent
KNOWN_LANGUAGES = {"python", "console", "sh", ""}
SYSTEM_COMMANDS = {"python", "python3", "pip", "git", "cd"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where dataclasses look their annotations up
    blocks = [block for block in read_blocks(page) if block.run]
    for block, following in zip_longest(blocks, blocks[1:]):
        assert block.language in KNOWN_LANGUAGES, block.place
        if block.language == "python":
            run_python(block, module)
            if defines_untested_main(block, following):
                assert ask(module.main, "GET", "/").status < 500, block.place
        elif block.language == "console":
            run_console(block, module)
        elif block.language == "sh":
            check_commands(block)


def run_python(block: Block, module: ModuleType) -> None:
    text = "\n" * (block.line - 1) + block.text  # so that a traceback names the line of the page
    exec(compile(text, block.page, "exec"), module.__dict__)
    for name in re.findall(r"^def (test_\w+)\(", block.text, re.MULTILINE):
        module.__dict__[name]()


def defines_untested_main(block: Block, following: Block | None) -> bool:
    if "async def main(" not in block.text or re.search(r"MockTestServer|TestClient", block.text):
        return False
    return following is None or following.language != "console"


def ask(
    main: object, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> Response:
    with MockTestServer(main) as server:
        return server.request(method, path, data=data, headers=headers)


def run_console(block: Block, module: ModuleType) -> None:
    for exchange in read_exchanges(block):
        words = shlex.split(exchange.command)
        assert words.pop(0) == "curl", block.place
        method, data, head_too = "GET", None, False
        headers: dict[str, str] = {}
        while len(words) > 1:
            match words.pop(0):
                case "-i":
                    head_too = True
                case "-X":
                    method = words.pop(0)
                case "-d":  # as curl does it
                    data, method = words.pop(0).encode(), "POST" if method == "GET" else method
                    headers = {"Content-Type": "application/x-www-form-urlencoded"} | headers
                case "-H":
                    name, _, value = words.pop(0).partition(": ")
                    headers[name] = value
                case option:
                    pytest.fail(f"{block.place}: curl {option} is not understood")
        headers.setdefault("host", urlsplit(words[0]).netloc)
        response = ask(module.main, method, strip_origin(words[0]), data=data, headers=headers)
        check = check_head_and_body if head_too else check_body
        check(response, exchange.output, f"{block.place}: {exchange.command}")


def check_body(response: Response, expected: str, place: str) -> None:
    body = response.body.decode().rstrip("\n")
    if "…" in expected:
        assert re.search(".*".join(map(re.escape, expected.split("…"))), body, re.DOTALL), (place, body)
    else:
        assert body == expected, place


def check_head_and_body(response: Response, expected: str, place: str) -> None:
    """The page may leave out headers, and the body; what it shows must be there."""
    head, separator, body = expected.partition("\n\n")
    status_line, *fields = head.split("\n")
    assert status_line.startswith(f"HTTP/1.1 {response.status} "), (place, response.status)
    for field in fields:
        name, _, value = field.partition(": ")
        assert response.headers.get(name) == value, (place, response.headers)
    if separator:
        check_body(response, body, place)


def check_commands(block: Block) -> None:
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):  # a variable of the environment
            words.pop(0)
        if not words:
            continue
        command = words[0]
        if command.startswith("scripts/"):
            path = ROOT / command
            assert path.is_file(), block.place
            assert path.stat().st_mode & 0o111, f"{block.place}: {command} can't be executed"
        elif Path(command).name not in SYSTEM_COMMANDS:
            assert (BIN / command).exists(), f"{block.place}: {command}"
        if command == "asgineer":
            check_own_options(words[1:], block)
        check_extras(line, block)


def check_own_options(words: list[str], block: Block) -> None:
    for word in words:
        if word.startswith("--"):
            assert word in help_text(words[0]), f"{block.place}: {word}"


@cache
def help_text(command: str) -> str:
    program = [sys.executable, "-m", "asgineer", command, "--help"]
    return subprocess.run(program, capture_output=True, text=True, check=True).stdout


def check_extras(line: str, block: Block) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extras in re.findall(r"clone\[([\w,]+)\]", line):
        for extra in extras.split(","):
            assert extra in project["optional-dependencies"], f"{block.place}: {extra}"


def test_every_fence_was_found() -> None:
    for page in PAGES:
        fences = re.findall(r"^```", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(read_blocks(page)), page


def test_a_wrong_answer_in_a_page_is_found(tmp_path: Path) -> None:
    page = ROOT / "docs" / "made-up.md"
    module = ModuleType("page")
    program = "import asgineer\n\n@asgineer.to_asgi\nasync def main(request):\n    return {'a': 1}\n"
    run_python(Block(page, 1, "python", program, True), module)
    run_console(Block(page, 9, "console", '$ curl http://localhost/\n{"a":1}\n', True), module)
    with pytest.raises(AssertionError):
        run_console(Block(page, 9, "console", '$ curl http://localhost/\n{"a":2}\n', True), module)
    with pytest.raises(AssertionError):
        run_console(Block(page, 9, "console", "$ curl -i http://localhost/\nHTTP/1.1 404 x\n", True), module)
    assert json.loads(ask(module.main, "GET", "/").body) == {"a": 1}
